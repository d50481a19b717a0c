"""Feedback reaches every vendor that can take it: at once, hours later, from another process; it is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

import eventtree
from eventtree import flush
from eventtree.delivery.consumer import Consumer
from eventtree.delivery.feed import Feed, Feeds, Folder
from eventtree.delivery.http import Http
from eventtree.delivery.report import Report
from eventtree.journal import DiskFiles
from eventtree.journal.clear import clear
from eventtree.journal.trees import find_trees
from eventtree.langchain import CallbackHandler
from eventtree.recording import feedback as feedback_module
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import VendorServer
from eventtree.vendors import VENDORS, Vendor, vendor_class
from tests.trees import record_tree

SAID: dict[str, Any] = {"score": 1, "comment": "good", "correction": "there", "user": "ada", "metadata": {"page": 3}}


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as running:
        yield running


def vendor(server: VendorServer, kind: str, **more: object) -> Vendor:
    with_scores = {"scores": "logs"} if kind == "otlp" else {}  # plain OTLP has no place for them unless it is told
    return vendor_class(kind)(**server.settings(kind), **with_scores, **more)


def events_of(pipeline: Pipeline, tree: str) -> list[str]:
    """The ids of a tree's events."""
    found = []
    for line in b"".join(pipeline.journal.files.read(n, 0, 10**7) for n in pipeline.journal.logs()).splitlines():
        entry = json.loads(line[line.index(b" ", 9) + 1 :])
        if entry["r"] == "open" and entry["tree"] == tree:
            found.append(entry["id"])
    return found


def told(report: Report, kind: str) -> dict[str, int]:
    sums = report.vendors[kind]
    assert sums.unexplained == 0
    return sums.feedback


def heard(server: VendorServer, kind: str) -> list[Any]:
    """The feedback a vendor accepted; HoneyHive's are updates."""
    return server.updates(kind) if kind == "honeyhive" else server.feedback(kind)


