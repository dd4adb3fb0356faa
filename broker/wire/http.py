"""
The one way out: every call the broker makes to somebody else's server goes through `Fetcher`.

Addresses come from partly untrusted places (discovery documents, registrations), so the rules are about where
a connection really ends, not about what the URL says: the checked IP address is the one connected to, at the
time it is connected to. Rules: https only (plain http only into networks the operator listed); private,
loopback, link-local, carrier-grade NAT, metadata and special-purpose ranges refused unless listed; no
redirects, cookies or proxies from the environment; one deadline for everything; a size cap; JSON only.
"""

import asyncio
import base64
import copy
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct
from yarl import URL

from broker.core.query import encoded
from broker.core.strict_json import is_too_deep
from broker.errors import UpstreamDown
from broker.observe.telemetry import Watch, unwatched

T = TypeVar("T")
Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

#: IANA special-purpose registry for IPv4, plus Azure's host agent, which wears a public address.
_DENIED_V4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
#: IPv6 is refused outside global unicast, and inside it where the address is a tunnel or an example.
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_DENIED_V6: Final = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
#: Ranges that carry an IPv4 address in their last 32 bits.
_CARRIES_V4: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))

_USER_AGENT: Final = "stafett"
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_JSON_TYPES: Final = ("application/json", "application/jwk-set+json")
#: Signed or encrypted userinfo (OpenID Connect Core section 5.3.2), signed key sets (OpenID Federation 1.0 section 5.2.1).
_JWT_TYPES: Final = ("application/jwt", "application/jwk-set+jwt")


class Blocked(UpstreamDown):
    """An outgoing call that the broker's own rules forbid; ``detail`` says which rule, for the operator."""

    default_code = "outbound_blocked"


class Fetched(Struct, frozen=True):
    """
    An answer. ``json``: its JSON object, empty when a 4xx answer carried none. ``headers``: lower-case names.

    ``status`` is 2xx or 4xx (never 429); everything else is raised.
    """

    status: int
    headers: Mapping[str, str]
    json: Mapping[str, Any]


class FetchedJwt(Struct, frozen=True):
    """An answer that is one token in compact form. ``unverified_token``: empty for a 4xx answer. Else as `Fetched`."""

    status: int
    headers: Mapping[str, str]
    unverified_token: str


class FetchedDocument(Struct, frozen=True):
    """An answer of any content, or none: ``status`` is 200, 304 or 4xx, and ``body`` empty unless 200. Else as `Fetched`."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Guard(Struct, frozen=True):
    """
    Decides whether an address may be connected to.

    ``allowed``: networks the operator listed. ``only_allowed``: nothing else at all (for plain http).
    """

    allowed: tuple[Network, ...]
    only_allowed: bool = False

    def permits(self, address: Address) -> bool:
        """
        Whether *address* may be connected to.

        An address that carries an IPv4 address (v4-mapped, NAT64) needs both: its own range listed, and the
        carried address permitted. So an operator behind NAT64 opens the internet, not the local network.
        """
        listed = any(address in network for network in self.allowed)
        if isinstance(address, IPv6Address) and any(address in network for network in _CARRIES_V4):
            return listed and self.permits(IPv4Address(int(address) & 0xFFFFFFFF))
        return listed or (not self.only_allowed and is_public(address))


def is_public(address: Address) -> bool:
    """Whether *address* is ordinary global unicast (IANA special-purpose registries; RFC 6890)."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _DENIED_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _DENIED_V6)


