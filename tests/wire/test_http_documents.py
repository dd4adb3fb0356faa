"""Documents by the one way out: within the same rules as everything else (docs/security.md E1)."""

import pytest

from broker.errors import UpstreamDown
from broker.wire.http import Blocked, Fetcher
from tests.wire.test_http import Names, answering, fetching, serving


async def test_whatever_it_is() -> None:
    """The content type is nobody's business here; conditions are sent along."""
    seen: list[bytes] = []
    handler = answering("Content-Type: text/plain", 'ETag: "v1"', body=b"<a/>", seen=seen)
    async with serving(handler) as port, fetching() as fetcher:
        found = await fetcher.get_document(f"http://127.0.0.1:{port}/all.xml", headers={"If-None-Match": '"v0"'})
    assert (found.status, found.body, found.headers["etag"]) == (200, b"<a/>", '"v1"')
    assert b'If-None-Match: "v0"' in seen[0]


@pytest.mark.parametrize(
    ("status", "code"), [("304 Not Modified", 304), ("404 Not Found", 404), ("403 Forbidden", 403)]
)
async def test_answers_without_a_document(status: str, code: int) -> None:
    """What they carry is not handed on."""
    async with (
        serving(answering(status=status, body=b"" if code == 304 else b"<html/>")) as port,
        fetching() as fetcher,
    ):
        found = await fetcher.get_document(f"http://127.0.0.1:{port}/")
    assert (found.status, found.body) == (code, b"")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_not_followed(status: str) -> None:
    """security: a server could send us into the operator's own network."""
    async with serving(answering("Location: http://169.254.169.254/", status=status)) as port, fetching() as fetcher:
        with pytest.raises(Blocked, match="redirects"):
            await fetcher.get_document(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("status", ["500 Broken", "503 Busy", "429 Slow", "204 Nothing", "206 Part"])
async def test_no_answer(status: str) -> None:
    """A server that is ill, or gives a part only, gave nothing."""
    async with serving(answering(status=status, body=b"")) as port, fetching() as fetcher:
        with pytest.raises(UpstreamDown):
            await fetcher.get_document(f"http://127.0.0.1:{port}/")


async def test_larger_than_allowed() -> None:
    """Reading ends there."""
    async with serving(answering(body=b"x" * 2000)) as port, fetching(max_bytes=1000) as fetcher:
        with pytest.raises(UpstreamDown, match="larger"):
            await fetcher.get_document(f"http://127.0.0.1:{port}/")


async def test_compressed() -> None:
    """security: a small body that grows without limit."""
    async with serving(answering("Content-Encoding: gzip", body=b"\x1f\x8b")) as port, fetching() as fetcher:
        with pytest.raises(UpstreamDown, match="compressed"):
            await fetcher.get_document(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254"])
async def test_a_name_that_leads_inside(address: str) -> None:
    """security: a federation's name that resolves to a private address is not called."""
    fetcher = Fetcher(resolver=Names([address]))
    try:
        with pytest.raises(Blocked):
            await fetcher.get_document("https://metadata.example/all.xml")
    finally:
        await fetcher.close()


async def test_plain_http_to_strangers() -> None:
    """Only into networks the operator listed."""
    fetcher = Fetcher()
    try:
        with pytest.raises(Blocked, match="https"):
            await fetcher.get_document("http://metadata.example/all.xml")
    finally:
        await fetcher.close()
