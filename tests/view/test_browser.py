"""The page in a real browser: every kind of tree, sixty hostile texts, the keyboard alone, and nothing that leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtree import flush
from eventtree.delivery.shipper import all_shippers
from eventtree.journal import Journal, MemoryFiles, open_journal
from eventtree.journal.clear import clear
from eventtree.kinds import Kind, Status
from eventtree.recording.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust
from tests.trees import USAGE, new_id
from tests.view.browser import TOKEN, axe, chromium, sync_api, watched
from tests.view.worlds import HOSTILE, PIXEL, every_status, hostile_tree, large_tree, pipeline_in, small_tree

pytestmark = pytest.mark.browser
expect = sync_api.expect


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


def serious(page: Any) -> list[str]:
    """What axe finds that keeps somebody out."""
    page.wait_for_load_state("networkidle")
    page.evaluate("source => window.axe || (0, eval)(source)", axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_an_empty_journal_says_what_to_do(browser: Any, own_place: Path) -> None:
    with watched(browser, own_place) as one:
        page = one.open()
        expect(page.locator(".empty")).to_contain_text("Nothing recorded yet")
        assert "t=" not in page.url
        # And the first tree comes by itself.
        expect(page.locator(".live.on")).to_be_visible()
        small_tree(pipeline_in(own_place), "the first")
        expect(page.locator(".tree-row")).to_contain_text("the first")


def test_a_hundred_trees_and_one_filter_box(browser: Any, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    for number in range(100):
        small_tree(pipeline, f"chain {number}", metadata={"thread_id": f"s-{number % 10}"})
    with watched(browser, own_place) as one:
        page = one.open()
        expect(page.locator(".tree-row").first).to_contain_text("chain 99")
        page.locator("#filter").fill('session:s-3 name:"chain 3"*')
        expect(page.locator(".tree-row")).to_have_count(2)
        page.locator("#filter").fill("stats:ok")
        expect(page.locator(".list [role=alert]")).to_contain_text("Did you mean status")
        page.locator("#filter").fill("cost>1000")
        expect(page.locator(".empty")).to_contain_text("No tree fits")
        # The filter stands in the address: the same link shows the same.
        page.goto(f"{one.address}/#q=name%3A%22chain+42%22")
        page.reload()
        expect(page.locator(".tree-row")).to_have_count(1)


def test_five_thousand_trees_are_drawn_a_window_at_a_time(browser: Any, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    for number in range(5_000):
        run = new_id()
        recorder.open(pipeline, run, None, kind=Kind.TOOL, name=f"tool {number}")
        recorder.close(pipeline, run)
    with watched(browser, own_place) as one:
        page = one.open()
        expect(page.locator(".tree-row").first).to_contain_text("tool 4999")
        rows, last = page.locator("#trees"), None
        for _ in range(3_000):
            rows.evaluate("box => { box.scrollTop = box.scrollHeight }")
            page.wait_for_timeout(20)
            assert page.locator(".tree-row").count() < 120
            last = "\n".join(page.locator(".tree-row .name").all_inner_texts())
            if "tool 0" in last.split("\n"):
                break
        assert last is not None
        assert "tool 0" in last.split("\n")


def test_a_tree_of_ten_thousand_events_is_drawn_a_window_at_a_time(browser: Any, own_place: Path) -> None:
    tree = large_tree(pipeline_in(own_place), 10_000)
    with watched(browser, own_place) as one:
        page = one.open(f"#tree={tree}")
        page.locator(".event").first.wait_for()
        expect(page.locator(".axis")).to_contain_text("10,000 events")
        rows = page.locator("#events")
        rows.evaluate("box => { box.scrollTop = box.scrollHeight }")
        expect(page.locator("#events-9999")).to_be_visible()
        assert page.locator(".event").count() < 150
        rows.evaluate("box => { box.scrollTop = 0 }")
        # Folding the root leaves one row.
        page.locator(".event .toggle").first.click()
        expect(page.locator(".event")).to_have_count(1)


def test_every_status_is_told_apart_by_more_than_colour(browser: Any, own_place: Path) -> None:
    trees = every_status(pipeline_in(own_place))
    with watched(browser, own_place) as one:
        page = one.open()
        expect(page.locator(".tree-row")).to_have_count(len(trees))
        signs = {}
        for name in ("ok", "error", "interrupted", "cancelled", "running"):
            signs[name] = page.locator(f".tree-row .status.{name}").first.inner_text()
        assert len(set(signs.values())) == len(signs)
        # A paused tree and the one that goes on with it lead to each other.
        page.goto(f"{one.address}/#tree={trees['interrupted']}")
        page.get_by_text("was resumed in another tree").click()
        expect(page).to_have_url(f"{one.address}/#tree={trees['resumed']}")
        page.get_by_text("goes on with a paused tree").click()
        expect(page).to_have_url(f"{one.address}/#tree={trees['interrupted']}")
        expect(page.locator(".session li")).to_have_count(4)


def test_a_running_tree_grows_and_ends_before_ones_eyes(browser: Any, own_place: Path) -> None:
    pipeline, tree = pipeline_in(own_place), new_id()
    recorder.open(pipeline, tree, None, kind=Kind.AGENT, name="agent")
    with watched(browser, own_place) as one:
        page = one.open(f"#tree={tree}")
        expect(page.locator(".event .bar.running")).to_have_count(1)
        expect(page.locator(".live.on")).to_be_visible()
        for number in range(3):
            run = new_id()
            recorder.open(pipeline, run, tree, kind=Kind.TOOL, name=f"tool {number}")
            recorder.close(pipeline, run, outputs="x")
        expect(page.locator(".event")).to_have_count(4)
        recorder.close(pipeline, tree, outputs="done")
        expect(page.locator(".event .bar.running")).to_have_count(0)
        expect(page.locator(".tree-row .status.ok")).to_have_count(1)


def test_new_trees_move_nothing_under_the_eyes(browser: Any, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    for number in range(60):
        small_tree(pipeline, f"chain {number}")
    with watched(browser, own_place) as one:
        page = one.open()
        expect(page.locator(".tree-row").first).to_contain_text("chain 59")
        expect(page.locator(".live.on")).to_be_visible()
        page.locator("#trees").evaluate("box => { box.scrollTop = 460 }")
        page.wait_for_timeout(200)
        seen = page.locator(".tree-row", has_text="chain 45")
        before = seen.bounding_box()
        small_tree(pipeline, "a newer one")
        expect(page.locator(".fresh")).to_contain_text("1 new tree")
        assert seen.bounding_box() == before
        page.locator(".fresh").click()
        page.locator("#trees").evaluate("box => { box.scrollTop = 0 }")
        expect(page.locator(".tree-row").first).to_contain_text("a newer one")


def test_a_look_for_news_takes_back_no_rows_that_came_meanwhile(browser: Any, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    for number in range(150):
        small_tree(pipeline, f"chain {number}")
    with watched(browser, own_place) as one:
        looks: list[Any] = []

        def hold(route: Any) -> None:
            """The page's first look goes on; the next ones, for news, wait."""
            looks.append(route)
            if len(looks) == 1:
                route.continue_()

        one.page.route(re.compile(r"/api/trees$"), hold)
        asked: list[str] = []
        one.page.on("request", lambda request: asked.append(request.url) if "before=" in request.url else None)
        page = one.open()
        expect(page.locator(".list footer")).to_contain_text("the newest 100 trees")
        expect(page.locator(".live.on")).to_be_visible()
        page.locator("#trees").evaluate("box => { box.scrollTop = box.scrollHeight }")
        expect(page.locator(".list footer")).to_contain_text("150 trees")
        with page.expect_response(re.compile(r"/api/trees$")):
            looks[1].continue_()
        page.wait_for_timeout(200)
        expect(page.locator(".list footer")).to_contain_text("150 trees")
        assert len(asked) == 1  # nothing was lost that had to be asked for again
        for left in looks[2:]:
            left.continue_()


