"""
Security events about accounts at a provider: Google's Cross-Account Protection, which is the RISC profile of OpenID.

Sources: Google, "Protect user accounts with Cross-Account Protection"; OpenID RISC Profile 1.0.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from broker.core.logout import Change
from broker.upstream.port import Heard
from broker.wire.http import Fetcher
from broker.wire.id_token import BadIdToken, UnknownKey
from broker.wire.provider import Transmitter
from broker.wire.security_event import SecurityEvent, SecurityEvents, verify_security_events

#: A token has no end. One that first comes within this long ends what began since it was made: whoever hijacked the account
#: may have logged in meanwhile. One that comes later, or again after this long, ends nothing newer than itself; it lifts no later
#: block.
_REMEMBERED: Final = timedelta(days=30)

_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
_OAUTH: Final = "https://schemas.openid.net/secevent/oauth/event-type/"

#: What each event makes of us. Of refresh tokens we keep none, so one that was revoked changes nothing.
_CHANGES: Final[Mapping[str, Change]] = {
    f"{_RISC}sessions-revoked": Change.OVER,
    f"{_OAUTH}tokens-revoked": Change.OVER,
    f"{_OAUTH}token-revoked": Change.NOTED,
    f"{_RISC}account-disabled": Change.BLOCKED,
    f"{_RISC}account-enabled": Change.ALLOWED,
    f"{_RISC}account-credential-change-required": Change.OVER,
    f"{_RISC}account-purged": Change.GONE,
    f"{_RISC}identifier-changed": Change.NOTED,
    f"{_RISC}identifier-recycled": Change.OVER,
    f"{_RISC}verification": Change.NOTED,
}
#: What a transmitter is asked to send: those of Google's list that change anything here, and the answer to a test.
WANTED: Final = (
    f"{_RISC}sessions-revoked",
    f"{_OAUTH}tokens-revoked",
    f"{_RISC}account-disabled",
    f"{_RISC}account-enabled",
    f"{_RISC}account-credential-change-required",
    f"{_RISC}verification",
)
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class RiscReceiver:
    """
    Believes what one provider's transmitter sends.

    Args:
        url: of its configuration. client_id: ours there.
        issuer: under which the provider's persons are known here, ``spellings``: how it may write that in events.
        algs: of signatures.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        issuer: str,
        spellings: frozenset[str],
        algs: frozenset[str],
        fetcher: Fetcher,
    ) -> None:
        self._transmitter = Transmitter(url, fetcher)
        self._client_id = client_id
        self._issuer = issuer
        self._spellings = frozenset(each.rstrip("/") for each in spellings)
        self._algs = algs

    async def heard(self, unverified_token: str, now: datetime) -> Sequence[Heard]:
        """As `broker.upstream.port.Listener.heard`."""
        keys = await self._transmitter.keys(now)
        issuer = (await self._transmitter.metadata(now)).issuer
        try:
            said = verify_security_events(
                unverified_token, keys=keys, issuer=issuer, client_id=self._client_id, algs=self._algs, now=now
            )
        except UnknownKey:
            keys = await self._transmitter.keys_after_rotation(now, unknown_in=keys)
            said = verify_security_events(
                unverified_token, keys=keys, issuer=issuer, client_id=self._client_id, algs=self._algs, now=now
            )
        return [self._heard(said, number, event, now) for number, event in enumerate(said.events)]

    def _heard(self, said: SecurityEvents, number: int, event: SecurityEvent, now: datetime) -> Heard:
        if event.issuer is not None and event.issuer.rstrip("/") not in self._spellings:
            raise BadIdToken("about somebody of another provider", code="secevent.subject")
        change = _CHANGES.get(event.type, Change.NOTED) if event.subject is not None else Change.NOTED
        return Heard(
            self._issuer,
            event.subject,
            None,
            f"event {number} {said.jti}",
            said.issued_at,
            now + _REMEMBERED,
            change,
            what=event.type.rpartition("/")[2] if event.type in _CHANGES else "unknown",
            about=_about(event),
            covers_until=now if now < said.issued_at + _REMEMBERED else None,
        )


def _about(event: SecurityEvent) -> str | None:
    """Why, or which test of ours it echoes: a word that may stand in a log, else nothing."""
    found = event.members.get("reason", event.members.get("state"))
    return found if isinstance(found, str) and _WORD.fullmatch(found) else None
