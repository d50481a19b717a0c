"""`eventtree view`: the journal in a browser, served on one port of this machine until stopped."""

from __future__ import annotations

import gc
import secrets
import socket
import threading
import webbrowser

import click

from eventtree.cli.main import journal_option, main, say
from eventtree.cli.show import existing
from eventtree.errors import ConfigError, EventTreeError, without_extra


@main.command("view")
@journal_option
@click.option("--port", default=0, metavar="N", type=click.IntRange(0, 65535), help="Use this port, not a free one.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Listen on this address of the machine.")
@click.option(
    "--allowed-host", "allowed", multiple=True, metavar="NAME",
    help="Answer to this name too, that of a proxy. It may be given several times.",
)  # fmt: skip
@click.option("--no-token", is_flag=True, help="Let every user and program of this machine read the journal.")
def view(folder: str | None, port: int, no_browser: bool, host: str, allowed: tuple[str, ...], no_token: bool) -> None:
    """Look at the journal in the browser, on this machine alone: trees as they grow, and what each vendor got."""
    try:
        import uvicorn

        from eventtree.view import app
        from eventtree.view.guards import THIS_MACHINE
    except ModuleNotFoundError as error:
        raise EventTreeError(str(without_extra("view", error))) from None
    journal = existing(folder, awaited=True)
    if no_token and host not in THIS_MACHINE:
        raise ConfigError("--no-token", f"{host} can be reached by others", "Leave one of the two out")
    token = None if no_token else secrets.token_urlsafe(32)
    sockets = _listen(host, port)
    settings = uvicorn.Config(
        app(journal, token=token, allowed_hosts=(*allowed, host)), log_level="critical", access_log=False,
        lifespan="off", ws="none", server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(settings)
    gc.freeze()  # objects made until now stay; the collector need not scan them while the index fills
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{sockets[0].getsockname()[1]}/" + (f"?t={token}" if token else "")
    say(f"{address}  (Ctrl-C stops it)")
    if not no_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # the sockets listen already
    try:
        server.run(sockets=sockets)
    except KeyboardInterrupt:
        pass
    finally:
        for one in sockets:
            one.close()


def _listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on this address, and for 127.0.0.1 also on the same port of ::1 if possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        first = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError, TypeError) as error:  # the last two: the name can be no host's
        what = f"{host}:{port} cannot be had ({getattr(error, 'strerror', error)})"
        raise ConfigError("--port", what, "Leave it out to get a free one") from None
    if host != "127.0.0.1":
        return [first]
    try:
        return [first, socket.create_server(("::1", first.getsockname()[1]), family=socket.AF_INET6)]
    except OSError:
        return [first]  # no IPv6 here, or somebody else has the port there
