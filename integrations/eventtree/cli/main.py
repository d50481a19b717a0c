"""`eventtree COMMAND`: look at the journal, deliver it, clear it; run the demo.

Our own errors, and those of the disk, end in one line that says what to do, and exit status 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from eventtree import __version__
from eventtree.diagnostics import shown
from eventtree.errors import EventTreeError

journal_option = click.option(
    "--journal", "folder", metavar="DIR",
    help="Use this journal instead of EVENTTREE_JOURNAL or the user's state folder.",
)  # fmt: skip


class Seconds(click.FloatRange):
    """A number of seconds, 0 or more; `nan`, which no range refuses, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or an error."""
        found: float = super().convert(value, param, ctx)
        return found if found == found else self.fail(f"{value!r} is no number.", param, ctx)


def timeout_option(seconds: float, what: str) -> Callable[[Any], Any]:
    """`--timeout SECONDS`, of a command that sends."""
    return click.option(
        "--timeout", default=seconds, show_default=True, metavar="SECONDS", type=Seconds(min=0), help=what
    )


HOMES = {
    **dict.fromkeys(("clear", "experiment", "export", "ls", "prices", "report", "show"), "show"), "collect": "relay",
    **{name: name for name in ("dead", "doctor", "relay", "ship", "view")}, "demo": "main",
}  # fmt: skip
"""Command → its module, which is imported on first use."""


def say(text: str, *, err: bool = False) -> None:
    """Print a line. Foreign text in it is made safe, so that it stays one line."""
    click.echo(shown(text), err=err)


class Command(click.Command):
    """A command whose line in the list of commands is a whole sentence."""

    def get_short_help_str(self, limit: int = 0) -> str:
        """The first sentence of its help, uncut."""
        return " ".join((self.help or "").partition("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."


class Commands(click.Group):
    """A group that imports its commands on first use, and ends every error in one line."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, imported for their help."""
        return [name for name in sorted(HOMES) if self.get_command(ctx, name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, imported."""
        if cmd_name in HOMES:
            import_module(f"eventtree.cli.{HOMES[cmd_name]}")
        return super().get_command(ctx, cmd_name)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command. An error of ours, the disk's or click's ends in one line, without a traceback."""
        run: Callable[..., Any] = super().main
        if not kwargs.pop("standalone_mode", True):
            return run(*args, standalone_mode=False, **kwargs)
        try:
            sys.exit(run(*args, standalone_mode=False, **kwargs))
        except (EventTreeError, OSError) as error:
            say(f"eventtree: {error}", err=True)
            sys.exit(2)
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
    sys.path.append(str(Path.cwd()))  # here may be the module of a vendor named as package.module:Class
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command("demo")
@click.argument("question", default="What happens to my events while a vendor is down?")
@click.option(
    "--model", metavar="openai:NAME", help="Use a real model instead of the built-in one. Its key is OPENAI_API_KEY."
)
@click.option("--out", metavar="DIR", help="Put the journal and the requests there, not into a new temporary folder.")
@click.option("--journal", metavar="DIR", help="Put the journal there.")
def demo(question: str, model: str | None, out: str | None, journal: str | None) -> int:
    """Run a LangChain chain, a LangGraph agent and a LlamaIndex query, and send their trees to five vendors.

    The vendors are played by a server on this machine, and no key is needed.
    """
    say("Running a chain, an agent and a query, for five vendors on this machine …")
    from eventtree.demo import run_demo

    return run_demo(question, model=model, out=out, journal=journal)
