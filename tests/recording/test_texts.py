"""A long text stands once in a tree: later records point to it, and every reader finds it where it belongs."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

import eventtree
from eventtree import diagnostics, flush, record
from eventtree.content.walk import LONG
from eventtree.event import EventTree
from eventtree.journal import Journal, MemoryFiles, open_journal
from eventtree.journal.clear import clear
from eventtree.journal.line import frame, unframe
from eventtree.kinds import Kind
from eventtree.langchain import CallbackHandler
from eventtree.recording import texts
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.recording.texts import Texts
from eventtree.testing import VendorServer
from eventtree.tree.builder import TreeBuilder
from eventtree.vendors import Braintrust
from tests.bench.chain import make_chain
from tests.trees import close_record, new_id, open_record, stored_trees

TEXT = "Ä long prompt. " * 400


def records(folder: Path) -> list[dict[str, Any]]:
    lines = [line for log in sorted(folder.glob("*.log")) for line in log.read_bytes().splitlines()]
    return [record.decode(unframe(line)[1]) for line in lines]


def trees(folder: Path) -> list[EventTree]:
    return list(stored_trees(open_journal(str(folder))))


def child(pipeline: Pipeline, root: str, text: Any, outputs: Any = None) -> str:
    run = new_id()
    recorder.open(pipeline, run, root, Kind.CHAIN, "step", inputs=text)
    recorder.close(pipeline, run, outputs=outputs)
    return run


@pytest.fixture
def root() -> Iterator[tuple[Pipeline, str]]:
    """A root whose input is a long text."""
    pipeline, run = Pipeline(), new_id()
    recorder.open(pipeline, run, None, Kind.CHAIN, "root", inputs={"question": TEXT})
    yield pipeline, run
    recorder.runs.clear()


def test_a_text_is_written_once_and_read_everywhere(root: tuple[Pipeline, str], own_place: Path) -> None:
    pipeline, run = root
    child(pipeline, run, {"messages": [{"role": "user", "content": TEXT}]}, outputs=TEXT)
    child(pipeline, run, [[TEXT], TEXT + "!"], outputs={"a": TEXT + "!"})
    recorder.close(pipeline, run, outputs={"answer": [TEXT, "short"]})
    raw = b"".join(log.read_bytes() for log in own_place.glob("*.log")).decode()
    assert raw.count(TEXT) == 2
    (tree,) = trees(own_place)
    assert [event.inputs for event in tree.events] == [
        {"question": TEXT}, {"messages": [{"role": "user", "content": TEXT}]}, [[TEXT], TEXT + "!"],
    ]  # fmt: skip
    assert [event.outputs for event in tree.events] == [{"answer": [TEXT, "short"]}, TEXT, {"a": TEXT + "!"}]
    assert all(record.SAME not in event.model_dump_json() for event in tree.events)


def test_a_chain_with_a_prompt_of_a_megabyte_writes_it_once(own_place: Path) -> None:
    prompt = "x" * 1_000_000
    make_chain().invoke({"question": prompt}, {"callbacks": [CallbackHandler()]})
    assert sum(log.stat().st_size for log in own_place.glob("*.log")) < 1_020_000
    (tree,) = trees(own_place)
    assert [str(event.inputs).count(prompt) for event in tree.events] == [1, 1, 1, 0]


def test_what_an_app_writes_is_never_taken_for_a_pointer(root: tuple[Pipeline, str], own_place: Path) -> None:
    pipeline, run = root
    own = {"same": {"from": 0, "places": [{"at": ["inputs"], "of": [0, 1]}]}, "$same": [run]}
    child(pipeline, run, own, outputs=own)
    child(pipeline, run, {**own, "text": TEXT, "none": None})
    recorder.close(pipeline, run)
    (tree,) = trees(own_place)
    assert tree.events[1].inputs == tree.events[1].outputs == own
    assert tree.events[2].inputs == {**own, "text": TEXT, "none": None}


def test_after_its_root_has_ended_a_record_is_whole(root: tuple[Pipeline, str], own_place: Path) -> None:
    pipeline, run = root
    late = new_id()
    recorder.open(pipeline, late, run, Kind.CHAIN, "late", inputs="x")
    recorder.close(pipeline, run, outputs=TEXT)
    recorder.close(pipeline, late, outputs=TEXT)
    child(pipeline, run, TEXT)
    found = records(own_place)
    assert [record.SAME in entry for entry in found if entry["r"] == record.CLOSE] == [True, False, False]
    assert found[-2]["inputs"] == TEXT


def test_trees_do_not_point_to_each_other(own_place: Path) -> None:
    pipeline = Pipeline()
    for _ in range(2):
        run = new_id()
        recorder.open(pipeline, run, None, Kind.CHAIN, "root", inputs=TEXT)
        recorder.close(pipeline, run)
    assert [entry.get("inputs") for entry in records(own_place) if entry["r"] == record.OPEN] == [TEXT, TEXT]


def test_texts_of_one_length_are_found_in_as_many_steps_however_many_there_are() -> None:
    def steps(number: int) -> int:
        """Instructions of the interpreter, for records of so many texts that differ at their ends alone."""
        count = 0

        def step(frame: Any, event: str, _: Any) -> Any:
            nonlocal count
            frame.f_trace_opcodes = True
            count += event == "opcode"
            return step

        shared = Texts(Journal(MemoryFiles()))
        before = sys.gettrace()
        sys.settrace(step)
        try:
            for turn in range(2):
                entry = {"inputs": {"texts": [TEXT + f"{turn * number + i:08}" for i in range(number)]}}
                found = shared.share(entry)
                assert found is not None
                found.written(1)
        finally:
            sys.settrace(before)
        return count

    assert steps(320) < 5 * steps(80)


@pytest.mark.parametrize("word", ["answer ", "äöüäöü "])
def test_what_is_read_is_no_larger_than_the_bound_of_a_value_though_its_records_are_small(
    word: str, own_place: Path
) -> None:
    said = [{"role": "user", "content": f"{number} " + word * 100} for number in range(60)]
    pipeline, run = Pipeline(bounds={"value_bytes": 20_000}), new_id()
    recorder.open(pipeline, run, None, Kind.CHAIN, "root", inputs={"messages": said[:4]})
    for number in range(5, 60):
        child(pipeline, run, {"messages": said[:number]}, outputs=[word * 1_000] * number)
    recorder.close(pipeline, run)
    (tree,) = trees(own_place)
    sizes = [len(record.encode(value)) for event in tree.events for value in (event.inputs, event.outputs)]
    assert 15_000 < max(sizes) <= 20_000


def test_f12_a_damaged_record_costs_its_own_event_and_the_texts_it_holds(
    root: tuple[Pipeline, str], own_place: Path
) -> None:
    pipeline, run = root
    first = child(pipeline, run, {"q": TEXT + "1"})
    second = child(pipeline, run, {"q": TEXT + "1", "other": "kept"})
    recorder.close(pipeline, run, outputs="x")
    (log,) = own_place.glob("*.log")
    lines = log.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if f'"open","id":"{first}"'.encode() in line)
    log.write_bytes(b"".join([*lines[:at], lines[at].replace(b"prompt", b"PROMPT", 1), *lines[at + 1 :]]))
    (tree,) = trees(own_place)
    events = {event.id: event for event in tree.events}
    assert events[run].inputs == {"question": TEXT}
    inputs: Any = events[second].inputs
    assert inputs["other"] == "kept" and "damaged" in inputs["q"]
    assert [note.name for note in events[second].notes] == ["damaged"]
    assert diagnostics.failures["texts lost with a damaged record"] == 1


def test_a_pointer_that_was_tampered_with_hurts_nothing(root: tuple[Pipeline, str], own_place: Path) -> None:
    pipeline, run = root
    child(pipeline, run, {"q": TEXT})
    recorder.close(pipeline, run)
    (log,) = own_place.glob("*.log")
    kept = log.read_bytes().splitlines(keepends=True)
    not_even_places: list[Any] = [None, [], {}, {"from": "a", "places": []}, {"from": 0}]
    odd_pointers: list[Any] = [
        *not_even_places, 7, [7], [{}], [{"at": [], "of": [0, 1]}], [{"at": [], "here": [0, 1]}], [{"at": 1, "of": 1}],
        [{"at": ["inputs", "q", 0], "of": [0, 1]}], [{"at": ["inputs", "q"], "of": [0]}], [{"at": ["r"], "of": [0, 1]}],
        [{"at": ["inputs"], "of": [0, 1 << 62]}], [{"at": ["inputs"], "of": [1, 0]}],
        [{"at": ["inputs"], "of": ["a", {}]}],
    ]  # fmt: skip
    for odd in odd_pointers:
        lines = []
        for line in kept:
            seq, payload = unframe(line.rstrip(b"\n"))
            entry = record.decode(payload)
            if record.SAME in entry:
                entry[record.SAME] = odd if odd in not_even_places else {**entry[record.SAME], "places": odd}
            lines.append(frame(seq, record.encode(entry)))
        log.write_bytes(b"".join(lines))
        (tree,) = trees(own_place)
        assert [event.name for event in tree.events] == ["root", "step"]


def test_a_record_that_has_to_be_cut_points_nowhere_and_is_pointed_to_by_none(own_place: Path) -> None:
    pipeline, run = Pipeline(bounds={"value_bytes": 20_000}), new_id()
    recorder.open(pipeline, run, None, Kind.CHAIN, "root", inputs=TEXT)
    child(pipeline, run, [TEXT, "y" * 50_000])
    child(pipeline, run, ["y" * 50_000, TEXT])
    recorder.close(pipeline, run)
    (tree,) = trees(own_place)
    for event in tree.events[1:]:
        assert "Ä long" in str(event.inputs) and "yyy" in str(event.inputs) and "cut]…" in str(event.inputs)
    assert [record.SAME in entry for entry in records(own_place) if entry["r"] == record.OPEN] == [True, False, False]


def test_nothing_points_into_a_log_that_somebody_deleted(root: tuple[Pipeline, str], own_place: Path) -> None:
    pipeline, run = root
    for log in own_place.glob("*.log"):
        log.unlink()
    pipeline.journal._unsure.clear()
    pipeline.journal.flush_held()
    child(pipeline, run, TEXT)
    recorder.close(pipeline, run)
    opened = [entry for entry in records(own_place) if entry["r"] == record.OPEN]
    assert [entry["inputs"] for entry in opened] == [TEXT]


def test_nothing_points_to_a_record_that_memory_had_no_room_for(root: tuple[Pipeline, str]) -> None:
    pipeline, run = root
    pipeline.journal.dropped += 1
    child(pipeline, run, TEXT)
    assert recorder.runs[run].tree.texts is not None
    assert [entry.get("inputs") for entry in records(Path(pipeline.settings.folder))[-2:]] == [TEXT, None]


def test_what_is_held_is_bounded_and_gone_with_the_root(
    root: tuple[Pipeline, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, run = root
    monkeypatch.setattr(texts, "HELD_CHARACTERS", 100_000)
    for number in range(40):
        child(pipeline, run, TEXT + str(number))
        assert 0 < sum(texts.held.values()) <= 100_000
    tree = recorder.runs[run].tree
    assert tree.texts is not None and tree.texts.texts
    assert {*map(type, tree.texts.texts)} == {str}
    held = id(tree.texts)
    recorder.close(pipeline, run)
    assert tree.texts is None
    assert held not in texts.held


def test_a_large_tree_stops_to_point_back_long_before_a_part_of_it_goes_out(
    root: tuple[Pipeline, str], monkeypatch: pytest.MonkeyPatch, own_place: Path
) -> None:
    pipeline, run = root
    monkeypatch.setattr(texts, "SHARED_BYTES", 10_000)
    child(pipeline, run, TEXT + "2")
    child(pipeline, run, TEXT + "2")
    assert record.SAME not in str(records(own_place)[-2:])


def test_clear_takes_the_tree_with_all_its_pointers(root: tuple[Pipeline, str], own_place: Path) -> None:
    pipeline, run = root
    child(pipeline, run, TEXT)
    recorder.close(pipeline, run)
    other = new_id()
    recorder.open(pipeline, other, None, Kind.CHAIN, "other", inputs=TEXT)
    recorder.close(pipeline, other, outputs=TEXT)
    clear(pipeline.journal, {run})
    assert [(tree.id, tree.root.inputs, tree.root.outputs) for tree in trees(own_place)] == [(other, TEXT, TEXT)]


def test_a_vendor_gets_the_texts_also_after_the_writer_was_killed(own_place: Path) -> None:
    """The writer dies with an open tree over two logs; another process delivers it."""
    code = f"""
