"""
Passkeys (WebAuthn level 3) as a way in, for customers who added one before.

Rules:
- Any passkey the browser has for us may answer: which customers or passkeys there are is told to nobody.
- A challenge is answered once, within five minutes, in the journey it was made for.
- A login proves what the customer had proven when she added the passkey, while the way in she added it by is hers; and nobody
  becomes a customer by one.
- A counter that goes back says that there is a copy of the key: that is refused and told to the operator; the passkey itself
  stays, for its owner is not the one who did wrong.
- Nobody outside is asked. When our own records are away this way in is, like any provider that is down.
"""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, StringConstraints

from broker.core.assurance import Assurance
from broker.core.identity import Evidence
from broker.core.passkey import counts_as, is_stale, method_words, went_back
from broker.core.policy import Duration, Strict
from broker.core.waiting import AskPasskey
from broker.errors import Stopped, StoreDown, UpstreamDown, UpstreamRefused
from broker.flows.context import Context
from broker.flows.passkeys import CHALLENGE_LIFE, Owned, PasskeyRing
from broker.observe.logging import log
from broker.upstream.port import Begun, Done, Offer, Pending, Reply, ReplyKind, UpstreamAsk
from broker.wire.passkeys import (
    RelyingParty,
    UnverifiedAssertion,
    credential_text,
    read_assertion,
    request_options,
    verify_assertion,
)

_CHALLENGE_BYTES: Final = 64


class PasskeyConnect(Strict):
    """
    The ``connect`` block of an upstream of kind ``passkey``.

    ``rp_id``: the domain passkeys belong to: the issuer's host, or a parent domain of it; None for the host. With another one
    all passkeys are lost. ``add_within``: how fresh a login must be to add one. ``proof_lifetime``: how long a passkey counts
    as what was proven when it was added.
    """

    rp_id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", max_length=253)] | None = None
    add_within: Annotated[Duration, Field(ge=timedelta(minutes=1), le=timedelta(hours=1))] = timedelta(minutes=10)
    proof_lifetime: Annotated[Duration, Field(ge=timedelta(days=1))] = timedelta(days=400)


def relying_party(connect: PasskeyConnect, *, issuer: str, name: str) -> RelyingParty:
    """
    Whom passkeys are for.

    Raises: ValueError: browsers would refuse it (WebAuthn section 5.1.4.1: the domain must be a registrable suffix).
    """
    parts = urlsplit(issuer)
    host = parts.hostname or ""
    domain = connect.rp_id or host
    if not host[-1:].isalpha():
        raise ValueError("passkeys need an issuer with a host name; browsers make none for addresses")
    if domain != host and not (host.endswith(f".{domain}") and "." in domain):
        raise ValueError(f"rp_id must be {host} or a parent domain of it")
    return RelyingParty(domain, name, f"{parts.scheme}://{parts.netloc}")


class _Asked(msgspec.Struct, frozen=True):
    """A challenge, since when it may be answered, and what the page says about it."""

    challenge: bytes
    at: datetime
    message_key: str = "passkey.ask"


