"""Answers of HTTP/1.1 in every form, in one piece and byte by byte, as h11 reads them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
import pytest

from eventtree.delivery.http import Http, UnansweredError
from tests.delivery.test_http import AUTH, made, serving

ANSWERS = {
    "usual": b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "odd reason": b"HTTP/1.1 599 \xc3\xbc \t x\r\nContent-Length: 1\r\n\r\nx",
    "bare newlines": b"HTTP/1.1 200 OK\nX-A: 1\nContent-Length: 2\n\n{}",
    "no headers": b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "old": b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    "blanks around": b"HTTP/1.1 200 OK\r\nX-A: \t one \t\r\nX-Empty:\r\nContent-Length:2\r\n\r\n{}",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: one\r\n \t two\r\n\tthree\r\nContent-Length: 2\r\n\r\n{}",
    "repeated": b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
    "bytes in a header": b"HTTP/1.1 200 OK\r\nX-A: \xe9\x85\x01\r\nContent-Length: 2\r\n\r\n{}",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\n{\r\n0A;x=y \r\n\r\n1234567}\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\nX-Last: 1\r\nX-B: 2\r\n\r\n",
    "chunks win": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "early hints": b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 X\r\nA: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "cut body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
    "cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
    "cut before a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}",
    "a chunk too long": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}}\r\n0\r\n\r\n",
    "no chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "cut head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a space in a name": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
    "a null in a header": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "a length in words": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
}  # fmt: skip


def as_h11_reads(answer: bytes) -> Any:
    """Status, headers, body and whether it is complete; None for no answer."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    status, headers, body = None, dict[str, str](), b""
    try:
        reader.receive_data(answer)
        reader.receive_data(b"")
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
                for name, value in ((one[0].decode(), one[1].decode("latin-1")) for one in event.headers):
                    headers[name] = f"{headers[name]}, {value}" if name in headers else value
            elif isinstance(event, h11.Data):
                body += event.data
    except h11.RemoteProtocolError:
        return None if status is None else (status, headers, body, False)
    return status, headers, body, True


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_is_read_as_h11_reads_it_however_it_arrives(answer: bytes, step: int) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await server.hear(reader)
        for at in range(0, len(answer), step):
            writer.write(answer[at : at + step])
            await asyncio.sleep(0)
        writer.write_eof()
        await reader.read()  # else unread bytes would make a reset of the end

    async with serving(speak) as server:
        http = Http(deadline=5.0)
        wanted = as_h11_reads(answer)
        if wanted is None:
            with pytest.raises(UnansweredError, match="cut or not valid HTTP"):
                await http.send(made(server.url), AUTH)
        else:
            status, headers, body, is_whole = wanted
            reply = await http.send(made(server.url), AUTH)
            assert (reply.status, reply.body, not reply.truncated) == (status, body, is_whole)
            # h11 shows equal lengths once, and the coding in lower case
            assert {"content-length", *reply.headers} == {"content-length", *headers}
            odd = ("content-length", "transfer-encoding")
            assert all(reply.headers[name] == headers[name] for name in headers if name not in odd)
        await http.close()
