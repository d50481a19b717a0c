"""`eventtree COMMAND`: look at the journal, deliver it, clear it; run the demo.

Errors of ours, and of the disk, end in one line that says what to do, and exit status 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from eventtree import __version__
from eventtree.cli.say import say
from eventtree.errors import ConfigError, EventTreeError

journal_option = click.option(
    "--journal", metavar="DIR", help="Use this journal instead of EVENTTREE_JOURNAL or the user's state folder."
)


def words_only(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Words of a filter may begin with `-`, which turns them round; what begins with `--` was meant as an option."""
    wrong = next((one for one in given if one.startswith("--")), None)
    if wrong is not None:
        raise click.NoSuchOption(wrong)
    return given


TAKES_WORDS: dict[str, Any] = {"context_settings": {"ignore_unknown_options": True}}


class Command(click.Command):
    """A command that ends in one line, without a traceback, where an error is ours or the disk's."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(0)
        except (EventTreeError, OSError) as error:
            say(f"eventtree: {error}", err=True)
            sys.exit(2)

    def get_short_help_str(self, limit: int = 0) -> str:
        """Its line in the list of commands: the whole first sentence."""
        return " ".join((self.help or "").partition("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."


class Commands(click.Group):
    """A group whose commands report wrong use in one line too."""

    command_class = Command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and turn click's own errors into ours."""
        run: Callable[..., Any] = super().main
        if not kwargs.pop("standalone_mode", True):
            return run(*args, standalone_mode=False, **kwargs)
        try:
            sys.exit(run(*args, standalone_mode=False, **kwargs))
        except click.Abort:
            say("eventtree: stopped", err=True)
            sys.exit(1)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            command = context.command_path if context is not None else "eventtree"
            say(f"eventtree: {error.format_message()} See: {command} --help", err=True)
            sys.exit(2)


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="eventtree")
@click.pass_context
def main(context: click.Context) -> None:
    """Look at what eventtree has recorded, deliver it, or delete it."""
    sys.path.append(str(Path.cwd()))  # a vendor that is named as package.module:Class may stand here
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command(**TAKES_WORDS)
@click.argument("what", nargs=-1, metavar="[ID | WORDS]", callback=words_only)
@journal_option
@click.option("--last", metavar="N", type=click.IntRange(min=1), help="Show so many trees. The default is 5.")
@click.option("--tree", "tree_id", metavar="ID", help="Show this tree, as with an ID alone.")
@click.option("--all", "internal", is_flag=True, help="Show the framework's plumbing too.")
@click.option("--json", "as_json", is_flag=True, help="Print every event, one JSON object a line, of all trees.")
def show(
    journal: str | None, what: tuple[str, ...], tree_id: str | None, last: int | None, internal: bool, as_json: bool
) -> None:
    """Draw the last trees: what was asked and answered, what went wrong, what it took.

    With an ID, or its first or last characters, draw that tree with all that went in and came out. WORDS choose trees:
    status:error, session:ID, user:NAME, model:gpt-4o, 'cost>0.01', since:1h, feedback, any text. All must fit; - turns
    one round.
    """
    from eventtree.cli.show import show_trees

    show_trees(journal, what, tree_id, last, internal=internal, as_json=as_json)


