"""The outbound fetcher: where a connection may end, and what an answer may be (docs/security.md E1)."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.errors import UpstreamDown
from broker.wire.http import Blocked, Fetcher, Guard, is_public

LOOPBACK = ("127.0.0.0/8",)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A bare TCP server on a free loopback port."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answering(*head: str, body: bytes = b"{}", status: str = "200 OK", seen: list[bytes] | None = None) -> Handler:
    """A handler that reads one request and sends a fixed answer."""
    lines = [f"HTTP/1.1 {status}", *(head or ("Content-Type: application/json",)), "Connection: close"]
    lines.append(f"Content-Length: {len(body)}")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return handle


class Names(AbstractResolver):
    """A resolver that answers from a list, one entry per question: a rebinding name server."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host, port=0, family=socket.AF_INET) -> list[ResolveResult]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None: ...


@asynccontextmanager
async def fetching(**options) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(**{"allow_private_networks": LOOPBACK} | options)
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def test_get_and_post_give_status_headers_and_object():
    """A JSON object comes back whole, header names in lower case; forms and Basic go out as asked."""
    seen: list[bytes] = []
    handler = answering("Content-Type: application/json; charset=utf-8", "X-Thing: a", body=b'{"a":1}', seen=seen)
    async with serving(handler) as port, fetching() as fetcher:
        got = await fetcher.get_json(f"http://127.0.0.1:{port}/x?q=1")
        assert (got.status, got.json, got.headers["x-thing"]) == (200, {"a": 1}, "a")
        await fetcher.post_form(f"http://127.0.0.1:{port}/x", {"a": "b c"}, basic=("me", "s:1"))
    assert b"Authorization: Basic bWU6czox" in seen[1]
    assert b"application/x-www-form-urlencoded" in seen[1]


async def test_a_name_is_reached_through_its_permitted_addresses_only():
    """Of several addresses, those that are refused are never tried."""
    async with serving(answering()) as port, fetching(resolver=Names(["10.0.0.1", "127.0.0.1"])) as fetcher:
        assert (await fetcher.get_json(f"http://shop.example:{port}/")).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "168.63.129.16",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:1::1]",
        "[ff02::1]",
    ],
)
async def test_literal_addresses_of_special_ranges_are_blocked(host):
    """aiohttp asks no resolver for literals: they are checked by themselves."""
    async with fetching(allow_private_networks=()) as fetcher:
        with pytest.raises(Blocked):
            await fetcher.get_json(f"https://{host}/latest/meta-data")


@pytest.mark.parametrize(
    "host", ["2130706433", "127.1", "0x7f.0.0.1", "0177.0.0.1", "0x7f000001", "127.0.0.1.", "1", "0"]
)
async def test_odd_spellings_of_addresses_are_blocked(host):
    """Decimal, octal, hex and shortened forms are no names, even where loopback is listed."""
    async with serving(answering()) as port, fetching() as fetcher:
        with pytest.raises(Blocked):
            await fetcher.get_json(f"http://{host}:{port}/")


async def test_fullwidth_digits_are_read_as_the_client_would_read_them():
    """IDNA mapping turns them into an ordinary address before the check, not after it."""
    async with fetching(allow_private_networks=()) as fetcher:
        for spelled in ("１２７.0.0.1", "①27.0.0.1", "127。0。0。1"):
            with pytest.raises(Blocked):
                await fetcher.get_json(f"https://{spelled}/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example/",
        "file:///etc/passwd",
        "//shop.example/",
        "shop.example",
        "",
        "https://",
        "https://user@shop.example/",
        "https://user:pass@shop.example/",
        "http://[::1",
        "javascript:alert(1)",
    ],
)
async def test_only_complete_https_addresses_without_user_name(url):
    """Anything else is refused before a name is even looked up."""
    names = Names(["127.0.0.1"])
    async with fetching(resolver=names) as fetcher:
        with pytest.raises(Blocked):
            await fetcher.get_json(url)
    assert names.asked == 0


async def test_plain_http_needs_a_listed_network():
    """http to the public internet is refused, by name and by address, whatever is listed."""
    async with fetching(resolver=Names(["93.184.215.14"])) as fetcher:
        with pytest.raises(Blocked):
            await fetcher.get_json("http://shop.example/")
        with pytest.raises(Blocked):
            await fetcher.get_json("http://93.184.215.14/")
    async with fetching(allow_private_networks=(), resolver=Names(["127.0.0.1"])) as fetcher:
        with pytest.raises(Blocked):
            await fetcher.get_json("http://shop.example/")


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00:ec2::254"])
async def test_a_name_that_leads_into_a_private_network_is_blocked(address):
    """The name looks public, its address is not."""
    async with fetching(allow_private_networks=(), resolver=Names([address])) as fetcher:
        with pytest.raises(Blocked):
            await fetcher.get_json("https://shop.example/")


