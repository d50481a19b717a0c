"""Who is answered: hosts, origins, the token and its cookie; and what every answer says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import eventtree.view
from eventtree.errors import ConfigError
from eventtree.view.guards import HEADERS
from tests.view.worlds import pipeline_in, small_tree

TOKEN = "a-token-of-more-than-16"
GETS = ("/", "/favicon.ico", "/static/page.js", "/api/trees", "/api/trees/none", "/api/delivery", "/api/live")
POSTS = ("/api/feedback", "/api/resend", "/api/drop", "/api/clear")


def client_of(app: Any, base: str = "http://127.0.0.1:8000", **more: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, **more), base_url=base)


@pytest.fixture
async def client(own_place: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(eventtree.view.app(token=TOKEN)) as one:
        yield one


async def test_the_token_becomes_a_cookie_and_leaves_the_address(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/?t={TOKEN}&q=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?q=1")
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert (await client.get("/")).status_code == 200
    assert (await client.get("/api/trees")).json() == {"rows": [], "next": None, "certain": True}


async def test_no_path_is_answered_without_the_token(client: httpx.AsyncClient) -> None:
    for path in GETS:
        assert (await client.get(path)).status_code == 401, path
        assert (await client.get(path, params={"t": "wrong"})).status_code == 401, path
    for path in POSTS:
        assert (await client.post(path, headers={"X-Eventtree": "1"}, json={"tree": "x"})).status_code == 401, path
    for cookies in ("eventtree_=", "eventtree_00000000=" + TOKEN, "a=b; ;;", 'x="'):
        assert (await client.get("/api/trees", headers={"Cookie": cookies})).status_code == 401, cookies


async def test_a_token_brought_by_another_method_counts_for_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"/api/clear?t={TOKEN}", headers={"X-Eventtree": "1"}, json={})).status_code == 401
    # The cookie of another start on another port is not this one's.
    other = eventtree.view.app(token=TOKEN + "2")
    await client.get(f"/?t={TOKEN}")
    async with client_of(other) as second:
        second.cookies = client.cookies
        assert (await second.get("/")).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]:80", "a:b:c"]
)
async def test_a_name_that_was_bound_anew_is_refused(client: httpx.AsyncClient, host: str) -> None:
    await client.get(f"/?t={TOKEN}")
    for path in GETS:
        assert (await client.get(path, headers={"Host": host})).status_code == 400, path


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "localhost:8000", "LOCALHOST", "[::1]", "[::1]:8000"])
async def test_this_machine_is_answered_by_any_of_its_names_and_ports(client: httpx.AsyncClient, host: str) -> None:
    answer = await client.get(f"/?t={TOKEN}", headers={"Host": host})
    assert answer.status_code == 303


async def test_an_allowed_name_is_answered(own_place: Path) -> None:
    app = eventtree.view.app(token=TOKEN, allowed_hosts=["Traces.example"])
    async with client_of(app, "https://traces.example") as client:
        answer = await client.get(f"/?t={TOKEN}")
        assert answer.status_code == 303
        assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ],
)  # fmt: skip
async def test_another_origin_changes_nothing_and_hears_nothing(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await client.get(f"/?t={TOKEN}")
    for path in POSTS:
        answer = await client.post(path, headers={"X-Eventtree": "1", **headers}, json={"tree": "x"})
        assert answer.status_code == 403, path
    assert (await client.get("/api/live", headers=headers)).status_code == 403
    assert (await client.options("/api/clear", headers=headers)).status_code == 403


async def test_what_changes_something_needs_a_header_that_no_form_has(client: httpx.AsyncClient) -> None:
    await client.get(f"/?t={TOKEN}")
    for path in POSTS:
        assert (await client.post(path, json={"tree": "x"})).status_code == 403, path
        assert (await client.get(path)).status_code in (404, 405), path
    for method in ("PUT", "DELETE", "PATCH"):
        answer = await client.request(method, "/api/trees/x", headers={"X-Eventtree": "1"})
        assert answer.status_code == 405


async def test_every_answer_forbids_what_the_page_does_not_need(client: httpx.AsyncClient) -> None:
    asked = [client.get("/"), client.get("/", headers={"Host": "evil.example"}), client.get(f"/?t={TOKEN}")]
    answers = [await one for one in asked]
    answers += [await client.get(path) for path in ("/", "/static/page.js", "/static/none", "/api/trees", "/api/none")]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, answer.url
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "unsafe" not in HEADERS["content-security-policy"]
    assert "require-trusted-types-for 'script'" in HEADERS["content-security-policy"]


async def test_without_a_token_only_this_machine_is_answered(own_place: Path) -> None:
    app = eventtree.view.app()
    async with client_of(app, client=("127.0.0.1", 1)) as near, client_of(app, client=("192.0.2.1", 1)) as far:
        assert (await near.get("/api/trees")).status_code == 200
        assert (await far.get("/api/trees")).status_code == 403
    with pytest.raises(ConfigError, match="too short"):
        eventtree.view.app(token="short")


async def test_it_is_mounted_in_another_app(own_place: Path) -> None:
    small_tree(pipeline_in(own_place))
    outer = Starlette(routes=[Mount("/traces", eventtree.view.app(token=TOKEN))])
    async with client_of(outer) as client:
        answer = await client.get(f"/traces/?t={TOKEN}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/traces/")
        assert "Path=/traces" in answer.headers["set-cookie"]
        assert len((await client.get("/traces/api/trees")).json()["rows"]) == 1
        assert (await client.get("/traces/static/page.js")).status_code == 200
        assert (await client.get("/traces/api/live", headers={"Origin": "http://evil.example"})).status_code == 403


async def test_a_redirect_leads_nowhere_else(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"http://127.0.0.1:8000//evil.example/?t={TOKEN}")
    assert answer.headers["location"] == "/evil.example/"


async def test_no_file_beside_the_page_is_answered(client: httpx.AsyncClient) -> None:
    await client.get(f"/?t={TOKEN}")
    for path in (
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2fetc%2fpasswd",
        "/static/",
    ):
        assert (await client.get(path)).status_code == 404, path


def test_the_page_takes_text_only_as_text() -> None:
    static = Path(eventtree.view.__file__).parent / "static"
    wrong = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|dangerously|\beval\(|new Function|\.src\s*=|href=|srcdoc"
    )
    for path in static.glob("*.js"):
        assert re.findall(wrong, path.read_text()) == [], path.name
    assert "://" not in (static / "index.html").read_text().replace("<!doctype html>", "")