import os, sys
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.vendors import Braintrust
pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url=sys.argv[1])], deliver=False)
pipeline.journal.roll_bytes = 7_000
recorder.open(pipeline, "a" * 36, None, Kind.CHAIN, "root", inputs={TEXT!r})
for number in range(3):
    recorder.open(pipeline, str(number), "a" * 36, Kind.CHAIN, "step", inputs={{"q": {TEXT!r}, "n": "z" * 2000}})
    recorder.close(pipeline, str(number))
os.kill(os.getpid(), 9)
"""
    with VendorServer() as server:
        settings = server.settings("braintrust")
        subprocess.run([sys.executable, "-c", code, settings["base_url"]], env=dict(os.environ), check=False)
        assert len(list(own_place.glob("*.log"))) > 1
        Pipeline(vendors=[Braintrust(**{**settings, "api_key": "k"})])
        flush(30)
        sent = [str(kept) for kept in server.events("braintrust")]
    (tree,) = trees(own_place)
    assert [str(event.inputs).count(TEXT) for event in tree.events] == [1, 1, 1, 1]
    assert len(TEXT) > LONG
    assert len(sent) == 4 and all(TEXT in row for row in sent)


def test_a_record_that_came_after_its_tree_went_out_has_its_text(own_place: Path) -> None:
    """Made while the root ended, in another thread: it points to what was delivered before."""
    with VendorServer() as server:
        pipeline, run, late = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))]), new_id(), new_id()
        recorder.open(pipeline, run, None, Kind.CHAIN, "root", inputs={"question": TEXT})
        recorder.close(pipeline, run)
        assert flush(30).waiting == 0
        entry = open_record(late, run, run, "chain", "late", 1_800_000_000_000_000_000) | {"inputs": {"q": None}}
        first = next(one for one in records(own_place) if record.SAME in one)["same"]["from"]
        entry["same"] = {"from": first, "places": [{"at": ["inputs", "q"], "of": [0, 1]}]}
        pipeline.journal.append(record.encode(entry), recorder.ended[run].tree.counted)
        pipeline.journal.append(record.encode(close_record(late, run, 1, "ok")))
        assert flush(30).waiting == 0
        assert [TEXT in str(event) for event in server.events("braintrust")] == [True, True]


SEEDED = f"""
import json, os, random, sys
import eventtree
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
random.seed(42)
who, pipeline, run = sys.argv[1], Pipeline(deliver=False), sys.argv[2]
def record():
    recorder.open(pipeline, run, None, Kind.CHAIN, who, inputs=[who + {TEXT!r}])
    for number in range(2):
        recorder.open(pipeline, who + str(number), run, Kind.CHAIN, who, inputs=[who + {TEXT!r}])
        recorder.close(pipeline, who + str(number), outputs=who + "!" + {TEXT!r})