async def test_rebinding_finds_no_second_look_up():
    """The name is asked once per connection, and that very answer is checked and connected to."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with serving(answering()) as port, fetching(resolver=names) as fetcher:
        assert (await fetcher.get_json(f"http://shop.example:{port}/")).status == 200
        assert names.asked == 1
        with pytest.raises(Blocked):
            await fetcher.get_json(f"http://shop.example:{port}/")
    assert names.asked == 2


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data/", "/elsewhere"])
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temp", "308 Perm"])
async def test_redirects_are_not_followed(target, status):
    """A redirect would carry the call, and its secrets, past the check."""
    async with serving(answering(f"Location: {target}", status=status)) as port, fetching() as fetcher:
        with pytest.raises(Blocked):
            await fetcher.get_json(f"http://127.0.0.1:{port}/")


async def test_cookies_are_neither_kept_nor_sent():
    """One partner's server must not recognise another call."""
    seen: list[bytes] = []
    handler = answering("Content-Type: application/json", "Set-Cookie: a=b", seen=seen)
    async with serving(handler) as port, fetching() as fetcher:
        await fetcher.get_json(f"http://127.0.0.1:{port}/")
        await fetcher.get_json(f"http://127.0.0.1:{port}/")
    assert b"cookie" not in seen[1].lower()


async def test_proxies_from_the_environment_are_ignored(monkeypatch):
    """A proxy would resolve names itself, unchecked."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with serving(answering()) as port, fetching() as fetcher:
        assert (await fetcher.get_json(f"http://127.0.0.1:{port}/")).status == 200


@pytest.mark.parametrize("announced", [True, False])
async def test_a_huge_body_is_cut_off(announced):
    """Ten gigabytes, announced or not: reading stops at the cap."""
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        length = b"Content-Length: 10000000000\r\n" if announced else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n" + length + b"\r\n")
        while sent < 50_000_000:
            writer.write(b" " * 65536)
            sent += 65536
            await writer.drain()

    async with serving(handle) as port, fetching(max_bytes=100_000) as fetcher:
        with pytest.raises(UpstreamDown, match="larger than 100000 bytes"):
            await fetcher.get_json(f"http://127.0.0.1:{port}/")
    assert sent < 50_000_000


async def test_a_slow_drip_meets_the_deadline():
    """Bytes that keep coming do not extend it."""
    finished = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        while not finished.is_set():
            writer.write(b" ")
            await writer.drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(finished.wait(), 0.005)

    async with serving(handle) as port, fetching(timeout_s=0.05) as fetcher:
        with pytest.raises(UpstreamDown, match="no complete answer"):
            await fetcher.get_json(f"http://127.0.0.1:{port}/")
        finished.set()


async def test_a_slow_name_server_meets_the_deadline():
    """Looking up the name counts too."""

    class Never(Names):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            await asyncio.Event().wait()

    async with fetching(timeout_s=0.05, resolver=Never()) as fetcher:
        with pytest.raises(UpstreamDown, match="no complete answer"):
            await fetcher.get_json("https://shop.example/")


@pytest.mark.parametrize(
    "handler",
    [
        answering("Content-Type: text/html", body=b"{}"),
        answering("X-None: 1", body=b"{}"),
        answering(body=b"[1]"),
        answering(body=b"{"),
        answering(body=b"\xff\xfe"),
        answering(body=b"[" * 100_000),
        answering(body=b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"),
        answering(body=b'{"a": NaN}'),
        answering("Content-Type: application/json", "Content-Encoding: gzip", body=b"\x1f\x8b"),
        answering(status="500 Oops"),
        answering(status="503 Later"),
        answering(status="429 Slowly"),
        answering(status="204 None", body=b""),
    ],
    ids=[
        "html",
        "no-type",
        "array",
        "broken",
        "not-utf8",
        "deep",
        "deep-and-whole",
        "nan",
        "gzip",
        "500",
        "503",
        "429",
        "empty",
    ],
)
async def test_answers_that_are_no_json_object_are_refused(handler):
    """Whatever a server says, the caller gets an object or an error."""
    async with serving(handler) as port, fetching() as fetcher:
        with pytest.raises(UpstreamDown):
            await fetcher.get_json(f"http://127.0.0.1:{port}/")


async def test_a_refusal_with_or_without_json_reaches_the_caller():
    """4xx is an answer: OAuth errors live there (RFC 6749 section 5.2)."""
    with_error = answering(body=b'{"error":"invalid_grant"}', status="400 Bad")
    page = answering("Content-Type: text/html", body=b"<p>", status="404 Not")
    deep = answering(body=b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", status="400 Bad")
    async with serving(with_error) as port, fetching() as fetcher:
        got = await fetcher.get_json(f"http://127.0.0.1:{port}/")
        assert (got.status, got.json) == (400, {"error": "invalid_grant"})
    async with serving(page) as port, fetching() as fetcher:
        got = await fetcher.get_json(f"http://127.0.0.1:{port}/")
        assert (got.status, got.json) == (404, {})
    async with serving(deep) as port, fetching() as fetcher:
        got = await fetcher.get_json(f"http://127.0.0.1:{port}/")
        assert (got.status, got.json) == (400, {})


async def test_a_dead_server_is_down_and_its_secrets_stay_out_of_the_error():
    """Error texts reach logs: they name host and path, never the query."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with fetching() as fetcher:
            with pytest.raises(UpstreamDown) as caught:
                await fetcher.get_json(f"http://127.0.0.1:{port}/token?code=s3cret")
    assert "s3cret" not in caught.value.detail
    assert caught.value.detail.endswith("/token: the connection is refused: nobody listens there")
    assert caught.value.facts == {"cause": "ClientConnectorError"}
    assert not isinstance(caught.value, Blocked)