def chat_tree(folder: Path) -> str:
    """An agent whose model reasons, sees an image and calls a tool; and a retriever."""
    pipeline, tree, model, tool, retriever = pipeline_in(folder), new_id(), new_id(), new_id(), new_id()
    recorder.open(pipeline, tree, None, kind=Kind.AGENT, name="agent", metadata={"thread_id": "s"})
    picture = {"type": "image", "url": f"data:image/png;base64,{PIXEL}"}
    elsewhere = {"type": "image", "url": "https://images.example/pixel.png"}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture, elsewhere]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "name": "zoom", "arguments": {"by": 2}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "it is a dot"},
        {"role": "user", "content": [{"type": "odd", "thing": 7}]},
    ]
    recorder.open(
        pipeline, model, tree, kind=Kind.MODEL, name="ChatModel", known={"model": "gpt-4o-mini", "provider": "openai"},
        inputs={"messages": messages}, convert=lambda value: value,
    )  # fmt: skip
    recorder.first_token(model)
    answer = {
        "role": "assistant", "content": "A dot.", "reasoning": "It is small.",
        "tool_calls": [{"id": "c2", "name": "count", "arguments": {"n": 1}}],
    }  # fmt: skip
    recorder.close(pipeline, model, outputs={"messages": [answer]}, learned={"usage": USAGE})
    recorder.open(pipeline, tool, tree, kind=Kind.TOOL, name="count", inputs={"n": 1})
    recorder.close(pipeline, tool, outputs={"role": "tool", "tool_call_id": "c2", "content": "counted one"})
    recorder.open(pipeline, retriever, tree, kind=Kind.RETRIEVER, name="search", inputs={"query": "dots"})
    documents = [{"id": "d1", "text": "About dots", "score": 0.8}, {"id": "d2", "text": "About lines", "score": 0.2}]
    recorder.close(pipeline, retriever, outputs={"documents": documents})
    recorder.close(pipeline, tree, outputs="A dot.")
    return tree


