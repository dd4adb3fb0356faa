"""Answers leave in one piece, and nothing gets stuck on the way."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from broker.cli.serve import bind, http_protocol

Headers = list[tuple[bytes, bytes]]


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Says what was asked for, in pieces where the path says so."""
    body = b""
    if scope["method"] == "POST":
        body = (await receive())["body"]
    length = [] if scope["path"] == "/pieces" else [(b"content-length", b"%d" % (5 + len(body)))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    if scope["path"] == "/broken":
        raise ZeroDivisionError
    if scope["path"] == "/pieces":
        await send({"type": "http.response.body", "body": b"HTTP/1.1 ", "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"hello" + body})


@asynccontextmanager
async def listening(app: Any, http: Any) -> AsyncIterator[tuple[str, int]]:
    """Where the server answers for *app*."""
    config = uvicorn.Config(app, http=http, log_config=None, access_log=False, lifespan="off", server_header=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    socket = bind("127.0.0.1", 0, "port")
    await server.startup(sockets=[socket])
    try:
        yield socket.getsockname()
    finally:
        await server.shutdown(sockets=[socket])


@asynccontextmanager
async def served() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the application on the server's own protocol."""
    async with listening(_app, http_protocol()) as address:
        reader, writer = await asyncio.open_connection(*address)
        yield reader, writer
        writer.close()
        await writer.wait_closed()


async def _asked(method: str, path: str, body: str = "", more: str = "") -> bytes:
    """What the first read of the answer brings."""
    async with served() as (reader, writer):
        length = f"content-length: {len(body)}\r\n" if body else ""
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\n{length}{more}\r\n{body}".encode())
        async with asyncio.timeout(5):
            return await reader.read(65536)


@pytest.mark.parametrize(("method", "body"), [("GET", ""), ("POST", "dear")])
async def test_head_and_body_come_together(method: str, body: str) -> None:
    """One write, one packet, one wake-up at the other end."""
    answer = await _asked(method, "/", body)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhello" + body.encode())


async def test_an_answer_without_a_body_does_not_wait() -> None:
    """Nothing follows the head of an answer to HEAD."""
    assert (await _asked("HEAD", "/")).endswith(b"\r\n\r\n")


async def test_a_client_that_asks_whether_to_go_on_is_told_at_once() -> None:
    """``100 Continue`` comes before the body that it waits for (RFC 9110 section 10.1.1)."""
    async with served() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(5):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"dear")
            assert (await reader.readuntil(b"hellodear")).startswith(b"HTTP/1.1 200 OK")


async def test_pieces_come_in_order_and_completely() -> None:
    """Also a piece that looks like a head."""
    async with served() as (reader, writer):
        writer.write(b"GET /pieces HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n9\r\nHTTP/1.1 \r\n5\r\nhello\r\n0\r\n\r\n")


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    """A client may send the next before it has the answer to the first (RFC 9112 section 9.3.2)."""
    async with served() as (reader, writer):
        writer.write(
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\nHEAD / HTTP/1.1\r\nhost: x\r\n\r\nGET /pieces HTTP/1.1\r\nhost: x\r\n\r\n"
        )
        async with asyncio.timeout(5):
            answers = await reader.readuntil(b"0\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3


async def test_an_answer_that_breaks_off_ends_the_connection() -> None:
    """The client sees the end, and no head that promises more."""
    async with served() as (reader, writer):
        writer.write(b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() in {b"", b"HTTP/1.1 200 OK\r\n"}


PAGE: Headers = [
    (b"content-type", b"text/html"),
    (b"content-length", b"5"),
    (b"set-cookie", b"a=1"),
    (b"set-cookie", b"b=2"),
]
ANSWERS: dict[str, tuple[int, Headers, list[bytes]]] = {
    "a page": (200, PAGE, [b"hello"]),
    "a page in two pieces": (200, PAGE, [b"he", b"llo"]),
    "a page and nothing more": (200, PAGE, [b"hello", b""]),
    "an empty one": (303, [(b"location", b"/"), (b"content-length", b"0")], [b""]),
    "of unknown length": (200, [(b"content-type", b"text/plain")], [b"hello"]),
    "nothing to say": (204, [], [b""]),
    "not changed": (304, [(b"etag", b'"1"')], [b""]),
    "by uvicorn's own words": (200, [(b"Content-Length", b"5"), (b"X-Big", b"Yes")], [b"hello"]),
    "the last on this connection": (200, [*PAGE, (b"connection", b"close")], [b"hello"]),
    "in chunks": (200, [(b"transfer-encoding", b"chunked")], [b"hello"]),
    "less than promised": (200, PAGE, [b"hell"]),
    "more than promised": (200, PAGE, [b"hello you"]),
    "a length in words": (200, [(b"content-length", b"five")], [b"hello"]),
    "two lines in a value": (200, [*PAGE, (b"location", b"/\r\nset-cookie: c=3")], [b"hello"]),
    "a tab in a value": (200, [*PAGE, (b"x-tab", b"a\tb")], [b"hello"]),
    "a NUL in a value": (200, [*PAGE, (b"x-nul", b"a\x00b")], [b"hello"]),
    "beyond ASCII": (200, [*PAGE, (b"x-name", "Åsa".encode("latin-1"))], [b"hello"]),
    "a blank in a name": (200, [*PAGE, (b"x y", b"z")], [b"hello"]),
    "a colon in a name": (200, [*PAGE, (b"x:y", b"z")], [b"hello"]),
    "an odd status": (599, PAGE, [b"hello"]),
    "no such status": (600, PAGE, [b"hello"]),
    "two lengths": (200, [*PAGE, (b"content-length", b"2")], [b"hello"]),
    "two lengths, the first is shorter": (200, [(b"content-length", b"2"), *PAGE], [b"hello"]),
    "headers of a tuple": (200, tuple(PAGE), [b"hello"]),  # type: ignore[dict-item]
    "an endless length": (200, [(b"content-length", b"5" * 5000)], [b"hello"]),
}


UNFIT = {
    "a length in words",
    "an endless length",
    "no such status",
    "two lines in a value",
    "a NUL in a value",
    "a blank in a name",
    "a colon in a name",
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_it_is_what_the_server_would_have_said(answer: str) -> None:
    """Byte for byte what uvicorn sends, refusals of unfit headers included; only a broken promise is never begun."""
    stock = await _all_said(*ANSWERS[answer], http="httptools")
    ours = await _all_said(*ANSWERS[answer], http=http_protocol())
    assert all(each.startswith(b"HTTP/1.1 ") for each in stock) is (answer not in UNFIT)
    for told, expected in zip(ours, stock, strict=True):
        assert told == expected or ("than promised" in answer and not told)


async def _all_said(status: int, headers: Headers, pieces: list[bytes], *, http: Any) -> list[bytes]:
    """The whole answers to requests of several kinds, each on a connection of its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": pieces[-1]})

    said = []
    async with listening(app, http) as address:
        for line, more in itertools.product(
            ("GET / HTTP/1.1", "HEAD / HTTP/1.1", "GET / HTTP/1.0"), ("", "keep-alive")
        ):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(f"{line}\r\nhost: x\r\nconnection: {more or 'close'}\r\n\r\n".encode())
            writer.write_eof()
            async with asyncio.timeout(5):
                said.append(re.sub(rb"date: [^\r]*", b"date: now", await reader.read()))
            writer.close()
            await writer.wait_closed()
    return said