if len(sys.argv) > 3:
    with eventtree.joined(json.loads(sys.argv[3])):
        record()
    recorder.close(pipeline, run)
else:
    record()
print(random.random())
os._exit(0)
"""


@pytest.mark.parametrize("joins", [True, False])
def test_processes_that_seed_random_alike_and_write_to_one_tree_have_their_own_texts(
    joins: bool, own_place: Path
) -> None:
    """Workers that joined a tree; a process that died with an open tree, and one that runs it again with its ids."""
    drawn = set()
    with eventtree.span("root"):
        handed = [json.dumps(eventtree.headers())] if joins else []
        for who in "AB":
            arguments = [who, who * 36 if joins else "R" * 36, *handed]
            process = subprocess.run([sys.executable, "-c", SEEDED, *arguments], capture_output=True, check=True)
            drawn.add(float(process.stdout))
    said = [event for tree in trees(own_place) for event in tree.events if event.id in ("A0", "A1", "B0", "B1")]
    assert len(said) == 4
    assert all(event.inputs == [event.name + TEXT] for event in said)
    assert all(event.outputs == event.name + "!" + TEXT for event in said)
    assert drawn == {random.Random(42).random()}


def test_with_a_redactor_texts_are_shared_as_they_are_recorded(own_place: Path) -> None:
    pipeline, run = Pipeline(redact=lambda text: text.replace("prompt", "******")), new_id()
    recorder.open(pipeline, run, None, Kind.CHAIN, "root", inputs=TEXT)
    child(pipeline, run, [TEXT])
    recorder.close(pipeline, run)
    assert b"prompt" not in b"".join(log.read_bytes() for log in own_place.glob("*.log"))
    (tree,) = trees(own_place)
    assert tree.events[1].inputs == [TEXT.replace("prompt", "******")]
    assert record.SAME in str(records(own_place))


def test_a_forked_child_writes_its_texts_out(root: tuple[Pipeline, str], own_place: Path) -> None:
    pipeline, run = root
    pid = os.fork()
    if pid == 0:
        child(pipeline, run, {"child": TEXT})
        os._exit(0)
    os.waitpid(pid, 0)
    recorder.close(pipeline, run)
    opened = [entry["inputs"] for entry in records(own_place) if entry["r"] == record.OPEN]
    assert {"child": TEXT} in opened


def test_forked_children_of_a_tree_without_texts_so_far_have_their_own(own_place: Path) -> None:
    pipeline, run = Pipeline(deliver=False), new_id()
    recorder.open(pipeline, run, None, Kind.CHAIN, "root", inputs="short")
    for who in "AB":
        pid = os.fork()
        if pid == 0:
            for _ in range(2):
                child(pipeline, run, {"who": who, "text": who + TEXT})
            os._exit(0)
        os.waitpid(pid, 0)
    for _ in range(2):
        child(pipeline, run, {"who": "P", "text": "P" + TEXT})
    recorder.close(pipeline, run)
    (tree,) = trees(own_place)
    said: list[Any] = [event.inputs for event in tree.events[1:]]
    assert sorted(each["who"] for each in said) == ["A", "A", "B", "B", "P", "P"]
    assert all(each["text"] == each["who"] + TEXT for each in said)


def agent_of(steps: int, characters: int) -> Any:
    """An agent whose model asks for a tool at each step but the last."""

    @tool
    def look_up(number: int) -> str:
        """Look something up."""
        return f"found {number} " + "answer " * (characters // 7)

    class Model(GenericFakeChatModel):
        def bind_tools(self, *_: Any, **__: Any) -> Any:
            return self

    def answer(number: int) -> AIMessage:
        call = {"name": "look_up", "args": {"number": number}, "id": f"call {number}"}
        return AIMessage(f"step {number} " + "thought " * (characters // 8), tool_calls=[call])

    return create_agent(Model(messages=iter([*map(answer, range(steps)), AIMessage("done")])), [look_up])


@pytest.mark.parametrize("characters", [20, 300, 3_000])
def test_an_agent_of_fifty_steps_writes_what_is_new_and_is_read_as_if_all_were_written(
    characters: int, own_place: Path
) -> None:
    config: Any = {"callbacks": [CallbackHandler()], "recursion_limit": 1_000}
    agent_of(50, characters).invoke({"messages": [("user", "go")]}, config)
    (tree,) = trees(own_place)
    final: Any = tree.root.outputs
    assert len(final["messages"]) == 102
    given = [event.inputs for event in tree.events if event.kind is Kind.MODEL]
    assert given == [{"messages": final["messages"][: 2 * step + 1]} for step in range(51)]
    found = records(own_place)
    beside = sum(len(record.encode({**entry, "inputs": 0, "outputs": 0, "same": 0})) for entry in found)
    new = sum(len(record.encode(message)) for message in final["messages"])
    assert sum(log.stat().st_size for log in own_place.glob("*.log")) <= 1.3 * (beside + new)


@pytest.mark.parametrize("redact", [None, lambda text: text], ids=["quick", "walk"])
def test_a_loop_of_ones_own_around_a_model_writes_each_message_once(redact: Any, own_place: Path) -> None:
    """What a chat model is asked goes another way into its record than a graph's state."""
    model = GenericFakeChatModel(messages=iter([AIMessage(f"answer {step}") for step in range(20)]))

    def loop(_: Any) -> str:
        messages: list[BaseMessage] = []
        for step in range(20):
            messages.append(HumanMessage(f"question {step}"))
            messages.append(model.invoke(messages))
        return "done"

    RunnableLambda(loop).invoke("go", {"callbacks": [CallbackHandler(redact=redact)]})
    raw = b"".join(log.read_bytes() for log in own_place.glob("*.log")).decode()
    assert max(raw.count(f'"question {step}"') for step in range(20)) <= 3  # the first lists are short
    (tree,) = trees(own_place)
    asked = [event.inputs["messages"] for event in tree.events[1:]]  # type: ignore[index,call-overload]
    assert [len(messages) for messages in asked] == list(range(1, 40, 2))
    assert all(messages[-1]["content"] == f"question {step}" for step, messages in enumerate(asked))