EXPECTED: dict[str, list[dict[str, Any]]] = {
    "braintrust": [{"scores": {"score": 1.0}, "expected": "there", "comment": "good", "source": "external"}],
    "humanloop_v4": [
        {"type": "rating", "value": "good"}, {"type": "correction", "value": "there"},
        {"type": "comment", "value": "good"},
    ],
    "humanloop_v5": [
        {"path": "rating", "judgment": "good"}, {"path": "correction", "judgment": "there"},
        {"path": "default/remarks/comment", "judgment": "good"},
    ],
    "nebuly": [
        {"action": {"slug": "thumbs_up"}}, {"action": {"slug": "comment", "text": "good"}},
        {"action": {"slug": "edit", "text": "there"}},
    ],
    "otlp": [{"eventName": "gen_ai.evaluation.result"}],
    "honeyhive": [
        {"metrics": {"score": 1.0}},
        {"feedback": {"rating": 1, "comment": "good", "user_id": "ada", "ground_truth": "there",
                      "metadata": {"page": 3}}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", VENDORS)
def test_feedback_on_a_tree_reaches_every_vendor_after_the_tree(server: VendorServer, kind: str) -> None:
    pipeline = Pipeline(vendors=[vendor(server, kind)], user="u")
    tree = record_tree(pipeline)
    assert eventtree.feedback(tree, **SAID)
    report = flush(10)
    assert told(report, kind) == {"delivered": 1}
    assert report.vendors[kind].accepted == 3
    assert not server.refused
    found = heard(server, kind)
    for part in EXPECTED[kind]:
        assert any(part.items() <= one.items() for one in found), (part, found)


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("settings", [{}, {"generation": "v1"}, {"dialect": "trace_status"}, {"version": "v3"}])
def test_feedback_on_any_event_is_taken_in_every_generation(kind: str, settings: dict[str, str]) -> None:
    if settings.keys() - vendor_class(kind).model_fields.keys():
        pytest.skip("not a setting of this vendor")
    with VendorServer(humanloop_dialect=settings.get("dialect", "log_status")) as server:  # type: ignore[arg-type]
        pipeline = Pipeline(vendors=[vendor(server, kind, **settings)], user="u")
        tree = record_tree(pipeline)
        for event_id in events_of(pipeline, tree):
            assert eventtree.feedback(event_id, score={"fit": 0.5, "length": 17}, comment="so")
        assert told(flush(10), kind) == {"delivered": 3}
        assert not server.refused
        assert heard(server, kind)


@pytest.mark.parametrize("kind", VENDORS)
def test_feedback_comes_hours_later_when_the_tree_is_forgotten(server: VendorServer, kind: str) -> None:
    pipeline = Pipeline(vendors=[vendor(server, kind)], user="u")
    tree = record_tree(pipeline)
    model = events_of(pipeline, tree)[1]
    assert told(flush(10), kind) == {}
    recorder.runs.clear()
    recorder.ended.clear()
    consumer = next(iter(pipeline.shipper.consumers.values()))
    assert consumer.cursor is not None
    consumer.cursor.advance(consumer.offsets())  # what a cursor does with trees settled long ago
    consumer.cursor.settled.clear()
    assert eventtree.feedback(model, score=0.2, user="ada")
    assert told(flush(10), kind) == {"delivered": 1}
    assert not server.refused
    assert len(server.events(kind)) in (1, 3)


SCRIPT = """
import eventtree, sys
print(eventtree.feedback(sys.argv[1], score=0.9, comment="from elsewhere"))
"""


@pytest.mark.parametrize("kind", VENDORS)
def test_feedback_from_another_process_is_delivered_by_the_one_that_ships(server: VendorServer, kind: str) -> None:
    pipeline = Pipeline(vendors=[vendor(server, kind)], user="u")
    tree = record_tree(pipeline)
    flush(10)
    done = subprocess.run([sys.executable, "-c", SCRIPT, events_of(pipeline, tree)[1]], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")
    wait_for(lambda: bool(heard(server, kind)))
    wait_for(lambda: told(flush(5), kind) == {"delivered": 1})
    assert not server.refused


def wait_for(happened: Any, seconds: float = 10.0) -> None:
    """Until it has happened."""
    import time

    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.02)
    assert happened()


def test_feedback_waits_for_a_vendor_that_is_away_and_is_sent_once(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")], deliver=False)
    tree = record_tree(pipeline)
    assert eventtree.feedback(tree, score=1)
    assert told(flush(0), "braintrust") == {"waiting": 1}
    Pipeline(vendors=[vendor(server, "braintrust")], deliver=True)
    assert told(flush(10), "braintrust") == {"delivered": 1}
    pipeline.shipper.stop()
    pipeline.shipper.after_fork()
    pipeline.shipper.ensure()
    record_tree(pipeline)
    assert told(flush(10), "braintrust") == {"delivered": 1}
    assert len(server.feedback("braintrust")) == 1


@pytest.mark.parametrize("status", [404, 410, 501])
def test_refused_feedback_is_a_dead_letter_and_no_dead_event(server: VendorServer, status: int) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")])
    tree = record_tree(pipeline)
    flush(10)
    server.script("braintrust", [status])
    assert eventtree.feedback(tree, score=1)
    assert eventtree.feedback(tree, score=0)
    report = flush(10)
    assert told(report, "braintrust") == {"dead": 1, "delivered": 1}
    assert report.vendors["braintrust"].dead == 0
    assert report.vendors["braintrust"].parked is None
    consumer = next(iter(pipeline.shipper.consumers.values()))
    assert [letter["tree"] for letter in consumer.dead.read()] == [tree]


def test_feedback_that_has_no_place_is_counted(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "nebuly")])
    eventtree.feedback(record_tree(pipeline), score=1)
    assert told(flush(10), "nebuly") == {"no_end_user": 1}


def test_cleared_feedback_is_counted(server: VendorServer) -> None:
    record_tree(Pipeline(vendors=[vendor(server, "braintrust")]))
    flush(10)
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")], deliver=False)
    pipeline.shipper.stop()
    tree = record_tree(pipeline)
    eventtree.feedback(tree, comment="secret thought")
    assert clear(pipeline.journal, {tree}) == 1
    report = flush(0)
    assert told(report, "braintrust") == {"by_user": 1}
    assert report.vendors["braintrust"].waiting == 0


def test_feedback_on_the_unsampled_or_without_a_word_is_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline()
    tree, unsampled = record_tree(pipeline), record_tree(Pipeline(sample_rate=0))
    assert not eventtree.feedback(tree, user="ada")
    assert not eventtree.feedback(unsampled, score=1)
    assert not eventtree.feedback("", score=1)
    assert eventtree.feedback(tree, score=1)
    assert len(caplog.records) == 3


def test_feedback_without_any_journal_makes_none(own_place: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not eventtree.feedback("somebody", score=1)
    assert not own_place.exists()
    assert len(caplog.records) == 1


def test_g19_feedback_reads_no_log_on_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run it does not know only the id is recorded, in the journal that this process delivers."""
    pipeline = Pipeline()
    tree = record_tree(pipeline)
    monkeypatch.setattr(DiskFiles, "read", lambda *_: 1 / 0)
    assert eventtree.feedback(tree, score=1)
    assert eventtree.feedback("of another process", comment="good")
    monkeypatch.undo()
    known, unknown = (
        json.loads(line[line.index(b" ", 9) + 1 :])
        for line in pipeline.journal.files.read(pipeline.journal.log, 0, 10**6).splitlines()
        if b'"r":"feedback"' in line
    )
    assert (known["id"], known["tree"], known["vendors"]) == (tree, tree, [])
    assert (unknown["id"], unknown["tree"], unknown["comment"]) == ("of another process", "of another process", "good")
    assert "vendors" not in unknown


def test_feedback_is_redacted_as_its_run_is(own_place: Path) -> None:
    pipeline = Pipeline(redact=lambda text: text.replace("secret", "***"))
    tree = record_tree(pipeline)
    eventtree.feedback(tree, comment="a secret thought")
    recorder.ended.clear()
    eventtree.feedback(tree, comment="another secret thought")
    text = b"".join(path.read_bytes() for path in own_place.glob("*.log"))
    assert b"secret" not in text
    assert text.count(b"*** thought") == 2


def test_the_newest_feedback_of_a_tree_goes_last(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "honeyhive")])
    tree = record_tree(pipeline)
    for score in range(10):
        eventtree.feedback(tree, score=score)
    assert told(flush(10), "honeyhive") == {"delivered": 10}
    of_tree = [said for said in server.updates("honeyhive") if said["event_id"] == tree]
    assert [said["feedback"]["rating"] for said in of_tree] == list(range(10))


ODD: list[dict[str, Any]] = [
    {"score": float("nan")}, {"score": float("inf"), "name": "big"}, {"score": "good"}, {"score": -3},
    {"score": 10**30},
    {"score": {"": 1, " ": 2, "a": None, "b": True, "ü/{x}": 0.5}}, {"score": 1, "name": "  "}, {"score": []},
    {"comment": ""}, {"comment": 7, "user": ""}, {"comment": "\ud800 half", "user": " "}, {"comment": {"a": [1]}},
    {"correction": {"a": None}}, {"correction": ""}, {"correction": 0}, {"correction": [1, 2], "metadata": {"": None}},
    {"score": 1, "metadata": "no object", "user": 5},
    {"score": 1, "name": {}}, {"score": 1, "name": 7}, {"score": 1, "name": "x" * 300, "comment": "\x00\u2028"},
]  # fmt: skip


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("settings", [{}, {"generation": "v1"}, {"dialect": "trace_status"}, {"version": "v3"}])
def test_odd_feedback_is_refused_nowhere(kind: str, settings: dict[str, str]) -> None:
    if settings.keys() - vendor_class(kind).model_fields.keys():
        pytest.skip("not a setting of this vendor")
    with VendorServer(humanloop_dialect=settings.get("dialect", "log_status")) as server:  # type: ignore[arg-type]
        pipeline = Pipeline(vendors=[vendor(server, kind, **settings)], user="u")
        tree = record_tree(pipeline)
        # Past the look at scores: a journal may hold what another version has let through.
        assert all(feedback_module._record(tree, odd) for odd in ODD)
        found = told(flush(20), kind)
        assert [one.problem for one in server.refused] == []
        assert found.keys() <= {"delivered", "no_place"}
        assert sum(found.values()) == len(ODD)


def test_feedback_waits_for_a_tree_that_has_not_been_read_yet(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[vendor(server, "braintrust")], deliver=False)
    tree = record_tree(pipeline)
    journal = pipeline.journal
    folder = Folder(journal, lambda: None, lambda: None)
    feeds = Feeds(journal, folder, lambda *start: Feed(journal, *start))
    consumer = Consumer(journal, pipeline.vendors[0], Http(), feeds)
    assert eventtree.feedback(tree, score=1)
    assert consumer.hold()
    consumer._read()
    assert consumer.feed is not None
    (said,) = consumer.feedback.waiting.values()
    assert consumer.feedback.due(consumer.feed, all_read=True) == []  # its tree is due
    (logged,) = consumer.due.take(9)
    assert consumer.feedback.due(consumer.feed, all_read=True) == [said]
    assert not consumer.feedback._put_off(said, find_trees(journal, [tree])[tree], consumer.feed)
    record_tree(pipeline)
    recorder.note(tree, "more")
    reader = consumer.feed.scan.readers[journal.log]
    reader.offset -= logged.size
    assert consumer.feedback._put_off(said, find_trees(journal, [tree])[tree], consumer.feed)
    reader.offset += logged.size
    assert consumer.offsets() == {said.log: said.offset}
    consumer.release()


NO_SCORES: dict[str, tuple[Any, str]] = {
    "text": ("good", "score is no number but str"),
    "NaN": (float("nan"), "score is no finite number"),
    "infinite": (float("inf"), "score is no finite number"),
    "no double": (10**400, "score is no finite number"),
    "list": ([1], "score is no number but list"),
    "object": (object(), "score is no number but object"),
    "complex": (1j, "score is no number but complex"),
    "by name": ({"right": 1, "short": "very"}, "score 'short' is no number but str"),
    "NaN by name": ({"right": Decimal("NaN")}, "score 'right' is no finite number"),
    "none by name": ({"right": None}, "score has no entry"),
    "no names": ({}, "score has no entry"),
}


@pytest.mark.parametrize("case", NO_SCORES)
def test_a_score_that_is_no_number_is_refused_at_once(case: str, caplog: pytest.LogCaptureFixture) -> None:
    score, words = NO_SCORES[case]
    pipeline = Pipeline()
    tree = record_tree(pipeline)
    with caplog.at_level("WARNING", "eventtree"):
        assert eventtree.feedback(tree, score=score, comment="fine") is False
    assert [one.getMessage() for one in caplog.records] == [f"feedback: {words}; it was not recorded"]
    assert b'"r":"feedback"' not in b"".join(pipeline.journal.files.read(n, 0) for n in pipeline.journal.logs())


@pytest.mark.parametrize("how", ["handler", "configured", "environment"])
def test_a_strict_handler_raises_for_a_score_that_is_no_number(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "environment":
        monkeypatch.setenv("EVENTTREE_STRICT", "on")
    if how == "configured":
        eventtree.configure(strict=True)
    tree = record_tree(Pipeline(strict=True if how == "handler" else None))
    for given in ({"score": "good"}, {}):
        with pytest.raises(eventtree.ConfigError, match=r"feedback: .*Give a number"):
            eventtree.feedback(tree, **given)


@pytest.mark.parametrize(
    "score", [0, 1.0, True, Decimal("0.5"), Fraction(1, 2), {"right": 1, "short": False, "long": None}]
)
def test_every_kind_of_number_is_a_score(score: Any) -> None:
    assert eventtree.feedback(record_tree(Pipeline()), score=score) is True


@pytest.mark.parametrize(
    "redact", [str.upper, lambda _text: "X", lambda text: f"[{text}]"], ids=["upper", "all", "around"]
)
def test_a_redactor_of_every_text_loses_no_error_no_score_and_no_message(redact: Any, own_place: Path) -> None:
    """Texts pass it; words by which a record is read back do not."""
    handler = CallbackHandler(redact=redact)

    def fails(_: Any) -> None:
        raise ZeroDivisionError("division by zero")

    model = RunnableLambda(lambda _: FakeListChatModel(responses=["hi"]).invoke([("user", "hello")]))
    with eventtree.example(datapoint_id="row-1", experiment="nightly"):
        model.invoke(1, config={"callbacks": [handler]})
    assert eventtree.feedback(handler.last_tree_id, score=0.5, name="good", comment="so so")
    with pytest.raises(ZeroDivisionError):
        RunnableLambda(fails).invoke(1, config={"callbacks": [handler]})
    failed, answered = eventtree.trees()
    assert failed.root.error is not None
    assert (failed.root.error.type, failed.root.error.message) == (
        redact("ZeroDivisionError"),
        redact("division by zero"),
    )
    said = answered.events[1]
    assert said.inputs == {"messages": [{"role": "user", "content": redact("hello")}]}
    assert [(one["role"], one["content"]) for one in said.outputs["messages"]] == [("assistant", redact("hi"))]
    given = answered.feedback[0]
    assert (given["score"], given["name"], given["comment"]) == (0.5, redact("good"), redact("so so"))
    assert eventtree.experiment(redact("nightly")).rows[0].datapoint_id == redact("row-1")


def test_an_id_whose_text_ends_the_process_costs_that_feedback_alone(own_place: Path) -> None:
    class Odd:
        def __str__(self) -> str:
            raise SystemExit(3)

    assert eventtree.feedback(Odd(), score=1) is False
    assert eventtree.feedback(record_tree(Pipeline()), score=1) is True


def test_names_of_parameters_do_not_pass_a_redactor_and_their_values_do(own_place: Path) -> None:
    class Model(FakeListChatModel):
        @property
        def _identifying_params(self) -> dict[str, Any]:
            return {"temperature": 0.5, "reasoning_effort": "high", "tool_choice": {"name": "look_up"}}

    handler = CallbackHandler(redact=lambda text: f"[{text}]")
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    (prompt | Model(responses=["hi"])).invoke({"question": "why"}, config={"callbacks": [handler]})
    (tree,) = eventtree.trees()
    asked, answered = tree.events[1:]
    assert [one["content"] for one in asked.params["template"]] == ["[{question}]"]
    assert answered.params == {
        "temperature": 0.5, "reasoning_effort": "[high]", "tool_choice": {"name": "[look_up]"}
    }  # fmt: skip