@main.command(**TAKES_WORDS)
@click.argument("words", nargs=-1, metavar="[WORDS]", callback=words_only)
@journal_option
@click.option(
    "--last", default=20, show_default=True, metavar="N", type=click.IntRange(min=1), help="List so many trees."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def ls(journal: str | None, words: tuple[str, ...], last: int, as_json: bool) -> None:
    """List trees, one a line, the newest first. WORDS choose among them as those of show do."""
    from eventtree.cli.show import list_trees

    list_trees(journal, words, last, as_json=as_json)


@main.command()
@click.argument("name")
@journal_option
@click.option("--against", metavar="OTHER", help="Compare it with another experiment, row by row.")
@click.option("--json", "as_json", is_flag=True, help="Print its rows, one JSON object a line.")
def experiment(name: str, journal: str | None, against: str | None, as_json: bool) -> None:
    """Add up the experiment called NAME: mean, spread and count of each score, of cost and duration, and its rows."""
    from eventtree.cli.show import show_experiment

    show_experiment(journal, name, against, as_json=as_json)


@main.command()
@journal_option
@click.option(
    "--vendor", required=True, metavar="NAME",
    help="Name the vendor: honeyhive, humanloop_v5, humanloop_v4, braintrust, nebuly, otlp or package.module:Class.",
)  # fmt: skip
@click.option("--tree", "tree_id", metavar="ID", help="Print only the requests for this tree.")
@click.option("--project", metavar="NAME", help="Name the project instead of the environment.")
@click.option("--host", "base_url", metavar="URL", help="Name the host instead of the environment.")
@click.option("--source", metavar="NAME", help="Name the source (HoneyHive).")
@click.option("--generation", metavar="NAME", help="Choose the generation of the vendor's interface (HoneyHive).")
@click.option("--experiment", metavar="NAME", help="Name the experiment (Braintrust).")
@click.option(
    "--set", "more", multiple=True, metavar="NAME=VALUE",
    help="Give another setting of the vendor. It may be given several times.",
)  # fmt: skip
def export(
    journal: str | None, vendor: str, tree_id: str | None, more: tuple[str, ...], **settings: str | None
) -> None:
    """Print the exact requests a vendor would get, one JSON object a line. This needs no key.

    The host and all settings are those that a delivery in this environment would have.
    """
    from eventtree.cli.show import export_requests

    export_requests(journal, vendor, tree_id, settings, more)


@main.command()
@journal_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def report(journal: str | None, as_json: bool) -> None:
    """Add up each vendor's events: accepted = delivered + waiting + dead + dropped (by reason)."""
    from eventtree.cli.show import show_report

    show_report(journal, as_json)


@main.command()
@journal_option
@click.option(
    "--vendor",
    "vendors",
    multiple=True,
    metavar="NAME",
    help="Send to this vendor instead of those the trees name. It may be given several times.",
)
@click.option("--follow", is_flag=True, help="Go on delivering until you stop it.")
@click.option("--replay", is_flag=True, help="Send every tree, also those that don't name the vendor.")
@click.option(
    "--timeout", default=60.0, show_default=True, metavar="SECONDS", help="Give up after so long, unless you --follow."
)
def ship(journal: str | None, vendors: tuple[str, ...], follow: bool, replay: bool, timeout: float) -> None:
    """Deliver what waits, from a process of its own. Keys and hosts come from the environment."""
    from eventtree.cli.ship import ship_all

    sys.exit(ship_all(journal, vendors, follow=follow, replay=replay, timeout=timeout))


@main.command()
@journal_option
@click.option("--tree", "tree_id", metavar="ID", help="Delete only this tree. One end of its id will do.")
@click.option("--yes", is_flag=True, help="Delete without asking. This is needed where stdin is no terminal.")
def clear(journal: str | None, tree_id: str | None, yes: bool) -> None:
    """Delete what is recorded on this machine. What still waits for a vendor is counted as dropped by_user."""
    from eventtree.cli.show import clear_trees

    clear_trees(journal, tree_id, ask=not yes)


@main.command()
@click.argument("number", type=int, required=False)
@journal_option
@click.option("--vendor", metavar="NAME", help="Take only what this vendor refused.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, with the contents.")
@click.option("--resend", is_flag=True, help="Send it again. Keys and hosts come from the environment.")
@click.option("--drop", is_flag=True, help="Delete it. Its events count as dropped by_user.")
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS", help="Give up resending after so long.")
def dead(
    number: int | None, journal: str | None, vendor: str | None, as_json: bool, resend: bool, drop: bool, timeout: float
) -> None:
    """Show what vendors refused, with their words. With a NUMBER, show that one whole."""
    from eventtree.serializer.registry import kind_of

    vendor = None if vendor is None else kind_of(vendor)
    from eventtree.cli.dead import drop_all, resend_all, show_letters

    if resend and drop:
        raise ConfigError("--resend", "it excludes --drop", "Choose one")
    if resend:
        sys.exit(resend_all(journal, vendor, number, timeout))
    if drop:
        drop_all(journal, vendor, number)
    else:
        show_letters(journal, vendor, number, as_json=as_json)


@main.command()
@journal_option
@click.option("--port", default=0, metavar="N", type=click.IntRange(0, 65535), help="Use this port, not a free one.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Listen on this address of the machine.")
@click.option(
    "--allowed-host", "allowed", multiple=True, metavar="NAME",
    help="Answer to this name too, that of a proxy. It may be given several times.",
)  # fmt: skip
@click.option("--no-token", is_flag=True, help="Let every user and program of this machine look.")
def view(journal: str | None, port: int, no_browser: bool, host: str, allowed: tuple[str, ...], no_token: bool) -> None:
    """Look at the journal in the browser, on this machine alone: trees as they grow, and what each vendor got."""
    from eventtree.cli.view import view_journal

    view_journal(journal, port=port, opens=not no_browser, host=host, allowed_hosts=allowed, has_token=not no_token)


@main.command()
@click.option(
    "--vendor", "vendors", multiple=True, metavar="NAME", help="Check this vendor. It may be given several times."
)
@click.option("--send", is_flag=True, help="Send one test tree, tagged eventtree-doctor, and say what became of it.")
@click.option("--timeout", default=20.0, show_default=True, metavar="SECONDS", help="Give up sending after so long.")
def doctor(vendors: tuple[str, ...], send: bool, timeout: float) -> None:
    """Check the settings of each vendor, and say what is missing. The exit status is 1 if anything is wrong.

    Without --vendor, those in EVENTTREE_VENDORS are checked.
    """
    from eventtree.cli.doctor import examine

    sys.exit(examine(vendors, send=send, timeout=timeout))


@main.command()
@click.argument("url", required=False)
@journal_option
@click.option("--print-nats-conf", is_flag=True, help="Print a safe configuration for a NATS server, and do nothing.")
def relay(url: str | None, journal: str | None, print_nats_conf: bool) -> None:
    """Replicate a journal to a collector, by the engine or collector at URL, until stopped.

    An app does so itself where EVENTTREE_RELAY names the URL. Credentials come from EVENTTREE_RELAY_CREDS, a file, or
    EVENTTREE_RELAY_TOKEN.
    """
    if print_nats_conf:
        click.echo(files("eventtree.relay").joinpath("nats.conf").read_text(), nl=False)
        return
    from eventtree.cli.relay import run_relay

    run_relay(url, journal)


@main.command()
@click.argument("url")
@journal_option
@click.option("--partitions", type=click.IntRange(1, 4096), metavar="N", help="Make so many partitions, if none exist.")
@click.option("--take", metavar="0-31", help="Take only these partitions. By default all are taken, or stood by for.")
@click.option(
    "--silence", default=60.0, show_default=True, metavar="SECONDS", type=click.FloatRange(min=1),
    help="Take a process for dead that was not heard of for so long.",
)  # fmt: skip
def collect(url: str, journal: str | None, partitions: int | None, take: str | None, silence: float) -> None:
    """Collect what relays send by the engine at URL, or listen there (http, https), and ship it until stopped.

    Vendors and their keys are this environment's: EVENTTREE_VENDORS.
    """
    from eventtree.cli.relay import collect as collect_from

    collect_from(url, journal, partitions, take, silence)


@main.command()
@click.argument("model")
@click.option(
    "--provider", metavar="NAME", help="Name the provider as the framework does: openai, anthropic, azure, bedrock."
)
@click.option("--base-url", metavar="URL", help="Give the address of the service. It counts more than --provider.")
def prices(model: str, provider: str | None, base_url: str | None) -> None:
    """Say what a call of MODEL would be charged, and why. The exit status is 1 if no price is known."""
    from eventtree.cli.prices import show_prices

    sys.exit(show_prices(model, provider, base_url))


@main.command()
@click.argument("question", default="What happens to my events while a vendor is down?")
@click.option(
    "--model", metavar="openai:NAME", help="Use a real model instead of the built-in one. Its key is OPENAI_API_KEY."
)
@click.option("--out", metavar="DIR", help="Put the journal and the requests there instead of a new temporary folder.")
@click.option("--journal", metavar="DIR", help="Put the journal there instead.")
def demo(question: str, model: str | None, out: str | None, journal: str | None) -> None:
    """Run a LangChain chain, a LangGraph agent and a LlamaIndex query, and send their trees to five vendors.

    The vendors are played by a server on this machine, and no key is needed.
    """
    say("Running a chain, an agent and a query, for five vendors on this machine …")
    from eventtree.demo import run_demo

    sys.exit(run_demo(question, model=model, out=out, journal=journal))