def test_messages_are_a_chat_with_calls_joined_to_their_results(browser: Any, own_place: Path) -> None:
    tree = chat_tree(own_place)
    with watched(browser, own_place) as one:
        page = one.open(f"#tree={tree}")
        page.locator(".event.model").click()
        expect(page.locator(".event.model .bar .waiting")).to_be_attached()
        expect(page.locator(".message.system")).to_contain_text("Be kind.")
        expect(page.locator(".call", has_text="zoom").locator(".result")).to_contain_text("it is a dot")
        expect(page.locator(".call", has_text="count").locator(".result")).to_contain_text("counted one")
        expect(page.locator(".message", has_text="it is a dot")).to_have_count(1)
        # An image that the journal holds is shown; one from elsewhere is named, never fetched.
        expect(page.locator("img.image")).to_have_count(1)
        assert page.locator("img.image").evaluate("one => one.naturalWidth") == 1
        expect(page.locator(".odd", has_text="https://images.example")).to_have_count(1)
        expect(page.locator(".odd", has_text="thing")).to_have_count(1)
        expect(page.locator(".reasoning")).not_to_have_attribute("open", "")
        page.locator(".reasoning summary").click()
        expect(page.locator(".reasoning")).to_contain_text("It is small.")
        page.locator(".call", has_text="count").get_by_role("button", name="count").click()
        expect(page.locator(".detail h2")).to_contain_text("count")
        page.locator(".event.retriever").click()
        expect(page.locator(".documents .score")).to_have_count(2)
        page.locator(".event.model").click()
        page.get_by_role("tab", name="tokens").click()
        expect(page.locator(".inside")).to_contain_text("genai-prices")
        page.get_by_role("tab", name="requests").click()
        expect(page.locator(".inside")).to_contain_text("names no vendor")


def test_feedback_is_given_from_the_page(browser: Any, own_place: Path) -> None:
    tree = small_tree(pipeline_in(own_place))
    with watched(browser, own_place) as one:
        page = one.open(f"#tree={tree}")
        page.get_by_label("comment", exact=True).fill("just right")
        page.get_by_role("button", name="good").click()
        expect(page.locator(".feedback")).to_contain_text("Recorded")
        expect(page.locator(".feedback .note")).to_contain_text("just right")
        page.get_by_role("button", name="Delete this tree").click()
        page.get_by_role("button", name="No").click()
        page.get_by_role("button", name="Delete this tree").click()
        page.get_by_role("button", name="Yes").click()
        expect(page.locator(".tree-row")).to_have_count(0)


ALIEN = "body script, iframe, object, embed, link:not(head *)"
WALK = """async id => {
  const until = async found => { while (!found()) await new Promise(next => setTimeout(next, 4)); };
  const {events} = await (await fetch("api/trees/" + id)).json();
  location.hash = new URLSearchParams({tree: id});
  await until(() => document.querySelectorAll(".event").length === events.length && document.querySelector(".vendors"));
  let read = 0;
  for (const [event] of events) for (const tab of ["content", "record"]) {
    location.hash = new URLSearchParams({tree: id, event, tab});
    await until(() => document.querySelector(`.inside[data-event="${event}"][aria-label="${tab}"]`)?.children.length);
    document.querySelectorAll(".inside details, .inside button[aria-expanded=false]").forEach(one => one.click());
    read++;
  }
  return read;
}"""
"""Reads every event of a tree, and unfolds all of it; returns how many parts were read."""


