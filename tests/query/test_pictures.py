"""Trees, events, tables and reports as a person sees them, in `repr`, a terminal and a notebook; whatever they hold."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

import eventtree
from eventtree import example, experiment, feedback, flush, last_tree, session, trees
from eventtree.event import EventTree
from eventtree.kinds import Kind, Status
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.summary import gist, users_frame
from eventtree.testing import capture
from tests.trees import new_id, record_model, record_tree

HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "'\"><svg/onload=alert(1)>",
    "[red]markup[/red] [link=http://x]y[/link]", "\u202eesrever\u2066", "line\r\nbreak", "</pre></details></div>",
    "javascript:alert(1)", "{{7*7}}", "\ud800", "a" * 5000, "|table|", "\x00\x07\x08", "&lt;b&gt;&#x3c;",
]  # fmt: skip
EVERYWHERE = " ".join(HOSTILE)


def hostile_tree() -> EventTree:
    """Hostile text wherever a text can stand."""
    pipeline = Pipeline(deliver=False, tags=(EVERYWHERE,), user=EVERYWHERE, session=EVERYWHERE)
    tree, failed = new_id(), new_id()
    inputs = {"messages": [{"role": EVERYWHERE, "content": EVERYWHERE, "tool_calls": [{"name": EVERYWHERE}]}]}
    recorder.open(pipeline, tree, None, kind=Kind.MODEL, name=EVERYWHERE, inputs=inputs, known={"model": EVERYWHERE})
    recorder.open(pipeline, failed, tree, kind=Kind.TOOL, name=EVERYWHERE, inputs={EVERYWHERE: EVERYWHERE})
    recorder.note(failed, EVERYWHERE, {EVERYWHERE: EVERYWHERE})
    recorder.close(pipeline, failed, error=ValueError(EVERYWHERE), status=Status.ERROR)
    recorder.close(pipeline, tree, outputs={EVERYWHERE: [EVERYWHERE]})
    feedback(tree, score=1, name=EVERYWHERE, comment=EVERYWHERE)
    found = last_tree()
    assert found is not None
    return found


class Elements(HTMLParser):
    """The elements of a piece of HTML, and what of them could do something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        assert not any("url(" in (value or "") or "script" in (value or "") for _, value in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


PLAIN_TAGS = {"div", "table", "thead", "tbody", "tr", "td", "th", "span", "b", "details", "summary", "pre"}


def check_html(html: str) -> None:
    found = Elements(html)
    assert found.open == []
    assert set(found.tags) <= PLAIN_TAGS
    assert found.attributes <= {"style"}
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)


def drawn(value: object, width: int = 120) -> str:
    """What rich shows of a value, with markup on, as in a user's own console."""
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, highlight=True).print(value)
    return out.getvalue()


def check_text(text: str) -> None:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert "[red]" in text or "markup" not in text  # shown as it is, not obeyed


def shown_things() -> dict[str, Any]:
    tree = hostile_tree()
    record_tree(Pipeline(deliver=False), metadata={"eventtree_experiment": EVERYWHERE})
    with capture() as captured:
        record_tree(Pipeline(deliver=False), question=EVERYWHERE)
    with session(EVERYWHERE, user=EVERYWHERE) as current, example(EVERYWHERE, expected=EVERYWHERE) as row:
        record_tree(Pipeline(deliver=False))
    found = experiment(next(name for one in trees().rows() for name in one.shape.experiment))
    return {
        "tree": tree, "event": tree.events[1], "trees": trees(), "captured": captured, "session": current, "row": row,
        "experiment": found, "comparison": found.compare(found), "report": flush(1),
    }  # fmt: skip


def test_hostile_texts_are_shown_and_never_obeyed() -> None:
    for thing in shown_things().values():
        assert "\n" not in repr(thing)
        for text in (repr(thing), drawn(thing), drawn(thing, 40)):
            check_text(text)
        check_html(thing._repr_html_())


def a_tree() -> EventTree:
    record_tree(Pipeline(deliver=False, session="s1", user="ann"))
    found = last_tree()
    assert found is not None
    return found


def test_a_tree_is_told_in_a_line() -> None:
    tree = a_tree()
    pattern = rf"<EventTree chain ok, 3 events, 15 tokens, \$0\.0000\d+, [\d.]+ m?s, {tree.id}>"
    assert re.fullmatch(pattern, repr(tree))
    assert str(tree) == repr(tree)
    pattern = rf"<Event model ChatModel gpt-4o-mini ok, 15 tokens, \$0\.0000\d+, [\d.]+ m?s, {tree.events[1].id}>"
    assert re.fullmatch(pattern, repr(tree.events[1]))


def test_a_tree_is_drawn_as_a_waterfall_in_a_notebook() -> None:
    tree = a_tree()
    html = tree._repr_html_()
    check_html(html)
    for part in (
        "chain",
        "ChatModel",
        "gpt-4o-mini",
        "15",
        "$0.00000",
        "session s1",
        "user ann",
        "Where is it?",
        "here",
    ):
        assert part in html
    assert len(re.findall(r"left:[\d.]+%;width:[\d.]+%", html)) == 3
    # The child begins after its root, and ends no later.
    spans = [tuple(map(float, one)) for one in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", html)]
    assert spans[0][0] == 0
    assert all(left >= 0 and left + width <= 100.1 for left, width in spans)
    assert len(html) < 10_000


def test_a_large_tree_stays_small_in_a_notebook() -> None:
    pipeline = Pipeline(deliver=False)
    tree = new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="many", inputs={"question": "x" * 100_000})
    for _ in range(1_000):
        record_model(pipeline, new_id(), tree, "why " * 1000)
    recorder.close(pipeline, tree, outputs="x")
    found = last_tree()
    assert found is not None
    html = found._repr_html_()
    assert "701 events not shown" in html
    assert len(html) < 800_000


