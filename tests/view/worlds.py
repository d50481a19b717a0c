"""Journals for the viewer to show: trees of every status and size, and texts that want to be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventtree.kinds import Kind, Status
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from tests.trees import USAGE, new_id

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<svg onload=alert(3)>",
    "<svg><script>alert(4)</script></svg>",
    "<iframe src=javascript:alert(5)>",
    "<iframe srcdoc='<script>alert(6)</script>'>",
    "javascript:alert(7)",
    "data:text/html,<script>alert(8)</script>",
    "data:image/svg+xml,<svg onload=alert(9)>",
    "data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+",
    '"><script>alert(11)</script>',
    "'><script>alert(12)</script>",
    "</script><script>alert(13)</script>",
    "</style><script>alert(14)</script>",
    "</textarea><script>alert(15)</script>",
    "</title><script>alert(16)</script>",
    "--><script>alert(17)</script><!--",
    "]]><script>alert(18)</script>",
    "<body onload=alert(19)>",
    "<details open ontoggle=alert(20)>",
    "<video src=x onerror=alert(21)>",
    "<audio src=x onerror=alert(22)>",
    "<object data=javascript:alert(23)>",
    "<embed src=javascript:alert(24)>",
    "<a href=javascript:alert(25)>click</a>",
    "<form action=javascript:alert(26)><button>",
    "<input autofocus onfocus=alert(27)>",
    "<math><mtext><script>alert(28)</script>",
    "<template><script>alert(29)</script></template>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content=0;url=https://evil.example>",
    "<style>@import 'https://evil.example/x.css'</style>",
    "<div style=background:url(https://evil.example/x)>",
    "<img src=https://evil.example/pixel.png>",
    "![x](https://evil.example/pixel.png)",
    "[click](javascript:alert(37))",
    "https://evil.example/pixel.png",
    "//evil.example/x.js",
    "${alert(40)}",
    "{{constructor.constructor('alert(41)')()}}",
    "<%= alert(42) %>",
    "`+alert(43)+`",
    "\\u003cscript\\u003ealert(44)\\u003c/script\\u003e",
    "&lt;script&gt;alert(45)&lt;/script&gt;",
    "&#60;script&#62;alert(46)&#60;/script&#62;",
    "%3Cscript%3Ealert(47)%3C/script%3E",
    "\x00<script>alert(48)</script>",
    "<scr\x00ipt>alert(49)</scr\x00ipt>",
    "\u202e<script>alert(50)</script>",
    "\ufeff<script>alert(51)</script>",
    "\x1b]0;title\x07\x1b[31mred",
    "__proto__",
    "constructor",
    "dangerouslySetInnerHTML",
    "../../../../etc/passwd",
    "?t=stolen#q=%3Cscript%3E",
    "\u2028alert(58)\u2029",
    "\ud83d\ude00" * 20,
    "A" * 3_000,
)
"""Sixty texts that run, load, lead or break where a page takes them for more than text."""

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def pipeline_in(folder: Path, **settings: Any) -> Pipeline:
    """Records there; sends nothing where no vendor is given."""
    return Pipeline(**{"journal": str(folder), "vendors": (), **settings})


def small_tree(pipeline: Pipeline, name: str = "chain", **root: Any) -> str:
    """A chain around a model; returns its id."""
    tree = new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name=name, inputs={"question": "Where?"}, **root)
    child = new_id()
    recorder.open(
        pipeline, child, tree, kind=Kind.MODEL, name="ChatModel", known={"model": "gpt-4o-mini", "provider": "openai"},
        inputs={"messages": [{"role": "user", "content": "Where?"}]},
    )  # fmt: skip
    recorder.first_token(child)
    recorder.close(
        pipeline, child, outputs={"messages": [{"role": "assistant", "content": "here"}]}, learned={"usage": USAGE}
    )
    recorder.close(pipeline, tree, outputs="here", status=Status.OK)
    return tree


def large_tree(pipeline: Pipeline, events: int) -> str:
    """A tree of so many events: tools in groups of a hundred."""
    tree, left = new_id(), events - 1
    recorder.open(pipeline, tree, None, kind=Kind.AGENT, name="crawler")
    while left > 0:
        group = new_id()
        recorder.open(pipeline, group, tree, kind=Kind.CHAIN, name=f"step {left}")
        for number in range(min(99, left - 1)):
            run = new_id()
            recorder.open(pipeline, run, group, kind=Kind.TOOL, name=f"fetch {number}", inputs={"page": number})
            recorder.close(pipeline, run, outputs="found")
        recorder.close(pipeline, group)
        left -= 100
    recorder.close(pipeline, tree)
    return tree


def every_status(pipeline: Pipeline) -> dict[str, str]:
    """Status → a tree of it; the running one stays open."""
    found = {}
    for status in ("ok", "interrupted", "cancelled"):
        run = found[status] = new_id()
        recorder.open(pipeline, run, None, kind=Kind.AGENT, name=f"is {status}", metadata={"thread_id": "s-1"})
        if status == "interrupted":
            recorder.note(run, "interrupt", {"interrupts": [{"value": "Go on?"}]})
        recorder.close(pipeline, run, status=Status(status))
    run = found["resumed"] = new_id()
    recorder.open(pipeline, run, None, kind=Kind.AGENT, name="goes on", metadata={"thread_id": "s-1"})
    recorder.learn(run, metadata={"resumes": found["interrupted"]})
    recorder.close(pipeline, run, outputs="done")
    run = found["error"] = new_id()
    recorder.open(pipeline, run, None, kind=Kind.TOOL, name="is broken", inputs={"n": 0})
    recorder.close(pipeline, run, status=Status.ERROR, error=ZeroDivisionError("division by zero"))
    run = found["running"] = new_id()
    recorder.open(pipeline, run, None, kind=Kind.CHAIN, name="is running")
    recorder.open(pipeline, new_id(), run, kind=Kind.TOOL, name="is running too")
    return found


def hostile_tree(pipeline: Pipeline, text: str) -> str:
    """One text in every field that a tree has, of every kind of event."""
    tree, model, tool, retriever = new_id(), new_id(), new_id(), new_id()
    recorder.open(
        pipeline, tree, None, kind=Kind.CHAIN, name=text, inputs={text: text}, tags=[text],
        metadata={text: text, "thread_id": text, "user_id": text, "resumes": text, "eventtree_experiment": text},
    )  # fmt: skip
    recorder.note(tree, text, {text: text})
    call = {"id": text, "name": text, "arguments": {text: text}, "error": text}
    parts = [{"type": "text", "text": text}, {"type": "image", "url": text}, {"type": text, text: text}, text]
    messages = [
        {"role": text, "content": text, "name": text, "reasoning": text, "finish_reason": text, "left_out": [text]},
        {"role": "user", "content": parts, "extra": {text: text}},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": text, "content": text, "status": text},
    ]
    recorder.open(
        pipeline, model, tree, kind=Kind.MODEL, name=text, inputs={"messages": messages},
        known={"model": text, "provider": text, "params": {text: text}},
    )  # fmt: skip
    recorder.close(pipeline, model, outputs={"messages": messages, text: text}, learned={"usage": {"raw": text}})
    recorder.open(pipeline, tool, tree, kind=Kind.TOOL, name=text, inputs={"input": text})
    recorder.close(pipeline, tool, status=Status.ERROR, error=type("Error", (Exception,), {})(text))
    recorder.open(pipeline, retriever, tree, kind=Kind.RETRIEVER, name=text, inputs={"query": text})
    documents = [{"id": text, "text": text, "score": 0.5, "metadata": {text: text}}]
    recorder.close(pipeline, retriever, outputs={"documents": documents})
    recorder.close(pipeline, tree, outputs=[text, {text: [text]}])
    return tree
