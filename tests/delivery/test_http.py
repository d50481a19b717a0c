"""Http against raw servers on loopback that misbehave in every way of F07-F10."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import resource
import socket
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventtree import flush
from eventtree.delivery.http import Body, Http, Reply, UnansweredError
from eventtree.errors import ConfigError, RequestError
from eventtree.recording.pipeline import Pipeline
from eventtree.serializer.requests import Item, Request
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.trees import record_tree

KEY = "sk-canary-0123456789"
AUTH = {"Authorization": f"Bearer {KEY}"}
PAYLOAD = b'{"text":"canary-payload"}'
DEADLINE = 0.25
Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A raw server: what it was sent, and how often it was called."""

    def __init__(self, speak: Speak) -> None:
        self.speak = speak
        self.heard = b""
        self.calls = 0
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self.speak(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    async def hear(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.heard += head + await reader.readexactly(length)
        return head


@asynccontextmanager
async def serving(speak: Speak | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(speak or forever)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def answering(*parts: bytes, then: Speak | None = None) -> Speak:
    """Read a whole request, write `parts`, then do `then` (or close)."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then is not None:
            await then(reader, writer)
        else:
            writer.close()
            await writer.wait_closed()

    return speak


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await asyncio.sleep(0.02)
    writer.transport.abort()


async def half_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
    await asyncio.sleep(60)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\0" * 65536)
        await writer.drain()


def made(url: str, content: bytes = PAYLOAD) -> Request:
    items = (Item("k", "t", ("e",), "r", content),)
    return Request("POST", f"{url}/batch", content, items, {"Content-Type": "application/json"})


async def ask(url: str, content: bytes = PAYLOAD, auth: dict[str, str] = AUTH, **settings: Any) -> Reply:
    http = Http(**{"deadline": 2.0, **settings})
    try:
        return await http.send(made(url, content), auth)
    finally:
        await http.close()


async def ask_failing(url: str, content: bytes = PAYLOAD, auth: dict[str, str] = AUTH, **settings: Any) -> str:
    begun = time.monotonic()
    with pytest.raises(RequestError) as caught:
        await ask(url, content, auth, **settings)
    assert time.monotonic() - begun < settings.get("deadline", 2.0) + 1.5
    assert KEY not in repr(caught.value) and "canary-payload" not in repr(caught.value)
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    assert len(str(caught.value)) < 400
    return str(caught.value)


def ok(body: bytes = b"{}", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def gzipped_zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(megabytes)) + packer.flush()


# -- the good case ----------------------------------------------------------------------------------------------------


async def test_a_request_arrives_as_it_was_made_and_its_answer_comes_back() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.hear(reader)
        writer.write(ok(b'{"a":1}', b"X-Thing: One", b"x-thing: two", b"Content-Type: application/json"))
        await writer.drain()

    async with serving(speak) as server:
        reply = await ask(server.url)
    assert reply == Reply(200, reply.headers, b'{"a":1}', truncated=False)
    assert reply.headers["x-thing"] == "One, two"
    head = server.heard.split(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"post /batch http/1.1")
    assert b"authorization: bearer " + KEY.encode() in head
    assert b"content-type: application/json" in head and b"user-agent: eventtree" in head
    assert server.heard.endswith(PAYLOAD)


async def test_connections_are_kept_and_cookies_are_not() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.hear(reader)
            writer.write(ok(b"{}", b"Set-Cookie: a=b; Path=/"))
            await writer.drain()

    async with serving(speak) as server:
        http = Http(deadline=2.0)
        for _ in range(3):
            await http.send(made(server.url), AUTH)
        await http.close()
    assert server.calls == 1
    assert b"cookie" not in server.heard.lower()


async def test_after_close_a_new_pool_is_opened() -> None:
    async with serving(answering(ok())) as server:
        http = Http(deadline=2.0)
        await http.close()
        assert (await http.send(made(server.url), AUTH)).status == 200
        await http.close()
        await http.close()
        assert (await http.send(made(server.url), AUTH)).status == 200
        await http.close()


async def test_a_connection_that_was_closed_while_idle_is_not_used_again() -> None:
    async with serving(answering(ok())) as server:
        http = Http(deadline=2.0)
        for _ in range(3):
            assert (await http.send(made(server.url), AUTH)).status == 200
            await asyncio.sleep(0.01)
        await http.close()
    assert server.calls == 3


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_connection_on_which_a_server_spoke_unasked_is_not_used_again(*, at_once: bool) -> None:
    """With the answer or behind it: else it would be taken for the answer to the next request."""
    unasked = b"HTTP/1.1 408 Idle\r\nContent-Length: 0\r\n\r\n"

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.hear(reader)
        writer.write(ok(b"{}") + unasked * at_once)
        await asyncio.sleep(0.02)
        writer.write(unasked * (not at_once))
        await asyncio.sleep(60)

    async with serving(speak) as server:
        http = Http(deadline=2.0)
        for _ in range(2):
            assert (await http.send(made(server.url), AUTH)).status == 200
            await asyncio.sleep(0.1)
        await http.close()
    assert server.calls == 2


async def test_a_connection_that_closes_as_it_is_used_again_is_an_error_and_the_next_request_has_another() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.hear(reader)
        writer.write(ok(b"{}"))
        await server.hear(reader)  # whether this one was served nobody can tell: it is not sent again by itself

    async with serving(speak) as server:
        http = Http(deadline=2.0)
        assert (await http.send(made(server.url), AUTH)).status == 200
        with pytest.raises(UnansweredError, match="cut or not valid HTTP"):
            await http.send(made(server.url), AUTH)
        assert (await http.send(made(server.url), AUTH)).status == 200
        await http.close()
    assert server.calls == 2


async def test_a_host_that_answers_no_connection_is_given_up_early() -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):  # fill its queue: the next one hears nothing
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        words = await ask_failing(url, deadline=10.0, connect_timeout=0.2)
    assert words.startswith("ConnectTimeout: no connection within 0.2 s")


async def test_requests_side_by_side_have_a_connection_each_and_keep_it() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.hear(reader)
            await asyncio.sleep(0.02)
            writer.write(ok(b"{}"))

    async with serving(speak) as server:
        http = Http(deadline=2.0)
        for _ in range(2):
            replies = await asyncio.gather(*(http.send(made(server.url), AUTH) for _ in range(3)))
            assert [reply.status for reply in replies] == [200] * 3
        await http.close()
    assert server.calls == 3


async def test_answers_without_a_body_and_in_chunks_leave_the_connection_open() -> None:
    answers = iter([
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Last: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ok(b"{}"),
    ])  # fmt: skip

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.hear(reader)
            writer.write(next(answers))

    async with serving(speak) as server:
        http = Http(deadline=2.0)
        replies = [await http.send(made(server.url), AUTH) for _ in range(5)]
        await http.close()
    assert [(one.status, one.body, one.truncated) for one in replies] == [
        (204, b"", False), *[(200, b"{}", False)] * 4,
    ]  # fmt: skip
    assert server.calls == 3, "two close by what they say, the others don't"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v5/logs/a%2Fb?reference_id=x", "/v5/logs/a%2Fb?reference_id=x"),
        ("/a b/ü", "/a%20b/%C3%BC"), ("/a/../b", "/b"), ("?a=1", "/?a=1"), ("/a#b", "/a"),
    ],
)  # fmt: skip
async def test_an_odd_url_is_brought_into_form(path: str, target: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.hear(reader)
        writer.write(ok())

    async with serving(speak) as server:
        http = Http(deadline=2.0)
        await http.send(Request("POST", server.url + path, PAYLOAD, ()), AUTH)
        await http.close()
    assert server.heard.split(b"\r\n")[0].decode() == f"POST {target} HTTP/1.1"
    assert f"host: 127.0.0.1:{server.port}" in server.heard.decode().lower()


async def test_cancelling_a_request_cancels_it() -> None:
    async with serving() as server:
        http = Http(deadline=5)
        task = asyncio.create_task(http.send(made(server.url), AUTH))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await http.close()


# -- F08: servers that stop talking ------------------------------------------------------------------------------------


async def test_f08_silence_before_headers_ends_at_the_deadline() -> None:
    async with serving() as server:
        assert "no answer within 0.25 s" in await ask_failing(server.url, deadline=DEADLINE)


async def test_f08_headers_that_drip_end_at_the_deadline() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nX-Slow: ", then=drip)) as server:
        assert "no answer within" in await ask_failing(server.url, deadline=DEADLINE)


@pytest.mark.parametrize("status", [200, 503])
async def test_f08_a_body_that_drips_ends_at_the_deadline_with_the_status_known(status: int) -> None:
    head = b"HTTP/1.1 %d X\r\nContent-Length: 1000000\r\nRetry-After: 2\r\n\r\n" % status
    async with serving(answering(head, then=drip)) as server:
        begun = time.monotonic()
        reply = await ask(server.url, deadline=DEADLINE)
    assert time.monotonic() - begun < 1.5
    assert (reply.status, reply.truncated, reply.headers["retry-after"]) == (status, True, "2")
    assert set(reply.body) == {ord("x")}


async def test_f08_a_body_that_never_comes_leaves_the_status_known() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", then=forever)) as server:
        reply = await ask(server.url, deadline=DEADLINE)
    assert (reply.status, reply.body, reply.truncated) == (200, b"", True)


@pytest.mark.parametrize("body", [b"", b'{"a":'])
async def test_f08_a_reset_after_headers_or_mid_body_leaves_the_status_known(body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"
    async with serving(answering(head + body, then=reset)) as server:
        reply = await ask(server.url)
    assert (reply.status, reply.truncated) == (200, True)


async def test_f08_a_reset_before_headers_is_an_error() -> None:
    async with serving(answering(then=reset)) as server:
        assert "Error" in await ask_failing(server.url)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_f08_half_close_before_the_end_of_headers_is_an_error(start: bytes) -> None:
    async with serving(answering(start, then=half_close)) as server:
        assert "cut or not valid HTTP" in await ask_failing(server.url)


async def test_f08_half_close_mid_body_leaves_the_status_known() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc"
    async with serving(answering(head, then=half_close)) as server:
        reply = await ask(server.url)
    assert (reply.status, reply.body, reply.truncated) == (200, b"abc", True)


async def test_f08_a_body_without_length_ends_with_the_connection() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n{}")) as server:
        reply = await ask(server.url)
    assert (reply.body, reply.truncated) == (b"{}", False)


async def test_f08_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with serving(answering(interim, ok())) as server:
        assert (await ask(server.url)).status == 200


async def test_f08_endless_interim_answers_end_at_the_deadline() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(answering(then=speak)) as server:
        await ask_failing(server.url, deadline=DEADLINE)


@pytest.mark.parametrize("status", [200, 413])
async def test_f08_an_early_answer_counts_when_the_server_still_takes_the_body(status: int) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(status=b"%d X" % status))
        while await reader.read(1 << 20):
            pass

    async with serving(speak) as server:
        reply = await ask(server.url, b"x" * 5_000_000)
    assert reply.status == status


@pytest.mark.parametrize("size", [10_000, 10_000_000])
async def test_f08_an_early_413_of_a_server_that_closes_at_once_is_read_or_asks_for_less(size: int) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(status=b"413 X"))
        await writer.drain()
        writer.close()

    async with serving(speak) as server:
        try:
            assert (await ask(server.url, b"x" * size)).status == 413
        except UnansweredError:
            assert size == 10_000_000  # a reset behind the answer may take it away


async def test_f08_an_early_answer_from_a_server_that_never_takes_the_body_ends_at_the_deadline() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok())
        await asyncio.sleep(60)

    async with serving(speak) as server:
        await ask_failing(server.url, b"x" * 20_000_000, deadline=DEADLINE)


async def test_f08_only_requests_that_went_out_are_unanswered() -> None:
    for then in (forever, reset, half_close):
        async with serving(answering(then=then)) as server:
            with pytest.raises(UnansweredError):
                await ask(server.url, deadline=DEADLINE)
    with pytest.raises(RequestError) as caught:
        await ask(server.url)  # closed by now
    assert not isinstance(caught.value, UnansweredError)


async def test_f08_refused_connections_and_unknown_names_are_errors_that_name_base_url() -> None:
    async with serving() as server:
        url = server.url
    assert f"Check base_url {url}" in await ask_failing(url)
    assert "Check base_url http://nowhere.invalid" in await ask_failing("http://nowhere.invalid")


# -- F07: redirects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_f07_a_redirect_is_an_answer_and_its_target_hears_nothing(status: int) -> None:
    async with serving() as trap:
        location = b"Location: " + trap.url.encode() + b"/elsewhere"
        async with serving(answering(ok(b"", location, status=b"%d Moved" % status))) as server:
            reply = await ask(server.url)
        assert reply.status == status
        assert reply.headers["location"] == f"{trap.url}/elsewhere"
        assert (trap.calls, trap.heard) == (0, b"")


# -- F09: answers that hurt --------------------------------------------------------------------------------------------


async def test_f09_an_endless_body_is_cut_at_one_mebibyte() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
    async with serving(answering(head, then=flood)) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reply = await ask(server.url, deadline=5)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (len(reply.body), reply.truncated) == (1_048_576, True)
    assert grown < 20_000


async def test_f09_a_body_of_exactly_the_limit_is_whole_and_one_byte_more_is_not() -> None:
    for size, truncated in ((1000, False), (1001, True)):
        for packed in (False, True):
            body = gzip.compress(b"x" * size, mtime=0) if packed else b"x" * size
            headers = [b"Content-Encoding: gzip"] if packed else []
            async with serving(answering(ok(body, *headers))) as server:
                reply = await ask(server.url, max_reply_bytes=1000)
            assert (reply.body, reply.truncated) == (b"x" * 1000, truncated)


async def test_f09_a_gzip_bomb_is_never_inflated_beyond_the_limit() -> None:
    bomb = gzipped_zeros(64)
    async with serving(answering(ok(bomb, b"Content-Encoding: gzip"))) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reply = await ask(server.url, deadline=5)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (len(reply.body), reply.truncated) == (1_048_576, True)
    assert grown < 20_000


def test_f09_compressed_bytes_count_too() -> None:
    """Empty blocks inflate to nothing, for ever."""
    body = Body("deflate", 1000)
    packer = zlib.compressobj()
    assert body.take(packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH))
    assert not all(body.take(b"\0\0\0\xff\xff") for _ in range(300))
    assert not body.is_whole


@pytest.mark.parametrize(
    ("encoding", "body", "kept", "truncated"),
    [
        ("gzip", gzip.compress(b"{}", mtime=0), b"{}", False),
        ("X-GZIP", gzip.compress(b"{}", mtime=0), b"{}", False),
        ("deflate", zlib.compress(b"{}"), b"{}", False),
        ("identity", b"{}", b"{}", False),
        ("gzip", b"", b"", False),
        ("gzip", b"{}", b"", True),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4], b"{}", True),
        ("gzip", gzip.compress(b"{", mtime=0) + gzip.compress(b"}", mtime=0), b"{", True),
        ("br", b"\x0b\x00\x80{}\x03", b"", True),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), b"", True),
        ("nonsense", b"{}", b"", True),
    ],
)
async def test_f09_encodings_are_undone_or_marked(encoding: str, body: bytes, kept: bytes, truncated: bool) -> None:
    async with serving(answering(ok(body, b"Content-Encoding: " + encoding.encode()))) as server:
        reply = await ask(server.url)
    assert (reply.status, reply.body, reply.truncated) == (200, kept, truncated)


async def test_f09_a_compressed_body_in_chunks_is_put_together() -> None:
    packed = gzip.compress(b"x" * 1000, mtime=0)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (packed[:5], packed[5:]))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(answering(head, chunks, b"0\r\n\r\n")) as server:
        reply = await ask(server.url)
    assert (reply.body, reply.truncated) == (b"x" * 1000, False)


async def test_f09_a_hundred_thousand_headers_are_refused() -> None:
    headers = b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    async with serving(answering(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n")) as server:
        assert "not valid HTTP" in await ask_failing(server.url)


async def test_f09_a_body_of_one_byte_chunks_stays_within_the_deadline() -> None:
    async def chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"1\r\nx\r\n" * 1000)
            await writer.drain()

    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(answering(head, then=chunks)) as server:
        begun = time.monotonic()
        reply = await ask(server.url, deadline=DEADLINE)
    assert reply.truncated and time.monotonic() - begun < 1.5


async def test_f09_broken_chunks_leave_the_status_known() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzzz\r\n"
    async with serving(answering(head)) as server:
        reply = await ask(server.url)
    assert (reply.status, reply.body, reply.truncated) == (200, b"{}", True)


@pytest.mark.parametrize(
    "start",
    [
        b"\0" * 100, b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", b"HTTP/9 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5_000),
    ],
)  # fmt: skip
async def test_f09_what_is_not_http_is_an_error_that_quotes_nothing(start: bytes) -> None:
    async with serving(answering(start + PAYLOAD + KEY.encode())) as server:
        assert "not valid HTTP" in await ask_failing(server.url)


async def test_f09_nul_bytes_and_broken_text_in_a_body_are_handed_on() -> None:
    async with serving(answering(ok(b"\0\xff\xfe", b"Content-Type: text/html"))) as server:
        assert (await ask(server.url)).body == b"\0\xff\xfe"


# -- F10: TLS ----------------------------------------------------------------------------------------------------------


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Makes self-signed certificates by name, with their keys."""
    folder = tmp_path_factory.mktemp("certificates")

    def issue(name: str, kind: str = "DNS", days: int = 2) -> tuple[Path, Path]:
        cert, key = folder / f"{name}{days}.pem", folder / f"{name}{days}.key"
        if not cert.exists():
            wish, names = folder / "request", folder / "names"
            names.write_text(f"subjectAltName={kind}:{name}")
            openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", wish, "-subj", f"/CN={name}")  # fmt: skip
            openssl("x509", "-req", "-in", wish, "-signkey", key, "-days", str(days), "-extfile", names, "-out", cert)
        return cert, key

    return issue


def server_side(pair: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


def trusting(cert: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cert)


async def test_f10_a_trusted_certificate_is_taken(authority: Callable[..., tuple[Path, Path]]) -> None:
    pair = authority("127.0.0.1", "IP")
    async with serving(answering(ok()), server_side(pair)) as server:
        reply = await ask(f"https://127.0.0.1:{server.port}", verify=trusting(pair[0]))
    assert reply.status == 200


async def test_f10_ssl_cert_file_of_the_environment_is_honoured(
    authority: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = authority("127.0.0.1", "IP")
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    async with serving(answering(ok()), server_side(pair)) as server:
        assert (await ask(f"https://127.0.0.1:{server.port}")).status == 200


@pytest.mark.parametrize("name", ["missing.pem", "empty.pem"])
async def test_f10_an_ssl_cert_file_that_cannot_be_read_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
    async with serving() as server:
        assert "SSL_CERT_FILE" in await ask_failing(f"https://127.0.0.1:{server.port}")
        assert server.calls == 0


async def test_f10_a_self_signed_certificate_is_refused(authority: Callable[..., tuple[Path, Path]]) -> None:
    async with serving(answering(ok()), server_side(authority("127.0.0.1", "IP"))) as server:
        words = await ask_failing(f"https://127.0.0.1:{server.port}")
    assert "self-signed certificate" in words
    assert f"Check base_url https://127.0.0.1:{server.port}" in words
    assert server.heard == b""


async def test_f10_a_wrong_name_is_refused(authority: Callable[..., tuple[Path, Path]]) -> None:
    pair = authority("elsewhere.example")
    async with serving(answering(ok()), server_side(pair)) as server:
        words = await ask_failing(f"https://127.0.0.1:{server.port}", verify=trusting(pair[0]))
    assert "mismatch" in words and "base_url" in words


async def test_f10_an_expired_certificate_is_refused(authority: Callable[..., tuple[Path, Path]]) -> None:
    pair = authority("127.0.0.1", "IP", -1)
    async with serving(answering(ok()), server_side(pair)) as server:
        words = await ask_failing(f"https://127.0.0.1:{server.port}", verify=trusting(pair[0]))
    assert "expired" in words and "base_url" in words


async def test_f10_a_server_of_tls_1_1_is_refused(authority: Callable[..., tuple[Path, Path]]) -> None:
    pair = authority("127.0.0.1", "IP")
    context = server_side(pair)
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(answering(ok()), context) as server:
        words = await ask_failing(f"https://127.0.0.1:{server.port}", verify=trusting(pair[0]))
    assert "TLS" in words and "base_url" in words


async def test_f10_a_server_that_speaks_no_tls_is_not_spoken_to_in_clear() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.heard += await reader.read(1000)
        writer.write(ok())

    async with serving(speak) as server:
        words = await ask_failing(f"https://127.0.0.1:{server.port}")
    assert "base_url" in words
    assert KEY.encode() not in server.heard and b"HTTP" not in server.heard


def lax(**changes: object) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for name, value in changes.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize(
    "changes", [{"check_hostname": False}, {"check_hostname": False, "verify_mode": ssl.CERT_NONE}]
)
def test_f10_a_context_that_verifies_less_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="verify"):
        Http(verify=lax(**changes))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_f10_a_context_below_tls_1_2_and_no_verification_are_refused() -> None:
    with pytest.raises(ConfigError, match="TLS below"):
        Http(verify=lax(minimum_version=ssl.TLSVersion.TLSv1_1))
    with pytest.raises(ConfigError, match="switched off"):
        Http(verify=False)  # type: ignore[arg-type]


# -- keys, environment, logs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\r\nX-Evil: 1", f"{KEY}\0", f"{KEY}é", f"{KEY}\ud800"])
async def test_f22_a_key_that_http_forbids_is_not_shown(key: str) -> None:
    async with serving() as server:
        words = await ask_failing(server.url, auth={"Authorization": f"Bearer {key}"})
    assert "key" in words
    assert server.heard == b""


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1\r\nx", "http://127.0.0.1:99999", "http://[::1", "ftp://127.0.0.1", "http://127.0.0.1:x"]
)
async def test_a_url_that_makes_no_sense_is_a_request_error(url: str) -> None:
    assert await ask_failing(url)


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the environment's proxies, and no others."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def put(**named: str) -> None:
        for name, value in named.items():
            monkeypatch.setenv(name, value)

    return put


async def test_proxies_of_the_environment_are_not_used_for_loopback(proxies: Callable[..., None]) -> None:
    async with serving() as proxy, serving(answering(ok())) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            proxies(**{name: proxy.url})
        for host in ("127.0.0.1", "localhost"):
            assert (await ask(f"http://{host}:{server.port}")).status == 200
        assert "127.0.0.2" in await ask_failing("http://127.0.0.2:1")
        assert proxy.calls == 0


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
async def test_proxies_of_the_environment_are_used_for_other_hosts(
    name: str, proxies: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxy.hear(reader)
        writer.write(ok(b"by proxy"))
        await writer.drain()

    caplog.set_level(logging.INFO)
    async with serving(speak) as proxy:
        proxies(**{name: proxy.url.replace("//", "//user:canary-word@")})
        assert (await ask("http://vendor.example")).body == b"by proxy"
        proxies(**{name: proxy.url.removeprefix("http://")})
        assert (await ask("http://vendor.example")).body == b"by proxy"
    assert proxy.heard.count(b"Proxy-Authorization: Basic ") == 1
    assert not caplog.records, "a line in the app's log"


async def test_a_host_outside_the_proxies_and_a_scheme_of_its_own_are_not_in_the_way_of_another(
    proxies: Callable[..., None],
) -> None:
    async with serving(answering(ok(b"by proxy"))) as proxy:
        proxies(http_proxy=proxy.url, all_proxy="socks://127.0.0.1:1", no_proxy="within.invalid")
        assert (await ask("http://vendor.example")).body == b"by proxy"
        await ask_failing("http://a.within.invalid")
        assert proxy.calls == 1


async def test_a_proxy_that_refuses_or_is_away_is_named_and_its_password_is_not(proxies: Callable[..., None]) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 canary-word\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with serving(refuse) as proxy:
        proxies(https_proxy=proxy.url.replace("//", "//user:canary-word@"))
        refused = await ask_failing("https://vendor.example")
    away = await ask_failing("https://vendor.example")
    assert "answered 407" in refused
    for words in (refused, away):
        assert "Check base_url https://vendor.example and the proxy settings" in words
        assert "canary-word" not in words


async def test_f10_tls_is_verified_behind_a_proxy_too(
    authority: Callable[..., tuple[Path, Path]], proxies: Callable[..., None]
) -> None:
    pair = authority("vendor.example")

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"CONNECT vendor.example:443 ") and KEY.encode() not in asked
        back, to_vendor = await asyncio.open_connection("127.0.0.1", vendor.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while piece := await source.read(65_536):
                target.write(piece)

        try:
            await asyncio.gather(pump(reader, to_vendor), pump(back, writer))
        finally:
            to_vendor.transport.abort()

    async with serving(answering(ok(b"by tunnel")), server_side(pair)) as vendor, serving(tunnel) as proxy:
        proxies(HTTPS_PROXY=proxy.url)
        assert (await ask("https://vendor.example", verify=trusting(pair[0]))).body == b"by tunnel"
        assert "self-signed" in await ask_failing("https://vendor.example")


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:1", "http://127.0.0.1:x"])
async def test_a_proxy_setting_that_makes_no_sense_is_a_request_error(proxy: str, proxies: Callable[..., None]) -> None:
    proxies(all_proxy=proxy)
    assert "proxy" in await ask_failing("https://vendor.example")
    assert "proxy" not in await ask_failing("http://127.0.0.1:1"), "nothing of the environment for this machine"


async def test_netrc_and_credentials_in_the_url_do_not_replace_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.hear(reader)
        writer.write(ok())
        await writer.drain()

    async with serving(speak) as server:
        await ask(server.url)
        await ask(server.url.replace("//", "//user:word@"))
    assert server.heard.lower().count(b"authorization:") == 2
    assert b"Basic" not in server.heard


async def test_the_key_is_in_no_log_line_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(answering(ok())) as server:
        await ask(server.url)
        await ask_failing(server.url, auth={"Authorization": f"Bearer {KEY}\n"})
    assert KEY not in caplog.text and "canary-payload" not in caplog.text
    assert KEY not in repr(Http())


def test_importing_the_module_does_not_import_httpx() -> None:
    code = (
        "import sys, eventtree.delivery.http, eventtree.delivery.retry; print({'httpx', 'tenacity'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_our_own_requests_leave_no_line_in_the_apps_log(caplog: pytest.LogCaptureFixture) -> None:
    """An app that logs at INFO would get a line of httpx's for each request of ours."""
    with VendorServer() as server, caplog.at_level(logging.INFO):
        server.script("braintrust", [503])
        record_tree(Pipeline(vendors=[Braintrust(**server.settings("braintrust"))]))
        assert flush(20).settled
        assert len(server.requests) >= 2
    assert [one.getMessage() for one in caplog.records if not one.name.startswith("eventtree")] == []