def test_what_went_wrong_is_named_with_the_line_of_the_app() -> None:
    def fails() -> None:
        raise TimeoutError("the library is closed")

    pipeline = Pipeline(deliver=False)
    tree, tool = new_id(), new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="rag", inputs={"question": "Where?"})
    recorder.open(pipeline, tool, tree, kind=Kind.TOOL, name="look up", inputs={})
    try:
        fails()
    except TimeoutError as error:
        recorder.close(pipeline, tool, error=error, status=Status.ERROR)
        recorder.close(pipeline, tree, error=error, status=Status.ERROR)
    found = last_tree()
    assert found is not None
    assert found.events[1].error is not None
    frame = users_frame(found.events[1].error)
    assert frame is not None
    assert re.fullmatch(r".*test_pictures\.py:\d+ in fails", frame)
    for text in (drawn(found, 300), found._repr_html_()):
        assert text.count("tool look up: TimeoutError: the library is closed") == 1
        assert text.count(" in fails") == 1
        assert "chain rag: TimeoutError" not in text


SAID: list[tuple[Any, str]] = [
    ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Hi\nyou"}]}, r"Hi\nyou"),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}]},
     'f({"a": 1})'),
    ({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}]}, "what?"),
    ({"question": "Where?", "context": "…"}, "Where?"),
    ({"query": "q"}, "q"), ("text", "text"), (None, ""), ([], "[]"), ({}, "{}"), (3, "3"),
    ({"documents": [{"text": "one"}, {"text": "two"}]}, "2 documents: one"),
    ({"a": 1, "b": 2}, '{"a": 1, "b": 2}'),
]  # fmt: skip


@pytest.mark.parametrize(("value", "line"), SAID)
def test_what_was_said_is_one_line(value: Any, line: str) -> None:
    assert gist(value) == line


def test_trees_are_read_lazily_newest_first_and_chosen_by_words() -> None:
    pipelines = {user: Pipeline(deliver=False, user=user, session=f"s {user}") for user in ("ann", "bob")}
    ids = [record_tree(pipelines[user]) for user in ("ann", "bob", "ann")]
    assert [tree.id for tree in trees()] == ids[::-1]
    assert [tree.id for tree in trees(user="ann")] == [ids[2], ids[0]]
    assert [tree.id for tree in trees(session="s bob", where="status:ok", since="1h")] == [ids[1]]
    assert list(trees(where="status:error")) == []
    assert last_tree() == next(iter(trees()))
    found = trees()
    ids.append(record_tree(pipelines["ann"]))
    assert next(iter(found)).id == ids[-1]  # asked again, it sees what came


def test_rows_of_trees_and_events_are_plain() -> None:
    tree = a_tree()
    (row,) = trees().to_rows()
    assert row["id"] == tree.id
    assert (row["name"], row["session"], row["user"], row["tokens"]) == ("chain", "s1", "ann", 15)
    assert row["usd"] == float(tree.total_usd or 0)
    rows = tree.to_rows()
    assert [one["kind"] for one in rows] == ["chain", "model", "tool"]
    assert rows[1]["total_tokens"] == 15
    assert rows[0]["outputs"] == '{"answer": "here"}'
    plain = (str, int, float, bool, type(None), type(tree.root.start))
    assert all(isinstance(value, plain) for one in (row, *rows) for value in one.values())


def test_an_experiment_has_a_result() -> None:
    pipeline = Pipeline(deliver=False)

    def run(name: str, right: Callable[[int], bool]) -> None:
        for number in range(4):
            with example(f"row-{number}", expected=f"answer {number}", experiment=name) as row:
                tree = record_tree(pipeline, question=f"question {number}")
                row.score("correct", right(number))
                row.score("length", number / 10)
            if number == 0:
                feedback(tree, score=0.5, name="correct")  # a later judge

    run("base", lambda number: number == 1)
    run("nightly", lambda number: number > 0)
    found = experiment("nightly")
    assert [row.datapoint_id for row in found.rows] == [f"row-{number}" for number in range(4)]
    assert [row.scores["correct"] for row in found.rows] == [0.5, 1, 1, 1]
    stats = found.stats
    assert stats["correct"].mean == pytest.approx(0.875)
    assert stats["correct"].spread == pytest.approx(0.25)
    assert stats["correct"].count == 4
    assert stats["length"].mean == pytest.approx(0.15)
    assert stats["tokens"].mean == 15
    assert stats["cost"].mean == pytest.approx(float(last_tree().total_usd))  # type: ignore[union-attr, arg-type]
    assert found.rows[1].expected == "answer 1"
    assert gist(found.rows[1].output) == "here"
    compared = found.compare(experiment("base"))
    assert compared.change("correct") == (pytest.approx(0.5), 2, 0, 2)
    assert compared.change("length") == (pytest.approx(0), 0, 0, 4)
    assert "+0.500" in drawn(compared)
    rows = found.to_rows()
    assert rows[2]["score.correct"] == 1
    assert rows[2]["input"] == "question 2"
    with pytest.raises(eventtree.JournalError, match="There are base, nightly"):
        experiment("weekly")


def test_an_experiment_that_is_one_row_has_no_spread() -> None:
    with example("a", experiment="once") as row:
        row.score("good", 1)
        record_tree(Pipeline(deliver=False))
    assert experiment("once").stats["good"].spread is None
    assert experiment("once").stats["good"].mean == 1
