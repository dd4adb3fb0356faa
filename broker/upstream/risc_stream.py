"""
Where Google sends its security events (`broker.upstream.risc`): looking at the registration, setting it, and trying it out.

Source: Google, "Protect user accounts with Cross-Account Protection". The key that may do this belongs to an operator, and never
to a running broker.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from broker.core.changing import replace
from broker.core.discreet import Discreet
from broker.errors import StafettError
from broker.upstream.risc import WANTED
from broker.wire.http import Fetched, Fetcher
from broker.wire.oauth import ClientKey, parse_client_key, signed_document

GOOGLE_API: Final = "https://risc.googleapis.com/v1beta"
_AUDIENCE: Final = "https://risc.googleapis.com/google.identity.risc.v1beta.RiscManagementService"
_PUSH: Final = "https://schemas.openid.net/secevent/risc/delivery-method/push"
_LIFETIME_S: Final = 3600


class ServiceAccount(Discreet, frozen=True):
    """Who may manage the stream: ``email`` of the account and its private key."""

    UNSPOKEN = frozenset({"key"})

    email: str
    key: ClientKey


class Stream(Struct, frozen=True):
    """``url``: where events go, None when nowhere. ``events``: URIs of the kinds that are sent."""

    url: str | None
    events: frozenset[str]

    def faults(self, url: str) -> tuple[str, ...]:
        """What is wrong with it where events should go to *url*, as sentences; none when all is well."""
        if self.url is None:
            return ("nothing is registered",)
        found = [] if self.url == url else [f"events go to {self.url} and not to {url}"]
        found += [f"{event} is not sent" for event in WANTED if event not in self.events]
        return tuple(found)


def parse_service_account(text: str) -> ServiceAccount:
    """
    The key file of a Google service account, which needs the role ``roles/riscconfigs.admin``.

    Raises: ValueError: anything else. The text never quotes it.
    """
    try:
        given = json.loads(text)
        email, kid, pem = (given[name] for name in ("client_email", "private_key_id", "private_key"))
        key = parse_client_key(pem)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("not the JSON key file of a service account") from None
    if key.alg != "RS256" or not isinstance(email, str) or not isinstance(kid, str):
        raise ValueError("not the JSON key file of a service account")
    return ServiceAccount(email, replace(key, kid=kid))


class RiscStreams:
    """
    The stream of one Cloud project, which is the one of *account*.

    Args:
        api: where the management API is, without a slash at the end.
    """

    def __init__(self, account: ServiceAccount, fetcher: Fetcher, *, api: str = GOOGLE_API) -> None:
        self._account = account
        self._fetcher = fetcher
        self._api = api

    async def show(self, now: datetime) -> Stream:
        """The registration as it stands. Raises: StafettError: the API says no. UpstreamDown."""
        answer = await self._fetcher.get_json(f"{self._api}/stream", headers=self._headers(now), operation="risc")
        if answer.status == 404:
            return Stream(None, frozenset())
        found = _accepted(answer)
        delivery = found.get("delivery")
        url = delivery.get("url") if isinstance(delivery, dict) else None
        events = found.get("events_requested")
        sent = [each for each in events if isinstance(each, str)] if isinstance(events, list) else []
        return Stream(url if isinstance(url, str) else None, frozenset(sent))

    async def register(self, url: str, now: datetime) -> None:
        """Have all events that are acted on sent to *url*. Raises: as `show`."""
        wanted = {"delivery": {"delivery_method": _PUSH, "url": url}, "events_requested": list(WANTED)}
        await self._post("stream:update", wanted, now)

    async def verify(self, state: str, now: datetime) -> None:
        """Have an event sent that changes nothing and echoes *state*. Raises: as `show`."""
        await self._post("stream:verify", {"state": state}, now)

    async def _post(self, what: str, body: Mapping[str, Any], now: datetime) -> None:
        headers = {**self._headers(now), "Content-Type": "application/json"}
        sent = json.dumps(body).encode()
        _accepted(await self._fetcher.post_body(f"{self._api}/{what}", sent, headers=headers, operation="risc"))

    def _headers(self, now: datetime) -> Mapping[str, str]:
        issued, email = int(now.timestamp()), self._account.email
        claims = {"iss": email, "sub": email, "aud": _AUDIENCE, "iat": issued, "exp": issued + _LIFETIME_S}
        return {"Authorization": f"Bearer {signed_document(self._account.key, claims, typ='JWT')}"}


def _accepted(answer: Fetched) -> Mapping[str, Any]:
    if answer.status != 200:
        error = answer.json.get("error")
        said = error.get("status") if isinstance(error, dict) else None
        word = said if isinstance(said, str) and said.replace("_", "").isalpha() else "no reason given"
        raise StafettError(f"the API for security events answered {answer.status} ({word})", code="risc.api")
    return answer.json