class Fetcher:
    """
    Outgoing HTTP for the whole process; one per TLS identity.

    Args:
        allow_private_networks: CIDRs that may be reached although they are private, and by plain http.
        timeout_s: deadline for the whole call, name resolution and body included.
        max_bytes: largest body read.
        resolver: how names become addresses (tests); the system's when None.
        tls: context for https, e.g. with a client certificate; the system's trust store when None.

    ``watch``: goes around every call; operations are named by whoever calls.
    """

    def __init__(
        self,
        *,
        allow_private_networks: Iterable[Network | str] = (),
        timeout_s: float = 5.0,
        max_bytes: int = 1024 * 1024,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        networks = tuple(
            ip_network(network) if isinstance(network, str) else network for network in allow_private_networks
        )
        self._guards = {"https": Guard(networks), "http": Guard(networks, only_allowed=True)}
        # The same few addresses over and over. The rules do not change; where a name leads is checked at every connection.
        self._checked = lru_cache(maxsize=256)(self._checked_anew)
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._resolver = resolver
        self._tls = tls
        self.watch: Watch = unwatched

    def watched_by(self, watch: Watch) -> "Fetcher":
        """The same way out, its connections included, under another *watch*."""
        twin = copy.copy(self)
        twin.watch = watch
        return twin

    async def get_json(self, url: str, *, headers: Mapping[str, str] | None = None, operation: str = "get") -> Fetched:
        """
        GET a JSON object.

        Raises:
            Blocked: the address is not one the broker may call, or the answer is a redirect.
            UpstreamDown: unreachable, too slow, too big, 5xx, 429, or not a JSON object.
        """
        return await self._watched(operation, "GET", url, headers=headers)

    async def get_jwt(
        self, url: str, *, headers: Mapping[str, str] | None = None, operation: str = "get"
    ) -> FetchedJwt:
        """
        GET a token in compact form, by its content type.

        Raises: as `get_json`, with text in place of JSON.
        """
        accepting = {"Accept": ", ".join(_JWT_TYPES), **(headers or {})}
        with self.watch(operation) as call:
            sent = {**accepting, **call.headers}
            fetched = await self._bounded("GET", url, headers=sent, data=None, use=self._fetched_jwt)
            call.answered(fetched.status)
            return fetched

    async def get_document(
        self, url: str, *, headers: Mapping[str, str] | None = None, operation: str = "get"
    ) -> FetchedDocument:
        """
        GET whatever there is, or learn that it did not change (RFC 9110 section 13).

        Raises: as `get_json`, with anything in place of JSON; also for an answer that is neither 200, 304 nor 4xx.
        """
        with self.watch(operation) as call:
            sent = {**(headers or {}), **call.headers}
            fetched = await self._bounded("GET", url, headers=sent, data=None, use=self._fetched_document)
            call.answered(fetched.status)
            return fetched

    async def post_form(
        self,
        url: str,
        data: Mapping[str, str],
        *,
        basic: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        operation: str = "post",
    ) -> Fetched:
        """
        POST a form; *basic* is a user name and password, already encoded as the protocol wants them.

        Raises: as `get_json`.
        """
        with_auth = dict(headers or {})
        if basic is not None:
            credentials = base64.b64encode(f"{basic[0]}:{basic[1]}".encode()).decode()
            with_auth["Authorization"] = f"Basic {credentials}"
        return await self._watched(operation, "POST", url, headers=with_auth | _FORM, data=encoded(data).encode())

    async def post_body(self, url: str, body: bytes, *, headers: Mapping[str, str], operation: str = "send") -> Fetched:
        """
        POST *body*, whose content type is among *headers*, where every answer counts.

        Returns: whatever status there is but 3xx; ``json`` is empty when the answer is no JSON object.
        Raises:
            Blocked: the address is not one the broker may call, or the answer is a redirect.
            UpstreamDown: unreachable, too slow or too big; `never_sent` tells more.
        """
        with self.watch(operation) as call:
            sent = {**headers, **call.headers}
            answer = await self._bounded("POST", url, headers=sent, data=body, use=self._any_answer)
            call.answered(answer.status)
            return answer

    async def post_status(self, url: str, data: Mapping[str, str], *, operation: str = "notify") -> int:
        """
        POST a form of which only the answer's status matters; its body is not read.

        Returns: the status: 2xx, 4xx or 5xx.
        Raises:
            Blocked: the address is not one the broker may call, or the answer is a redirect.
            UpstreamDown: unreachable or too slow.
        """
        with self.watch(operation) as call:
            body = encoded(data).encode()
            status = await self._bounded("POST", url, headers={**call.headers, **_FORM}, data=body, use=self._status)
            call.answered(status)
            return status

    async def close(self) -> None:
        """Close all connections; the fetcher may be used again afterwards."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    async def _watched(
        self, operation: str, method: str, url: str, *, headers: Mapping[str, str] | None, data: Any = None
    ) -> Fetched:
        with self.watch(operation) as call:
            sent = {**(headers or {}), **call.headers}
            fetched = await self._bounded(method, url, headers=sent, data=data, use=self._fetched)
            call.answered(fetched.status)
            return fetched

    async def _bounded(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        data: Any,
        use: Callable[[str, aiohttp.ClientResponse], Awaitable[T]],
    ) -> T:
        """One call within the rules and the time; *use* makes of the answer (and the name of the call) what is wanted."""
        target, where = self._checked(url)
        name = f"{method} {where}"
        try:
            async with asyncio.timeout(self._timeout_s):
                session = self._session(target.scheme)
                sending = session.request(method, target, headers=headers, data=data, allow_redirects=False)
                async with sending as response:
                    return await use(name, response)
        except TimeoutError as error:
            raise UpstreamDown(f"{name}: no complete answer in {self._timeout_s} s") from error
        except _AddressRefused as error:
            raise Blocked(f"{name}: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            refused = _refusal_in(error)
            if refused is not None:
                raise Blocked(f"{name}: {refused}") from error
            raise UpstreamDown(f"{name}: {_in_words(error)}", cause=type(error).__name__) from error

    def _checked_anew(self, url: str) -> tuple[URL, str]:
        """*url* parsed, and how it is called in errors. Raises Blocked."""
        target = _checked_url(url, self._guards)
        # security: the query may hold secrets, so error texts name host and path only.
        return target, target.with_query(None).human_repr()

    async def _fetched(self, name: str, response: aiohttp.ClientResponse) -> Fetched:
        _check_status(name, response.status)
        body = await self._read(name, response)
        content = _json_object(name, response, body)
        lowered = {key.lower(): value for key, value in response.headers.items()}
        return Fetched(status=response.status, headers=lowered, json=content)

    async def _fetched_jwt(self, name: str, response: aiohttp.ClientResponse) -> FetchedJwt:
        _check_status(name, response.status)
        body = await self._read(name, response)
        lowered = {key.lower(): value for key, value in response.headers.items()}
        if response.status >= 400:
            return FetchedJwt(response.status, lowered, "")
        if response.content_type not in _JWT_TYPES:
            raise UpstreamDown(f"{name}: content type is not that of a token")
        if not body.isascii():
            raise UpstreamDown(f"{name}: not a token")
        return FetchedJwt(response.status, lowered, body.decode().strip())

    async def _fetched_document(self, name: str, response: aiohttp.ClientResponse) -> FetchedDocument:
        lowered = {key.lower(): value for key, value in response.headers.items()}
        if response.status == 304:
            return FetchedDocument(304, lowered, b"")
        _check_status(name, response.status)
        if 200 < response.status < 300:
            raise UpstreamDown(f"{name}: status {response.status}", status=response.status)
        body = await self._read(name, response)
        return FetchedDocument(response.status, lowered, body if response.status == 200 else b"")

    async def _any_answer(self, name: str, response: aiohttp.ClientResponse) -> Fetched:
        if 300 <= response.status < 400:
            raise Blocked(f"{name}: redirects are not followed")
        body = await self._read(name, response)
        try:
            content = _json_object(name, response, body)
        except UpstreamDown:
            content = {}
        return Fetched(status=response.status, headers={}, json=content)

    async def _status(self, name: str, response: aiohttp.ClientResponse) -> int:
        if 300 <= response.status < 400:
            raise Blocked(f"{name}: redirects are not followed")
        # Whatever it would still say is not waited for.
        response.close()
        return response.status

    async def _read(self, name: str, response: aiohttp.ClientResponse) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            # We asked for none; a compressed body could grow without limit.
            raise UpstreamDown(f"{name}: compressed answer")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max_bytes:
                response.close()
                raise UpstreamDown(f"{name}: answer larger than {self._max_bytes} bytes")
        return bytes(body)

    def _session(self, scheme: str) -> aiohttp.ClientSession:
        """The session for *scheme*; made on first use, since aiohttp wants the running loop."""
        if scheme not in self._sessions:
            guard = self._guards[scheme]
            connector = aiohttp.TCPConnector(
                resolver=_CheckedResolver(self._resolver or aiohttp.ThreadedResolver(), guard),
                # security: a cached name could point elsewhere than the address that was checked.
                use_dns_cache=False,
                socket_factory=_checked_sockets(guard),
                ssl=self._tls or True,
            )
            self._sessions[scheme] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
                headers={
                    "User-Agent": _USER_AGENT,
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
            )
        return self._sessions[scheme]


def never_sent(error: UpstreamDown) -> bool:
    """Whether the call behind *error* certainly never reached the other side: it was forbidden, or nobody answered at all."""
    return isinstance(error, Blocked) or isinstance(error.__cause__, aiohttp.ClientConnectorError)


class _AddressRefused(OSError):
    """Raised inside aiohttp, which lets OSErrors of resolver and socket factory through (wrapped)."""


class _CheckedResolver(AbstractResolver):
    """Resolves names and keeps only addresses the guard permits: what is checked is what is connected to."""

    def __init__(self, inner: AbstractResolver, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        permitted = [each for each in found if self._guard.permits(ip_address(each["host"]))]
        if not permitted:
            raise _AddressRefused("the name leads only to addresses that may not be called")
        return permitted

    async def close(self) -> None:
        await self._inner.close()


def _checked_sockets(guard: Guard) -> Any:
    """A socket factory that checks the address once more, right before connecting (also for literal IPs)."""

    def make(address_info: Any) -> socket.socket:
        family, kind, protocol, _, sockaddr = address_info
        if not guard.permits(ip_address(sockaddr[0])):
            raise _AddressRefused("the address may not be called")
        return socket.socket(family=family, type=kind, proto=protocol)

    return make


def _checked_url(url: str, guards: Mapping[str, Guard]) -> URL:
    """
    Parse *url* with the parser that will also be used for connecting, so that both see the same host.

    Raises:
        Blocked: scheme, user name, odd spelling of an IP address, or a literal address that is refused.
    """
    try:
        parsed = URL(url)
        host = parsed.raw_host
    except (ValueError, TypeError) as error:
        raise Blocked("not a URL") from error
    if parsed.scheme not in guards or not host:
        raise Blocked("only complete https addresses may be called")
    if parsed.user is not None or parsed.password is not None:
        raise Blocked(f"{host}: addresses with a user name may not be called")
    literal = _literal(host)
    if literal is not None and not guards[parsed.scheme].permits(literal):
        raise Blocked(f"{parsed.scheme}://{host}: the address may not be called")
    if literal is None and parsed.scheme == "http" and not guards["http"].allowed:
        raise Blocked(f"http://{host}: only https may be called")
    return parsed


def _literal(host: str) -> Address | None:
    """
    The IP address *host* spells, None for a name.

    Raises:
        Blocked: a spelling that resolvers read as a number (``2130706433``, ``0x7f.1``, ``0177.0.0.1``).
    """
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2].lower()
        if last.isdigit() or last.startswith("0x"):
            raise Blocked(f"{host}: not a plain IP address") from None
        return None


def _refusal_in(error: BaseException | None) -> _AddressRefused | None:
    """The refusal aiohttp wrapped into *error*, if that is what went wrong."""
    while error is not None:
        if isinstance(error, _AddressRefused):
            return error
        inner = getattr(error, "os_error", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__
    return None


def _in_words(error: Exception) -> str:
    """Why there is no answer; no word of *error* itself that could repeat an address with its query."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the name of the server is not found"
        case aiohttp.ClientConnectorCertificateError():
            # The types leave it at Exception; it is what OpenSSL says of the certificate.
            said = getattr(error.certificate_error, "verify_message", "")
            return "the TLS certificate is not trusted" + (f" ({said.rstrip('.')})" if said else "")
        case aiohttp.ClientSSLError():
            return "the server speaks no TLS that is accepted"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "the connection is refused: nobody listens there"
        case aiohttp.ClientConnectorError():
            return "no connection to the server can be made"
        case aiohttp.ClientResponseError() | ValueError():
            return "what the server says is no HTTP"
        case _:
            return "the connection broke off before the answer was complete"


def _check_status(name: str, status: int) -> None:
    if 300 <= status < 400:
        raise Blocked(f"{name}: redirects are not followed")
    if status >= 500 or status == 429 or status < 200:
        raise UpstreamDown(f"{name}: status {status}", status=status)


def _json_object(name: str, response: aiohttp.ClientResponse, body: bytes) -> Mapping[str, Any]:
    """The JSON object in *body*; a 4xx answer without one gives an empty object."""
    failed = response.status >= 400
    if response.content_type not in _JSON_TYPES:
        if failed:
            return {}
        raise UpstreamDown(f"{name}: content type is not JSON")
    try:
        content = msgspec.json.decode(body)
        if is_too_deep(content):
            raise ValueError("too deep")
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        if failed:
            return {}
        raise UpstreamDown(f"{name}: broken JSON") from error
    if not isinstance(content, dict):
        raise UpstreamDown(f"{name}: not a JSON object")
    return content