def test_f12_a_damaged_record_costs_later_ones_the_messages_it_holds_and_no_others(own_place: Path) -> None:
    agent_of(6, 700).invoke({"messages": [("user", "go")]}, {"callbacks": [CallbackHandler()]})
    (whole,) = trees(own_place)
    (log,) = own_place.glob("*.log")
    lines = log.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b'"r":"close"' in line and b"step 3" in line)
    log.write_bytes(b"".join([*lines[:at], lines[at].replace(b"step", b"STEP", 1), *lines[at + 1 :]]))
    (tree,) = trees(own_place)
    before, after = (
        [event.inputs["messages"] for event in one.events if event.kind is Kind.MODEL]  # type: ignore[index,call-overload]
        for one in (whole, tree)
    )
    differ = {(step, i) for step, pair in enumerate(zip(before, after, strict=True)) for i in range(len(pair[0]))
              if pair[0][i] != pair[1][i]}  # fmt: skip
    assert differ == {(step, 7) for step in (4, 5, 6)}
    assert all("damaged" in after[step][i]["content"] for step, i in differ)


def test_threads_of_one_tree_share_what_they_all_say(root: tuple[Pipeline, str], own_place: Path) -> None:
    pipeline, run = root
    said = [{"role": "user", "content": f"{number % 30} {TEXT[: number % 7 * 200]}"} for number in range(60)]

    def work(first: int) -> dict[str, Any]:
        given = [{"messages": said[first : first + 4 + step]} for step in range(20)]
        return {child(pipeline, run, each, outputs=each): each for each in given}

    with ThreadPoolExecutor(8) as threads:
        expected = {run_id: each for found in threads.map(work, range(16)) for run_id, each in found.items()}
    recorder.close(pipeline, run)
    (tree,) = trees(own_place)
    assert {event.id: event.inputs for event in tree.events[1:]} == expected
    assert {event.id: event.outputs for event in tree.events[1:]} == expected


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": st.sampled_from(["a", "b", TEXT, TEXT + "b", "c" * 500])}
    )
    | st.fixed_dictionaries({"n": st.sampled_from([1, 1.0, True, 0.0, -0.0, None])}),
    max_size=6,
)
VALUES = st.recursive(
    MESSAGES | st.sampled_from([None, 1, "a", TEXT, TEXT + "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(VALUES, VALUES, st.booleans()), min_size=1, max_size=8))
def test_whatever_records_share_is_read_as_it_was(values: list[tuple[Any, Any, bool]]) -> None:
    """One after the other, some of them cut after all, in one process of two that share the tree."""
    journal = Journal(MemoryFiles())
    both = [Texts(journal), Texts(journal)]
    builder, expected = TreeBuilder("0"), {}
    for number, (inputs, outputs, is_cut) in enumerate(values):
        run = str(number)
        for entry, part, value in (
            (open_record(run, "0", "0" if number else None, "chain", "run", number), "inputs", inputs),
            (close_record(run, "0", 1, "ok"), "outputs", outputs),
        ):
            entry[part] = json.loads(record.encode({"value": value}))["value"]
            shared = both[number % 2].share(entry)
            assert shared is not None
            if is_cut:
                shared.undo()
            builder.add(record.decode(record.encode(entry)))
            shared.written(1)
        expected[run] = record.encode({"in": inputs, "out": outputs})
    tree = builder.build()
    assert tree is not None
    assert {event.id: record.encode({"in": event.inputs, "out": event.outputs}) for event in tree.events} == expected


def test_a_message_of_several_trees_is_whole_in_each(own_place: Path) -> None:
    pipeline = Pipeline()
    told = {"name": "tell", "args": {"notes": ["n" * 500, {"a": "b" * 3_000}]}, "id": "c1", "type": "tool_call"}
    conversation: list[BaseMessage] = [HumanMessage("q" * 3_000), AIMessage("w" * 450, tool_calls=[told])]
    conversation += [HumanMessage(f"{number}" * 500) for number in range(4)]
    runs = [new_id() for _ in range(3)]
    asked = [{"question": "q" * 3_000}, {"notes": told["args"]["notes"]}, {}]
    for run, question in zip(runs, asked, strict=True):
        recorder.open(pipeline, run, None, Kind.CHAIN, "root", inputs=question)
    for run in [*runs, *runs]:  # what each of them has already is left out of the messages, which the others need whole
        child(pipeline, run, {"messages": conversation[:5]}, outputs={"messages": conversation})
    for run in runs:
        recorder.close(pipeline, run, outputs={"messages": conversation})
    plain: Any = pipeline.plain(conversation)
    found = trees(own_place)
    assert [tree.events[0].inputs for tree in found] == asked
    for tree in found:
        whole = [
            each["messages"] for event in tree.events for each in (event.inputs, event.outputs) if "messages" in each
        ]
        assert whole == [plain[: len(each)] for each in whole]
        assert len(whole) == 5