class PasskeyConnector:
    """
    The connector; one per process and upstream.

    Args:
        id: of the upstream in the YAML.
        random: that many bytes nobody can guess.
    """

    # What stands behind a passkey may be more, but without attestation nobody knows how well the key is kept.
    reaches = Assurance.SUBSTANTIAL

    def __init__(
        self,
        id: str,
        connect: PasskeyConnect,
        party: RelyingParty,
        ring: PasskeyRing,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.id = id
        self.connect = connect
        self.party = party
        self.ring = ring
        self.random = random

    async def begin(self, ask: UpstreamAsk) -> Begun:
        """Make a challenge."""
        pending = self._ask("passkey.ask", ask.now)
        return Begun(pending.prompt, pending.state)

    async def resume(self, state: bytes, reply: Reply) -> Done | Pending:
        """Take the browser's answer (``passkey``), or make another challenge (``again``)."""
        if reply.kind is not ReplyKind.ACT:
            raise UpstreamRefused("nobody sends anybody back here", code="passkey.callback")
        match reply.data.get("do"):
            case "passkey":
                try:
                    return await self._answered(_decoded(state), reply)
                except StoreDown as error:
                    raise UpstreamDown("the passkeys on record are out of reach", code="passkey.records") from error
            case "cancel":
                raise Stopped("customer cancelled on our page", code="passkey.cancelled")
            case _:
                return self._ask("passkey.ask", reply.now)

    def view(self, state: bytes, now: datetime) -> AskPasskey:
        """What the browser is to be asked."""
        return self._page(_decoded(state))

    def is_due(self, state: bytes, now: datetime) -> bool:
        """Never: there is nobody to ask."""
        return False

    async def cancel(self, state: bytes) -> None:
        """Nothing runs elsewhere."""

    async def close(self) -> None:
        """Nothing is open."""

    def offer(self, secret: str, now: datetime) -> Offer:
        """A challenge that follows from *secret* and the time."""
        mark = str(int(now.timestamp()))
        return Offer(request_options(self.party.id, self.ring.derived(secret, mark)), mark)

    def taken_up(self, secret: str, mark: str, now: datetime) -> bytes:
        """The state of the login that `offer` would have begun."""
        seconds = int(mark) if mark.isascii() and mark.isdigit() and len(mark) <= 12 else -1
        if not 0 <= seconds <= now.timestamp():
            raise UpstreamRefused("no offer was marked so", code="passkey.mark")
        at = datetime.fromtimestamp(seconds, tz=now.tzinfo)
        return msgspec.msgpack.encode(_Asked(self.ring.derived(secret, mark), at))

    def _ask(self, message_key: str, now: datetime) -> Pending:
        asked = _Asked(self.random(_CHALLENGE_BYTES), now, message_key)
        return Pending(self._page(asked), msgspec.msgpack.encode(asked))

    def _page(self, asked: _Asked) -> AskPasskey:
        return AskPasskey(request_options(self.party.id, asked.challenge), asked.message_key)

    async def _answered(self, asked: _Asked, reply: Reply) -> Done | Pending:
        if reply.now - asked.at > CHALLENGE_LIFE:
            return self._ask("passkey.late", reply.now)
        if "credential" not in reply.data:
            return self._ask("passkey.no_script", reply.now)
        unverified = read_assertion(reply.data["credential"])
        if not await self.ring.first_use(asked.challenge):
            raise UpstreamRefused("the challenge was answered before", code="passkey.replayed")
        owned = await self.ring.find(self.ring.lookup(credential_text(unverified.id)))
        if owned is None or not await self.ring.rests_on_hers(owned):
            advice = "notice.passkey_unknown"
            raise UpstreamRefused("no such passkey (any more)", code="passkey.unknown", message_key=advice)
        if unverified.user_handle != owned.passkey.user_handle:
            raise UpstreamRefused("the passkey is another user's", code="passkey.user")
        await self._check(unverified, owned, asked)
        return Done(self.evidence(owned, reply.now))

    async def _check(self, unverified: UnverifiedAssertion, owned: Owned, asked: _Asked) -> None:
        """Raises: UpstreamRefused."""
        assertion = verify_assertion(
            unverified, expected_challenge=asked.challenge, party=self.party, public_key=owned.passkey.public_key
        )
        is_copied = went_back(known=owned.record.counter, counter=assertion.counter)
        if not is_copied:
            # Somebody who used it elsewhere at the same moment, with this count or one beyond, has a copy too.
            counted = await self.ring.count(owned, counter=assertion.counter, is_backed_up=assertion.is_backed_up)
            is_copied = not counted and await self.ring.find(owned.lookup) is not None
        if is_copied:
            log("passkey.counter", "error", upstream=self.id, passkey=owned.lookup, known=owned.record.counter)
            self.ring.alarm(owned)
            raise UpstreamRefused("its counter went back", code="passkey.counter", message_key="notice.passkey_copied")

    def evidence(self, owned: Owned, now: datetime) -> Evidence:
        """What a login by *owned* proves at *now*."""
        passkey, lifetime = owned.passkey, self.connect.proof_lifetime
        assurance, contacts = counts_as(passkey.proof, lifetime=lifetime, now=now)
        return Evidence(
            upstream=self.id,
            issuer=self.ring.issuer,
            subject=credential_text(passkey.id),
            assurance=assurance,
            amr=method_words(is_synced=passkey.is_synced),
            authenticated_at=now,
            contacts=contacts,
            signals=("passkey.stale_proof",) if is_stale(passkey.proof, lifetime=lifetime, now=now) else (),
            session=owned.lookup,
            is_of_known=True,
            contact_proven_at=passkey.proof.proven_at,
        )


def passkey_connector(id: str, connect: PasskeyConnect, context: Context) -> PasskeyConnector:
    """
    The connector for a broker.

    Raises: ValueError: as `relying_party`.
    """
    broker = context.policy().broker
    party = relying_party(connect, issuer=broker.issuer, name=broker.name)
    return PasskeyConnector(id, connect, party, PasskeyRing(context, f"passkey:{party.id}"))


def _decoded(state: bytes) -> _Asked:
    return msgspec.msgpack.decode(state, type=_Asked)