def test_sixty_hostile_texts_in_every_field_stay_texts(browser: Any, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    trees = [hostile_tree(pipeline, text) for text in HOSTILE]
    assert len(set(HOSTILE)) == 60
    for begin in range(0, 60, 6):  # a page that has shown all of them takes as much memory as all else
        with watched(browser, own_place) as one:
            page = one.open()
            expect(page.locator(".tree-row").first).to_be_visible()
            for tree in trees[begin : begin + 6]:
                assert page.evaluate(WALK, tree) == 8, HOSTILE[trees.index(tree)]
            assert page.evaluate(f"document.querySelectorAll('{ALIEN}').length") == 0
            assert page.url.startswith(one.address)


def test_a_half_damaged_tree_is_shown_as_such(browser: Any, own_place: Path) -> None:
    tree = small_tree(pipeline_in(own_place))
    (log,) = own_place.glob("*.log")
    lines = log.read_bytes().split(b"\n")
    log.write_bytes(b"\n".join(line.replace(b"open", b"0pen", 1) if b"ChatModel" in line else line for line in lines))
    with watched(browser, own_place) as one:
        page = one.open(f"#tree={tree}")
        expect(page.locator(".detail .bad")).to_contain_text("damaged")
        expect(page.locator(".event")).to_have_count(2)


def test_a_journal_that_rolls_and_is_cleared_meanwhile(browser: Any, own_place: Path) -> None:
    journal = open_journal(str(own_place))
    journal.roll_bytes = 4_000
    pipeline = pipeline_in(own_place)
    tree = small_tree(pipeline, "before")
    with watched(browser, own_place) as one:
        page = one.open(f"#tree={tree}")
        expect(page.locator(".live.on")).to_be_visible()
        for number in range(20):
            small_tree(pipeline, f"rolled {number}")
        assert len(list(own_place.glob("*.log"))) > 1
        expect(page.locator(".tree-row").first).to_contain_text("rolled 19")
        clear(journal)
        small_tree(pipeline, "after")
        expect(page.locator(".tree-row")).to_have_count(1)
        expect(page.locator(".tree-row")).to_contain_text("after")
        one.wrong = [text for text in one.wrong if "404" not in text]  # the tree that was open is gone


def test_a_dead_letter_is_sent_again_from_the_page(
    browser: Any, own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VendorServer() as server:
        monkeypatch.setenv("BRAINTRUST_API_KEY", "test-key")
        monkeypatch.setenv("BRAINTRUST_API_URL", server.url)
        server.script("braintrust", [200, *[Answer(status=400, body={"error": "not <b>today</b>"})] * 50])
        pipeline = pipeline_in(own_place, vendors=[Braintrust(**server.settings("braintrust"))])
        tree = small_tree(pipeline)
        assert flush(10).vendors["braintrust"].dead == 2
        for shipper in all_shippers():
            shipper.stop()
        server.unscript("braintrust")
        with watched(browser, own_place) as one:
            page = one.open(f"#tree={tree}")
            expect(page.locator(".vendor")).to_contain_text("not <b>today</b>")
            page.locator(".event.model").click()
            page.get_by_role("tab", name="requests").click()
            expect(page.locator(".inside .line")).to_contain_text("POST")
            page.get_by_role("button", name="delivery").click()
            expect(page.locator(".delivery .letters li")).to_contain_text("2 events")
            page.get_by_role("button", name="Send again").click()
            expect(page.locator(".delivery")).to_contain_text("No vendor has refused anything")
            expect(page.locator(".delivery tbody tr")).to_contain_text("braintrust220")


def test_by_the_keyboard_alone(browser: Any, own_place: Path) -> None:
    pipeline = pipeline_in(own_place)
    trees = [small_tree(pipeline, f"chain {number}") for number in range(3)]
    with watched(browser, own_place) as one:
        page = one.open()
        page.locator(".tree-row").first.wait_for()
        press = page.keyboard.press
        press("j")
        expect(page.locator(".tree-row.active")).to_contain_text("chain 2")
        press("j")
        expect(page.locator(".tree-row.active")).to_contain_text("chain 1")
        press("k")
        press("Enter")
        page.locator(".event").first.wait_for()
        press("ArrowRight")
        press("j")
        press("j")
        expect(page.locator(".event.active")).to_contain_text("ChatModel")
        assert json.loads(page.evaluate("JSON.stringify(location.hash)")).startswith(f"#tree={trees[2]}&event=")
        press("ArrowLeft")
        press("ArrowLeft")
        expect(page.locator(".event")).to_have_count(1)
        press("ArrowRight")
        expect(page.locator(".event")).to_have_count(2)
        press("Escape")
        press("Escape")
        expect(page.locator(".event")).to_have_count(0)
        press("/")
        page.keyboard.type("name:none")
        expect(page.locator(".empty")).to_be_visible()
        press("Escape")
        press("?")
        expect(page.locator("dialog")).to_contain_text("unfold and fold")
        press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        press("d")
        expect(page.locator(".delivery")).to_contain_text("stays on this machine")


def test_without_cookie_or_with_a_wrong_host_or_origin_nothing_is_shown(browser: Any, own_place: Path) -> None:
    tree = small_tree(pipeline_in(own_place))
    with watched(browser, own_place) as one:
        page = one.page
        assert page.goto(f"{one.address}/").status == 401
        assert page.goto(f"{one.address}/api/trees/{tree}").status == 401
        assert page.goto(f"{one.address}/?t=wrong").status == 401
        page = one.open()
        page.locator(".tree-row").wait_for()
        port = one.address.rpartition(":")[2]
        rebound = browser.new_context()
        other = rebound.new_page()
        # A name of somebody's own that leads to this machine: the browser sends it as Host.
        assert other.goto(f"http://evil.localhost:{port}/?t={TOKEN}").status == 400
        # A page of another origin: it may ask, but neither with the cookie nor in words that count.
        other.goto(f"http://evil.localhost:{port}/")
        asked = (
            "url => fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}'}).then(r => r.type)"
        )
        try:
            assert other.evaluate(asked, f"{one.address}/api/clear") == "opaque"
        except sync_api.Error:
            pass  # its own policy forbids even that
        rebound.close()
        page.reload()
        expect(page.locator(".tree-row")).to_have_count(1)
        one.wrong = [text for text in one.wrong if "401" not in text]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, own_place: Path, scheme: str) -> None:
    trees, chat = every_status(pipeline_in(own_place)), chat_tree(own_place)
    # Axe is put into the page from outside, which the page's own policy forbids.
    with watched(browser, own_place, color_scheme=scheme, bypass_csp=True) as one:
        page = one.open(f"#tree={chat}")
        page.locator(".event.model").click()
        page.locator(".message").first.wait_for()
        assert serious(page) == []
        for place in (f"#tree={trees['interrupted']}", "#page=delivery"):
            page.evaluate("hash => { location.hash = hash }", place)
            page.locator(".session li, .delivery h2").first.wait_for()
            assert serious(page) == [], place
        if scheme == "light":
            for tab in ("tokens", "record", "requests"):
                page.evaluate("hash => { location.hash = hash }", f"tree={chat}&event={chat}&tab={tab}")
                page.locator(f".inside[aria-label={tab}] > *").first.wait_for()
                assert serious(page) == [], tab


@pytest.mark.parametrize(("width", "height"), [(800, 700), (1100, 800), (1700, 1000)])
def test_it_fits_windows_of_any_width(browser: Any, own_place: Path, width: int, height: int) -> None:
    chat = chat_tree(own_place)
    with watched(browser, own_place, viewport={"width": width, "height": height}) as one:
        page = one.open()
        page.locator(".tree-row").first.click()
        page.locator(".event.model").click()
        expect(page.locator(".message").first).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
        if width == 800:
            expect(page.locator("#filter")).to_be_hidden()
            page.locator(".to-list").click()
            expect(page.locator("#filter")).to_be_visible()
        assert chat


def test_dark_and_light_follow_the_system_or_a_key(browser: Any, own_place: Path) -> None:
    with watched(browser, own_place, color_scheme="dark") as one:
        page = one.open()
        ground = "getComputedStyle(document.body).backgroundColor"
        page.locator(".top").wait_for()
        dark = page.evaluate(ground)
        page.keyboard.press("t")
        expect(page.locator("html[data-theme=light]")).to_be_attached()
        assert page.evaluate(ground) != dark
        page.keyboard.press("t")
        expect(page.locator("html[data-theme=dark]")).to_be_attached()
        assert page.evaluate(ground) == dark


def test_a_memory_journal_in_the_apps_own_process(browser: Any) -> None:
    journal = Journal(MemoryFiles())
    with watched(browser, journal) as one:
        page = one.open()
        expect(page.locator(".empty")).to_contain_text("Nothing recorded yet")
    assert Status.OK
