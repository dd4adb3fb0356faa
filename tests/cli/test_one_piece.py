"""Answers leave in one piece, and nothing gets stuck on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from broker.cli.serve import bind, http_protocol


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
async def served() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the application on the server's own protocol."""
    config = uvicorn.Config(_app, http=http_protocol(), log_config=None, access_log=False, lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listening = bind("127.0.0.1", 0, "port")
    await server.startup(sockets=[listening])
    try:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        yield reader, writer
        writer.close()
        await writer.wait_closed()
    finally:
        await server.shutdown(sockets=[listening])


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
    """The client sees the head and the end, and waits for nothing."""
    async with served() as (reader, writer):
        writer.write(b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.read()).endswith(b"\r\n\r\n")
