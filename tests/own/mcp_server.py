"""An MCP server over standard input and output: its tool believes what a request's `_meta` hands on."""

from __future__ import annotations

from mcp.server.mcpserver import Context, MCPServer

import eventtree
from tests.own.workers import work

server = MCPServer("worker")


@server.tool()
def increment(number: int, context: Context) -> int:  # type: ignore[type-arg]
    """Work."""
    with eventtree.joined(context.request_context.meta):
        return work(number)


if __name__ == "__main__":
    server.run("stdio")
    eventtree.flush(10)
