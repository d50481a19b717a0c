"""`eventtree view`: the journal in the browser."""

from __future__ import annotations

from eventtree.cli.say import say
from eventtree.cli.show import existing
from eventtree.errors import EventTreeError, without_extra


def view_journal(
    folder: str | None, *, port: int, opens: bool, host: str, allowed_hosts: tuple[str, ...], has_token: bool
) -> None:
    """Serve until it is stopped.

    Raises:
        EventTreeError: the extra is not installed, or the address cannot be had.
    """
    try:
        from eventtree.view.serve import serve
    except ModuleNotFoundError as error:
        raise EventTreeError(str(without_extra("view", error))) from None
    journal = existing(folder, awaited=True)
    serve(journal, port=port, opens=opens, host=host, allowed_hosts=allowed_hosts, has_token=has_token, say=say)
