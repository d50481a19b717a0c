"""`eventtree COMMAND`: look at the journal, deliver it, clear it; run the demo.

Errors of ours, and of the disk, end in one line that says what to do, and exit status 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from eventtree import __version__
from eventtree.cli.say import say
from eventtree.errors import ConfigError, EventTreeError

journal_option = click.option(
    "--journal", metavar="DIR", help="The journal's folder. Default: EVENTTREE_JOURNAL, else the user's state folder."
)


def plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Show our errors as one line, without a traceback."""

    @wraps(command)
    def shown(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except EventTreeError as error:
            say(f"eventtree: {error}", err=True)
            sys.exit(2)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(0)
        except OSError as error:
            say(f"eventtree: {error}", err=True)
            sys.exit(2)

    return shown


class Commands(click.Group):
    """Commands whose wrong use is told in one line as well."""

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
    """One handler, event trees, several vendors, nothing lost."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command()
@journal_option
@click.option("--last", default=5, show_default=True, metavar="N", type=click.IntRange(min=1), help="How many trees.")
@click.option("--tree", "tree_id", metavar="ID", help="Only this tree.")
@click.option("--json", "as_json", is_flag=True, help="Every event of the journal, one JSON object a line.")
@plain_errors
def show(journal: str | None, last: int, tree_id: str | None, as_json: bool) -> None:
    """Print the last trees."""
    from eventtree.cli.show import show_json, show_trees

    if as_json:
        show_json(journal, tree_id)
    else:
        show_trees(journal, last, tree_id)


@main.command()
@journal_option
@click.option(
    "--vendor", required=True, metavar="NAME", help="honeyhive, humanloop_v5, humanloop_v4, braintrust, nebuly."
)
@click.option("--tree", "tree_id", metavar="ID", help="Only this tree.")
@plain_errors
def export(journal: str | None, vendor: str, tree_id: str | None) -> None:
    """Print the exact requests a vendor would get, one JSON object a line; needs no key."""
    from eventtree.cli.show import export_requests

    export_requests(journal, vendor, tree_id)


@main.command()
@journal_option
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@plain_errors
def report(journal: str | None, as_json: bool) -> None:
    """Per vendor: accepted = delivered + waiting + dead + dropped(reason), in events."""
    from eventtree.cli.show import show_report

    show_report(journal, as_json)


@main.command()
@journal_option
@click.option(
    "--vendor", "vendors", multiple=True, metavar="NAME", help="Default: those the trees name. May be repeated."
)
@click.option("--follow", is_flag=True, help="Go on delivering until stopped.")
@click.option("--replay", is_flag=True, help="Send every tree, also those that don't name the vendor.")
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS", help="Without --follow: give up after.")
@plain_errors
def ship(journal: str | None, vendors: tuple[str, ...], follow: bool, replay: bool, timeout: float) -> None:
    """Deliver what waits, from a process of its own. Keys and hosts come from the environment."""
    from eventtree.cli.ship import ship_all

    sys.exit(ship_all(journal, vendors, follow=follow, replay=replay, timeout=timeout))


@main.command()
@journal_option
@click.option("--tree", "tree_id", metavar="ID", help="Only this tree.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@plain_errors
def clear(journal: str | None, tree_id: str | None, yes: bool) -> None:
    """Delete local content. What still waits for a vendor is dropped, and counted as dropped by_user."""
    from eventtree.cli.show import clear_trees

    clear_trees(journal, tree_id, ask=not yes)


@main.command()
@click.argument("number", type=int, required=False)
@journal_option
@click.option("--vendor", metavar="NAME", help="Only those this vendor refused.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, contents included.")
@click.option("--resend", is_flag=True, help="Send them again. Keys and hosts come from the environment.")
@click.option("--drop", is_flag=True, help="Delete them; their events count as dropped by_user.")
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS", help="With --resend: give up after.")
@plain_errors
def dead(
    number: int | None, journal: str | None, vendor: str | None, as_json: bool, resend: bool, drop: bool, timeout: float
) -> None:
    """What vendors refused, with their words; with NUMBER, one whole."""
    from eventtree.cli.dead import drop_letters, resend_letters, show_letters

    if resend and drop:
        raise ConfigError("--resend", "it excludes --drop", "Choose one")
    if resend:
        sys.exit(resend_letters(journal, vendor, number, timeout))
    if drop:
        drop_letters(journal, vendor, number)
    else:
        show_letters(journal, vendor, number, as_json=as_json)


@main.command()
@click.option("--vendor", "vendors", multiple=True, metavar="NAME", help="Default: EVENTTREE_VENDORS. May be repeated.")
@click.option("--send", is_flag=True, help="Send one test tree, tagged eventtree-doctor, and say what became of it.")
@click.option("--timeout", default=20.0, show_default=True, metavar="SECONDS", help="With --send: give up after.")
@plain_errors
def doctor(vendors: tuple[str, ...], send: bool, timeout: float) -> None:
    """Check each vendor's settings: what is missing, and the hint; exit status 1 if anything is wrong."""
    from eventtree.cli.doctor import examine

    sys.exit(examine(vendors, send=send, timeout=timeout))


@main.command()
@click.argument("model")
@click.option("--provider", metavar="NAME", help="As the framework names it: openai, anthropic, azure, bedrock.")
@click.option("--base-url", metavar="URL", help="Address of the service; it tells the provider before its name does.")
@plain_errors
def prices(model: str, provider: str | None, base_url: str | None) -> None:
    """What a call of MODEL would be charged, and why; exit status 1 if no price is known."""
    from eventtree.cli.prices import show_prices

    sys.exit(show_prices(model, provider, base_url))


@main.command()
@click.argument("question", default="What happens to my events while a vendor is down?")
@click.option(
    "--model", metavar="openai:NAME", help="A real model instead of the built-in one; its key in the environment."
)
@click.option(
    "--out", metavar="DIR", help="Where to put the journal and the requests. Default: a new temporary folder."
)
@click.option("--journal", metavar="DIR", help="Where to put the journal instead.")
@plain_errors
def demo(question: str, model: str | None, out: str | None, journal: str | None) -> None:
    """A LangChain chain, a LangGraph agent and a LlamaIndex query, as trees, at five vendors (all on this machine)."""
    from eventtree.demo import run_demo

    sys.exit(run_demo(question, model=model, out=out, journal=journal))