async def test_a_name_that_does_not_exist_is_down_not_blocked():
    """The operator must see the difference between DNS trouble and our own rule."""

    class Unknown(Names):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async with fetching(resolver=Unknown()) as fetcher:
        with pytest.raises(UpstreamDown) as caught:
            await fetcher.get_json("https://shop.example/?code=s3cret")
    assert caught.value.detail == "GET https://shop.example/: the name of the server is not found"
    assert not isinstance(caught.value, Blocked)


async def test_whoever_hangs_up_or_speaks_no_http_is_told_in_words():
    """Operators read it; what was said instead is not repeated."""

    async def hangs_up(reader, writer):
        await reader.readuntil(b"\r\n\r\n")

    async def babbles(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"s3cret\r\n\r\n")
        await writer.drain()

    for handler, words in ((hangs_up, "broke off before"), (babbles, "is no HTTP")):
        async with serving(handler) as port, fetching() as fetcher:
            with pytest.raises(UpstreamDown, match=words) as caught:
                await fetcher.get_json(f"http://127.0.0.1:{port}/")
            assert "s3cret" not in caught.value.detail


async def test_a_server_without_tls_is_told_in_words():
    """An address with https where plain HTTP is spoken is a frequent mistake."""

    async def plain(reader, writer):
        await reader.read(5)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(plain) as port, fetching() as fetcher:
        with pytest.raises(UpstreamDown, match="speaks no TLS that is accepted"):
            await fetcher.get_json(f"https://127.0.0.1:{port}/")


def self_signed(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for shop.example and the server context that uses it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return path, context


async def test_certificates_are_checked_against_the_name_not_the_address(tmp_path):
    """Connecting to the checked address does not weaken TLS: the certificate must name the URL's host."""
    path, server_tls = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=str(path))
    async with serving(answering(), server_tls) as port:
        names = Names(["127.0.0.1"])
        async with fetching(resolver=names) as fetcher:
            with pytest.raises(UpstreamDown, match=r"TLS certificate is not trusted \(self.signed certificate\)$"):
                await fetcher.get_json(f"https://shop.example:{port}/")
        async with fetching(resolver=names, tls=trusting) as fetcher:
            assert (await fetcher.get_json(f"https://shop.example:{port}/")).status == 200
            with pytest.raises(UpstreamDown, match=r"not trusted .*not valid for 'other[.]example'"):
                await fetcher.get_json(f"https://other.example:{port}/")


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:400f::1"])
def test_ordinary_addresses_are_public(text):
    """The internet stays reachable."""
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("allowed", "address", "expected"),
    [
        (["64:ff9b::/96"], "64:ff9b::808:808", True),
        (["64:ff9b::/96"], "64:ff9b::a00:1", False),
        (["64:ff9b::/96", "10.0.0.0/8"], "64:ff9b::a00:1", True),
        (["10.0.0.0/8"], "64:ff9b::a00:1", False),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", False),
        (["::ffff:0:0/96"], "::ffff:127.0.0.1", False),
        (["::ffff:0:0/96", "127.0.0.0/8"], "::ffff:127.0.0.1", True),
        (["10.0.0.0/8"], "10.9.9.9", True),
        (["10.0.0.0/24"], "10.0.1.1", False),
    ],
)
def test_carried_addresses_need_both_listings(allowed, address, expected):
    """NAT64 opens the internet, not the network behind it."""
    guard = Guard(tuple(ipaddress.ip_network(text) for text in allowed))
    assert guard.permits(ipaddress.ip_address(address)) is expected
