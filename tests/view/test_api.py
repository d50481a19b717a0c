"""What the page asks for: rows, trees, events in bounded pieces, deliveries, requests; and what it can do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import eventtree.view
from eventtree import flush
from eventtree.delivery.report import make_report
from eventtree.delivery.shipper import all_shippers
from eventtree.journal import Journal, MemoryFiles, open_journal
from eventtree.kinds import Kind, Status
from eventtree.recording.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust
from eventtree.view.live import WAITING_MESSAGES, Tail
from tests.trees import new_id
from tests.view.test_guards import client_of
from tests.view.worlds import PIXEL, every_status, hostile_tree, large_tree, pipeline_in, small_tree

OWN = {"X-Eventtree": "1"}


@pytest.fixture
async def client(own_place: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(eventtree.view.app()) as one:
        yield one


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def event_named(client: httpx.AsyncClient, tree: str, name: str) -> Any:
    rows = (await get(client, f"/api/trees/{tree}"))["events"]
    found = next(row[0] for row in rows if row[3] == name)
    return await get(client, f"/api/trees/{tree}/events/{found}")


async def test_rows_come_newest_first_in_pages_that_neither_overlap_nor_leave_out(
    client: httpx.AsyncClient, own_place: Path
) -> None:
    pipeline = pipeline_in(own_place)
    trees = [small_tree(pipeline, f"chain {number}") for number in range(25)]
    found, before = [], None
    while True:
        page = await get(client, "/api/trees", limit=10, **({"before": before} if before else {}))
        found += [row["id"] for row in page["rows"]]
        before = page["next"]
        if before is None:
            break
    assert found == trees[::-1]


async def test_the_filter_chooses_and_a_wrong_one_is_named(client: httpx.AsyncClient, own_place: Path) -> None:
    trees = every_status(pipeline_in(own_place))
    rows = (await get(client, "/api/trees", q="status:error"))["rows"]
    assert [row["id"] for row in rows] == [trees["error"]]
    rows = (await get(client, "/api/trees", q='session:"s-1" status:interrupted'))["rows"]
    assert [row["id"] for row in rows] == [trees["interrupted"]]
    assert "Did you mean status" in (await get(client, "/api/trees", q="stats:error"))["error"]
    for limit in ("0", "-1", "9" * 30):  # none were looked for without end
        for words, most in (("", len(trees)), ("status:ok nothing", 0)):
            rows = (await get(client, "/api/trees", q=words, limit=limit))["rows"]
            assert min(1, most) <= len(rows) <= most, limit
    for before, status in (("nonsense", 400), ("-1", 400), ("9" * 19, 200), ("0", 200)):
        assert (await client.get("/api/trees", params={"before": before})).status_code == status, before


async def test_every_status_is_told_apart(client: httpx.AsyncClient, own_place: Path) -> None:
    trees = every_status(pipeline_in(own_place))
    shown = {row["id"]: row["status"] for row in (await get(client, "/api/trees"))["rows"]}
    assert {name: shown[tree] for name, tree in trees.items()} == {**{name: name for name in trees}, "resumed": "ok"}
    running = await get(client, f"/api/trees/{trees['running']}")
    assert [row[4] for row in running["events"]] == ["running", "running"]


async def test_a_paused_tree_and_the_one_that_goes_on_with_it_are_linked(
    client: httpx.AsyncClient, own_place: Path
) -> None:
    trees = every_status(pipeline_in(own_place))
    assert (await get(client, f"/api/trees/{trees['resumed']}"))["resumes"] == trees["interrupted"]
    assert (await get(client, f"/api/trees/{trees['interrupted']}"))["resumed_by"] == trees["resumed"]
    assert (await get(client, f"/api/trees/{trees['ok']}"))["resumed_by"] is None


async def test_an_outline_adds_up_tokens_and_cost_with_their_source(client: httpx.AsyncClient, own_place: Path) -> None:
    tree = await get(client, f"/api/trees/{small_tree(pipeline_in(own_place))}")
    assert tree["sums"]["tokens"] == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    assert tree["sums"]["usd"] > 0
    assert tree["models"][0]["model"] == "gpt-4o-mini"
    assert tree["models"][0]["sources"][0].startswith("genai-prices")


async def test_what_is_unknown_is_none_and_not_zero(client: httpx.AsyncClient, own_place: Path) -> None:
    pipeline, run = pipeline_in(own_place), new_id()
    recorder.open(pipeline, run, None, kind=Kind.MODEL, name="Own", known={"model": "nobody-knows"})
    recorder.close(pipeline, run, outputs={"text": "x"})
    tree = await get(client, f"/api/trees/{run}")
    assert (tree["sums"]["tokens"], tree["sums"]["usd"]) == ({}, None)
    row = dict(zip(("tokens", "usd", "uses"), tree["events"][0][9:12], strict=True))
    assert row == {"tokens": None, "usd": None, "uses": True}


async def test_a_tool_call_is_joined_to_the_event_that_answered_it(client: httpx.AsyncClient, own_place: Path) -> None:
    pipeline, tree, model, tool = pipeline_in(own_place), new_id(), new_id(), new_id()
    recorder.open(pipeline, tree, None, kind=Kind.AGENT, name="agent")
    recorder.open(pipeline, model, tree, kind=Kind.MODEL, name="model")
    call = {"id": "call-1", "name": "look_up", "arguments": {"q": "x"}}
    recorder.close(pipeline, model, outputs={"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]})
    recorder.open(pipeline, tool, tree, kind=Kind.TOOL, name="look_up", inputs={"q": "x"})
    recorder.close(pipeline, tool, outputs={"role": "tool", "tool_call_id": "call-1", "content": "found it"})
    recorder.close(pipeline, tree)
    event = await event_named(client, tree, "model")
    assert event["answers"]["call-1"] == {
        "event": tool, "name": "look_up", "status": "ok", "content": "found it", "whole": True,
    }  # fmt: skip


async def test_a_document_says_which_model_was_given_it(client: httpx.AsyncClient, own_place: Path) -> None:
    pipeline, tree, retriever, model = pipeline_in(own_place), new_id(), new_id(), new_id()
    recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="rag")
    recorder.open(pipeline, retriever, tree, kind=Kind.RETRIEVER, name="retriever", inputs={"query": "q"})
    documents = [{"text": "the one that was used", "score": 0.9}, {"text": "the one that was not", "score": 0.1}]
    recorder.close(pipeline, retriever, outputs={"documents": documents})
    prompt = {"messages": [{"role": "user", "content": "Read: the one that was used"}]}
    recorder.open(pipeline, model, tree, kind=Kind.MODEL, name="model", inputs=prompt)
    recorder.close(pipeline, model, outputs={"text": "x"})
    recorder.close(pipeline, tree)
    assert (await event_named(client, tree, "retriever"))["given_to"] == {"0": [model]}


async def test_an_event_is_bounded_and_the_rest_comes_by_range(client: httpx.AsyncClient, own_place: Path) -> None:
    pipeline, run = pipeline_in(own_place, bounds={"value_bytes": 8_000_000}), new_id()
    text = "dé" * 1_500_000
    recorder.open(pipeline, run, None, kind=Kind.TOOL, name="large", inputs={"input": text})
    recorder.close(pipeline, run, outputs="small")
    answer = await client.get(f"/api/trees/{run}/events/{run}")
    event = answer.json()
    assert len(answer.content) < 1 << 20
    assert event["outputs"] == "small"
    assert event["long"].keys() == {"inputs"}
    whole, offset = "", 0
    while offset is not None:
        answer = await client.get(f"/api/trees/{run}/events/{run}/inputs", params={"offset": offset, "size": 10**9})
        assert len(answer.content) < (1 << 20) * 2
        whole += answer.json()["text"]
        offset = answer.json()["next"]
    assert json.loads(whole) == {"input": text}
    for path in ("model_config", "none"):
        assert (await client.get(f"/api/trees/{run}/events/{run}/{path}")).status_code == 404


async def test_what_is_not_there_is_said_in_words(client: httpx.AsyncClient, own_place: Path) -> None:
    tree = small_tree(pipeline_in(own_place))
    paths = ("/api/trees/none", f"/api/trees/{tree}/events/none", "/api/trees/none/delivery")
    for path in paths:
        answer = await client.get(path)
        assert answer.status_code == 404
        assert "no " in answer.json()["error"]


async def test_a_post_is_bounded_and_of_json(client: httpx.AsyncClient, own_place: Path) -> None:
    assert (await client.post("/api/clear", headers=OWN, content=b"x" * 100_000)).status_code == 413
    for body in (b"", b"[]", b"nonsense", b'"text"', b"[[["):
        assert (await client.post("/api/clear", headers=OWN, content=body)).status_code == 400, body
    for path in ("/api/resend", "/api/drop"):
        for none in ({}, {"letters": None}, {"letters": 7}, {"letters": "text"}):
            assert (await client.post(path, headers=OWN, json=none)).status_code == 200, none
        answer = await client.post(
            path, headers=OWN, json={"letters": [1, {"id": 3}, {"id": ["a"]}, {"name": {}, "id": {}}]}
        )
        assert answer.status_code == 200, answer.text


async def test_feedback_from_the_page_stands_on_its_event(client: httpx.AsyncClient, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    tree = small_tree(pipeline)
    given = {"tree": tree, "event": tree, "score": 1, "comment": "just right", "name": ""}
    assert (await client.post("/api/feedback", headers=OWN, json=given)).status_code == 200
    found = (await get(client, f"/api/trees/{tree}"))["feedback"]
    assert [(one["id"], one["score"], one["comment"], "name" in one) for one in found] == [
        (tree, 1, "just right", False)
    ]
    for wrong in ({}, {"score": "good"}, {"score": [1]}, {"score": {"right": "very"}}, {"score": None, "comment": ""}):
        answer = await client.post("/api/feedback", headers=OWN, json={"tree": tree, "event": tree, **wrong})
        assert answer.status_code == 400, wrong
    assert len((await get(client, f"/api/trees/{tree}"))["feedback"]) == 1
    by_name = {"tree": tree, "event": tree, "score": {"right": 1, "short": 0.5}}
    assert (await client.post("/api/feedback", headers=OWN, json=by_name)).status_code == 200


async def test_a_tree_is_cleared_from_the_page(client: httpx.AsyncClient, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    first, second = small_tree(pipeline), small_tree(pipeline)
    answer = await client.post("/api/clear", headers=OWN, json={"tree": first})
    assert answer.json() == {"done": 1}
    assert [row["id"] for row in (await get(client, "/api/trees"))["rows"]] == [second]
    assert (await client.get(f"/api/trees/{first}")).status_code == 404


async def test_each_vendor_says_how_far_it_is_and_a_dead_letter_is_sent_again_or_dropped(
    client: httpx.AsyncClient, own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VendorServer() as server:
        monkeypatch.setenv("BRAINTRUST_API_KEY", "test-key")
        monkeypatch.setenv("BRAINTRUST_API_URL", server.url)
        pipeline = pipeline_in(own_place, vendors=[Braintrust(**server.settings("braintrust"))])
        taken = small_tree(pipeline)
        assert flush(10).waiting == 0
        server.script("braintrust", [Answer(status=400, body={"error": "not today"})] * 50)
        refused = [small_tree(pipeline), small_tree(pipeline)]
        assert flush(10).vendors["braintrust"].dead == 4
        server.unscript("braintrust")
        for shipper in all_shippers():
            shipper.stop()
        state = (await get(client, f"/api/trees/{taken}/delivery"))["vendors"][0]
        assert (state["vendor"], state["state"], state["letters"]) == ("braintrust", "delivered", [])
        state = (await get(client, f"/api/trees/{refused[0]}/delivery"))["vendors"][0]
        assert state["state"] == "dead"
        assert all("not today" in letter["words"] for letter in state["letters"])
        both = await get(client, "/api/delivery")
        assert both["report"]["vendors"]["braintrust"]["dead"] == both["dead"] == 4
        wanted = [{"name": one["name"], "id": one["id"]} for one in state["letters"]]
        answer = await client.post("/api/resend", headers=OWN, json={"letters": wanted})
        assert answer.json()["done"] == [{"vendor": "braintrust", "letters": 2, "taken": 2, "refused": 0}]
        left = (await get(client, "/api/delivery"))["letters"]
        wanted = [{"name": one["name"], "id": one["id"]} for one in left]
        assert (await client.post("/api/drop", headers=OWN, json={"letters": wanted})).json() == {"done": 2}
    sums = make_report(open_journal(str(own_place))).vendors["braintrust"]
    assert (sums.delivered, sums.dead, sums.dropped, sums.unexplained) == (4, 0, {"by_user": 2}, 0)


async def test_the_exact_request_stands_beside_the_event(client: httpx.AsyncClient, own_place: Path) -> None:
    with VendorServer() as server:
        vendor = Braintrust(**server.settings("braintrust"))
        tree = small_tree(pipeline_in(own_place, vendors=[vendor]))
        assert flush(10).waiting == 0
        event = await event_named(client, tree, "ChatModel")
        found = await get(client, f"/api/trees/{tree}/requests", vendor="braintrust", event=event["id"])
        (sent,) = [one for one in server.requests if "insert" in one.path]
    (request,) = found["requests"]
    assert request["url"].endswith(sent.path) or "insert" in request["url"]
    assert json.loads(request["body"]) == sent.body
    assert json.loads(request["parts"][0])["id"] == event["id"]
    assert "authorization" not in {name.lower() for name in request["headers"]}
    answer = await client.get(f"/api/trees/{tree}/requests", params={"vendor": "none", "event": event["id"]})
    assert answer.status_code == 400


async def test_a_memory_journal_is_shown(own_place: Path) -> None:
    pipeline = pipeline_in(own_place, journal=":memory:")
    tree = small_tree(pipeline)
    async with client_of(eventtree.view.app(":memory:")) as client:
        assert [row["id"] for row in (await get(client, "/api/trees"))["rows"]] == [tree]
        assert (await get(client, f"/api/trees/{tree}"))["sums"]["tokens"]["total_tokens"] == 15
    async with client_of(eventtree.view.app(Journal(MemoryFiles()))) as client:
        assert (await get(client, "/api/trees"))["rows"] == []


async def test_a_half_damaged_tree_shows_what_is_left(client: httpx.AsyncClient, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    tree = small_tree(pipeline)
    (log,) = own_place.glob("*.log")
    lines = log.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"open", b"0pen")
    log.write_bytes(b"\n".join(lines))
    found = await get(client, f"/api/trees/{tree}")
    assert found["damaged"]
    assert len(found["events"]) == 2


@pytest.mark.parametrize("text", ["<b>", "\x00", "\u2028", '"', "'"])
async def test_odd_texts_come_through_unchanged(client: httpx.AsyncClient, own_place: Path, text: str) -> None:
    tree = hostile_tree(pipeline_in(own_place), f"a{text}b")
    found = await get(client, f"/api/trees/{tree}")
    assert found["name"] == f"a{text}b"
    for row in found["events"]:
        await get(client, f"/api/trees/{tree}/events/{row[0]}")


async def test_an_outline_of_ten_thousand_events_is_bounded(client: httpx.AsyncClient, own_place: Path) -> None:
    tree = large_tree(pipeline_in(own_place), 2_000)
    answer = await client.get(f"/api/trees/{tree}")
    assert len(answer.json()["events"]) == 2_000
    assert len(answer.content) < 2_000 * 200


async def test_the_tail_names_trees_that_change_and_hears_of_deliveries(own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    old = small_tree(pipeline)
    view = eventtree.view.app.__globals__["View"](open_journal(str(own_place)), None)
    messages = view.tail.messages()
    assert (await anext(messages)).startswith("retry")
    hears = asyncio.create_task(anext(messages))
    await asyncio.sleep(0.4)  # so that the tail has begun: what was there before is no news
    tree = small_tree(pipeline)
    news = json.loads((await asyncio.wait_for(hears, 10)).removeprefix("data: "))
    assert tree in news["trees"]
    assert old not in news["trees"]
    assert not news["delivery"]
    (own_place / "braintrust.0123456789abcdef.dead").write_bytes(b"x\n")
    assert json.loads((await asyncio.wait_for(anext(messages), 10)).removeprefix("data: "))["delivery"]
    await messages.aclose()


async def test_a_slow_page_is_dropped_and_delays_no_other() -> None:
    tail = Tail(Journal(MemoryFiles()))
    slow, quick = tail.messages(), tail.messages()
    await anext(slow)
    await anext(quick)
    for number in range(WAITING_MESSAGES + 1):
        tail._send({"trees": [str(number)]})
        if number < WAITING_MESSAGES:
            assert str(number) in await anext(quick)
    left = [message async for message in slow]
    assert len(left) == WAITING_MESSAGES - 1
    assert str(WAITING_MESSAGES) in await anext(quick)
    await quick.aclose()


def test_a_pixel_is_an_image() -> None:
    assert len(PIXEL) == 96


async def test_an_interrupted_tree_is_shown_whatever_the_length_of_its_sessions_name(
    client: httpx.AsyncClient, own_place: Path
) -> None:
    pipeline, tree = pipeline_in(own_place), new_id()
    recorder.open(pipeline, tree, None, kind=Kind.AGENT, name="waits", metadata={"thread_id": 'S"' * 2_000})
    recorder.note(tree, "interrupt", {"interrupts": [{"value": "Go on?"}]})
    recorder.close(pipeline, tree, status=Status.INTERRUPTED)
    assert (await get(client, f"/api/trees/{tree}"))["resumed_by"] is None
