"""What other processes run in the tests of joining: each prints or sends back when it is ready, and ends by itself."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import eventtree

PARENT_SECONDS = 60
"""No worker lives longer than a test may take."""


def work(number: int) -> int:
    """A tool that asks a model."""
    with eventtree.span("work", kind="tool", inputs={"number": number}) as s:
        with eventtree.span("ask", kind="model", model="gpt-4o-mini", provider="openai", inputs="why") as model:
            model.usage(input_tokens=10, output_tokens=5)
            model.outputs = "because"
        s.outputs = number + 1
    return number + 1


def serve_queue(messages: Any, answers: Any) -> None:
    """A queue's consumer, inside a run of its own as a long-lived consumer may be."""
    with eventtree.span("consumer"):
        while (message := messages.get(timeout=PARENT_SECONDS)) is not None:
            with eventtree.joined(message["headers"]):
                answers.put(work(message["number"]))
    eventtree.flush(10)


def end_with_parent(server: Any) -> None:
    """End the server when the test closes our standard input, or after a while."""

    def wait() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=wait, daemon=True).start()


def serve_app(app: Any) -> None:
    """Serve an ASGI app on a free port, and print the port."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    end_with_parent(server)

    def tell() -> None:
        deadline = time.monotonic() + PARENT_SECONDS
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)

    threading.Thread(target=tell, daemon=True).start()
    server.run()
    eventtree.flush(10)


def fastapi_app() -> Any:
    """A FastAPI app that believes callers with the right word, and runs a LangChain chain."""
    from fastapi import FastAPI
    from langchain_core.runnables import RunnableLambda

    import eventtree.langchain
    from eventtree.asgi import Join

    eventtree.langchain.set_global_handler()
    app = FastAPI()
    app.add_middleware(Join, trust=lambda scope: (b"x-word", b"right") in scope["headers"])
    chain = RunnableLambda(work).with_config(run_name="chain")

    @app.get("/work/{number}")
    async def handle(number: int) -> dict[str, Any]:
        return {"answer": await chain.ainvoke(number), "headers": eventtree.headers()}

    return app


def graph_app() -> Any:
    """As much of a LangGraph server as `RemoteGraph` needs: it runs a graph with the configuration it was sent."""
    import json

    from langgraph.graph import END, START, StateGraph
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    import eventtree.langchain

    eventtree.langchain.set_global_handler()
    builder: Any = StateGraph(dict)
    builder.add_node("answer", lambda state: {"answer": work(state["number"])})
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    graph = builder.compile(name="served")

    async def stream(request: Any) -> StreamingResponse:
        body = await request.json()

        async def events() -> Any:
            async for state in graph.astream(body["input"], body.get("config"), stream_mode="values"):
                yield f"event: values\ndata: {json.dumps(state)}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    return Starlette(routes=[Route("/runs/stream", stream, methods=["POST"])])


if __name__ == "__main__":
    serve_app(globals()[sys.argv[1]]())
