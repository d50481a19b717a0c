"""Context handed on by the dispatcher: to a thread, to a workflow's run, to another process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags
from llama_index_instrumentation.span import active_span_id

import eventtree
from eventtree.event import EventTree
from eventtree.journal import open_journal
from eventtree.journal.trees import load, trees_in
from eventtree.llama_index import global_handler
from eventtree.recording.recorder import recorder
from eventtree.testing.capture import Captured
from tests.llama_index.conftest import outline
from tests.llama_index.models import Echo
from tests.trees import fold

dispatcher = get_dispatcher(__name__)


@dispatcher.span
def here(work: Any) -> Any:
    """A span around `work`."""
    return work()


def in_thread(work: Any) -> None:
    """Run it in a thread without the caller's context."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_thread_goes_on_in_the_same_tree(trees: Captured) -> None:
    def there(handed: dict[str, Any]) -> None:
        dispatcher.restore_propagation_context(handed)
        Echo().complete("hi")

    def begin() -> None:
        handed = dispatcher.capture_propagation_context()
        in_thread(lambda: there(handed))

    here(begin)
    [tree] = trees
    assert outline(tree) == ["chain here", "  model Echo.complete"]


def test_a_thread_without_it_is_a_tree_of_its_own(trees: Captured) -> None:
    here(lambda: in_thread(lambda: Echo().complete("hi")))
    assert len(trees) == 2


def test_what_is_handed_on_is_plain_and_holds_ids_alone(trees: Captured) -> None:
    with eventtree.session("s1", user="u1"), instrument_tags({"team": "blue"}):
        handed = here(dispatcher.capture_propagation_context)
    assert json.loads(json.dumps(handed)) == handed
    [tree] = trees
    assert handed["eventtree"] == {"run": tree.root.id, "tree": tree.id, "session": "s1", "user": "u1"}


def test_nothing_is_handed_on_where_nothing_is_recorded(trees: Captured) -> None:
    assert "eventtree" not in dispatcher.capture_propagation_context()


def test_what_is_not_ours_is_passed_over(trees: Captured) -> None:
    def restore() -> None:
        for strange in ({}, {"eventtree": None}, {"eventtree": {"run": 7}}, {"eventtree": "x", "other": 1}):
            dispatcher.restore_propagation_context(strange)
        Echo().complete("hi")

    in_thread(restore)
    [tree] = trees
    assert "parent_run_id" not in tree.root.metadata


CHILD = """
import json, sys
import eventtree, eventtree.llama_index
from llama_index_instrumentation import get_dispatcher
from tests.llama_index.models import Echo
eventtree.llama_index.set_global_handler()
get_dispatcher().restore_propagation_context(json.loads(sys.argv[1]))
print(json.dumps(get_dispatcher().capture_propagation_context()))
Echo().complete("hi")
"""


def recorded(folder: Path) -> list[EventTree]:
    """The trees in a journal."""
    journal = open_journal(str(folder))
    return [fold(load(journal, logged.lines))[0] for logged in trees_in(journal).values()]


def test_another_process_keeps_the_ids_session_and_tags(trees: Captured, own_place: Path) -> None:
    def ask() -> str:
        handed = json.dumps(dispatcher.capture_propagation_context())
        done = subprocess.run(
            [sys.executable, "-c", CHILD, handed],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert json.loads(done.stdout)["eventtree"] == json.loads(handed)["eventtree"], "handed on further"
        return handed

    with eventtree.session("s1", user="u1"), instrument_tags({"team": "blue"}):
        here(ask)
    [tree] = trees
    [there] = recorded(own_place)
    assert there.root.name == "Echo.complete"
    assert there.root.metadata == {"parent_run_id": tree.root.id, "parent_tree_id": tree.id, "team": "blue"}
    assert (there.root.session_id, there.root.user) == ("s1", "u1")


def test_a_run_that_ended_long_ago_is_named(trees: Captured, index: VectorStoreIndex) -> None:
    handed = here(dispatcher.capture_propagation_context)

    def later() -> None:
        dispatcher.restore_propagation_context(handed)
        Echo().complete("hi")

    in_thread(later)
    first, second = trees
    assert second.root.metadata["parent_run_id"] == first.root.id


def test_a_parent_nobody_recorded_is_kept_as_a_foreign_id(trees: Captured) -> None:
    """A5, A6: and nothing is kept of it."""
    foreign = "11111111-2222-4333-8444-555555555555"
    token = active_span_id.set(f"Engine.query-{foreign}")
    try:
        for _ in range(20):
            Echo().complete("hi")
    finally:
        active_span_id.reset(token)
    assert {(tree.root.parent_id, tree.root.metadata["parent_run_id"]) for tree in trees} == {(None, foreign)}
    handler = global_handler()
    assert handler is not None and not handler._spans.open and not recorder.runs
