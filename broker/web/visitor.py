"""
From a web request to a `Visitor`: cookies, language, address.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.requests import HTTPConnection

from broker.core.policy import BrokerSettings
from broker.flows.values import Visitor
from broker.web import cookies, params

_MOBILE = ("android", "iphone", "ipad", "ipod", "mobile", "tablet")
_MAX_USER_AGENT = 256
_MAX_ACCEPT = 500
_MAX_FORWARDED = 500


def visitor_of(connection: HTTPConnection, broker: BrokerSettings, *, ui_locales: str | None = None) -> Visitor:
    """
    Who is at the other end. ``?lang=`` beats ``ui_locales`` beats ``Accept-Language``.

    Args:
        ui_locales: the partner's, where they are not in the query: in a pushed request.
    """
    agent = connection.headers.get("user-agent", "")[:_MAX_USER_AGENT]
    sent = cookies.sent(connection)
    return Visitor(
        browser=cookies.read(sent, cookies.BROWSER),
        session=cookies.read(sent, cookies.SESSION),
        language=_language(connection, ui_locales, broker.languages, broker.default_language),
        address=str(connection.scope.get("state", {}).get("address", "")),
        user_agent=agent,
        mobile=_is_mobile(agent),
        device=cookies.read(sent, cookies.DEVICE) if broker.device_memory.enabled else None,
    )


@lru_cache(maxsize=1024)
def _is_mobile(agent: str) -> bool:
    words = agent.lower()
    return any(word in words for word in _MOBILE)


class Proxies:
    """
    The networks of our own proxies, and who is at the other end of them.

    What was found is kept: networks are slow to compare, and a partner's servers and a customer's browser come again.
    """

    def __init__(self, networks: tuple[IPv4Network | IPv6Network, ...] = ()) -> None:
        self.networks = networks
        self._found = lru_cache(maxsize=2048)(self._client_address)

    def client_address(self, peer: str, forwarded_for: str) -> str:
        """
        The customer's address: the nearest hop of ``X-Forwarded-For`` that is not a proxy of ours.

        security: the header counts only when the direct peer is a trusted proxy (docs/security.md E3), and only its end, which is
        all that our proxies wrote: what is kept is not for strangers to make large.
        """
        if len(forwarded_for) > _MAX_FORWARDED:
            # The first hop may have been cut, and be another address so.
            forwarded_for = forwarded_for[-_MAX_FORWARDED:].partition(",")[2]
        return self._found(peer, forwarded_for)

    def _client_address(self, peer: str, forwarded_for: str) -> str:
        if not forwarded_for or not self._is_ours(peer):
            return peer
        hops = [hop.strip() for hop in reversed(forwarded_for.split(","))]
        address = next((hop for hop in hops if not self._is_ours(hop)), hops[-1])
        return address if _address(address) is not None else peer

    def _is_ours(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self.networks)


@lru_cache(maxsize=2048)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _language(connection: HTTPConnection, ui_locales: str | None, languages: Sequence[str], default: str) -> str:
    query = dict(params.query_pairs(connection))
    asked = query.get("lang")
    if asked in languages:
        return asked or default
    for wish in (ui_locales or query.get("ui_locales", ""))[:_MAX_ACCEPT].split():
        if (primary := wish.split("-")[0].lower()) in languages:
            return primary
    return _accepted(connection.headers.get("accept-language", "")[:_MAX_ACCEPT], languages) or default


def _accepted(header: str, languages: Sequence[str]) -> str | None:
    """The best of *languages* for an ``Accept-Language`` header (RFC 9110 section 12.5.4)."""
    if not header:
        return None
    best: tuple[float, str] | None = None
    for part in header.split(","):
        tag, _, parameter = part.strip().partition(";")
        primary = tag.strip().split("-")[0].lower()
        quality = _quality(parameter)
        if primary in languages and quality > 0 and (best is None or quality > best[0]):
            best = (quality, primary)
    return best[1] if best else None


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
