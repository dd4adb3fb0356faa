"""
Single logout with a SAML provider (saml-profiles-2.0-os, section 4.4), through the customer's browser: we ask it to end its
session when she logs out here, and end ours when it asks.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from broker.core.changing import replace
from broker.core.discreet import Discreet
from broker.core.naming import name_of
from broker.core.saml import POST, REDIRECT, Endpoint, SamlProvider, WayToSend, endpoint_for
from broker.errors import BadAsk, UpstreamDown
from broker.upstream.port import LeaveAnswered, LeaveAsked, LeaveSent, PostForm, Redirect
from broker.upstream.saml_messages import sent, signing_keys
from broker.wire.saml import posted, redirect, xml
from broker.wire.saml.algorithms import Signature
from broker.wire.saml.answer import SUCCESS
from broker.wire.saml.encryption import recipient_of
from broker.wire.saml.keys import DecryptingKey, SigningKey, VerifyingKey
from broker.wire.saml.leaving import (
    TheirName,
    logout_request,
    logout_response,
    read_logout_request,
    read_logout_response,
)
from broker.wire.saml.message import Head
from broker.wire.saml.redirect import Redirected
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.response import MAX_AGE, ReadResponse
from broker.wire.saml.signature import is_signed, verified
from broker.wire.saml.xml import Element

PATH: Final = "/slo"
_VALID: Final = timedelta(minutes=5)
_MAX_NAME: Final = 1024
_MAX_INDEX: Final = 256
_MAX_ELEMENTS: Final = 300
"""security: of a message that anybody may send; checking one against the schema takes longest where it follows it least."""


class _Left(msgspec.Struct, frozen=True, array_like=True):
    """A session at a provider, as it named it: ``own``: who we were to it."""

    issuer: str
    own: str
    name: str
    format: str | None
    qualifier: str | None
    sp_qualifier: str | None
    index: str | None


class Terms(Discreet, frozen=True):
    """
    How the provider ``entity_id`` is spoken to. ``find``: what it says of itself now. ``own``: who we are to it, by our address
    there. ``key``, ``algorithm``: what we sign by; ``signatures``, ``encryption``: what is accepted.
    """

    UNSPOKEN = frozenset({"decrypting"})

    entity_id: str
    find: Callable[[], Awaitable[SamlProvider]]
    own: Callable[[str], str]
    key: SigningKey
    algorithm: Signature
    decrypting: Sequence[DecryptingKey]
    signatures: Collection[Signature]
    encryption: Collection[str]
    least_rsa_bits: int
    skew: timedelta
    binding: WayToSend | None
    new_id: Callable[[], str]


def kept(read: ReadResponse, provider: SamlProvider, own: str) -> tuple[str, bytes] | None:
    """
    What is kept of a login for its logout: our name for the provider's session, and what ends it there; None where the provider
    says no address for that, or has no name for her.
    """
    texts = (read.name_id_format, read.name_qualifier, read.name_sp_qualifier)
    if read.name_id is None or endpoint_for(provider.slo) is None or len(read.session_index or "") > _MAX_INDEX:
        return None
    if any(len(each or "") > _MAX_NAME for each in (read.name_id, *texts)):
        return None
    left = _Left(provider.entity_id, own, read.name_id, *texts, read.session_index)
    return session_name(read.name_id), msgspec.msgpack.encode(left)


def session_name(name_id: str) -> str:
    """What sessions are found by that a provider asks to end: says nothing of its NameID."""
    return name_of(f"saml-name-id {name_id}")


class SamlLogout:
    """See `broker.upstream.port.SingleLogout`."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    async def leave(self, left: bytes, *, now: datetime) -> LeaveSent:
        """Ask to end her session there. Raises: UpstreamDown."""
        terms, known, provider = self._terms, msgspec.msgpack.decode(left, type=_Left), await self._terms.find()
        if known.issuer != provider.entity_id:
            raise UpstreamDown("she had logged in at another provider of this name", code="saml.slo")
        name = TheirName(known.name, known.format, known.qualifier, known.sp_qualifier)
        try:
            to = recipient_of(provider.keys)
        except XmlRefused as refused:
            # security: fails closed; a name that was told under encryption does not travel without.
            raise UpstreamDown("her name cannot be encrypted to the provider", code=refused.code) from None
        where = self._where(provider, is_sealed=to is not None)
        head = Head(terms.new_id(), known.own, now, where.location)
        message = logout_request(head, name, known.index, now + _VALID, to=to)
        return LeaveSent(head.id, sent(message, "SAMLRequest", where, None, key=terms.key, algorithm=terms.algorithm))

    async def taken(
        self, message: str | Mapping[str, str], *, address: str, now: datetime
    ) -> LeaveAsked | LeaveAnswered:
        """What a message of the provider's says. Raises: BadAsk, UpstreamDown."""
        provider = await self._terms.find()
        try:
            return self._read(message, provider, f"{address}{PATH}", now)
        except XmlRefused as refused:
            raise BadAsk(f"the message is refused: {refused.detail}", code=refused.code) from None

    def is_meant(self, left: bytes | None, asked: LeaveAsked) -> bool:
        """
        Its index is one of those that are named; without any, all are meant (saml-core-2.0-os, section 3.7.3.1).

        security: a provider that took the place of another in the config does not end what that one began.
        """
        known = msgspec.msgpack.decode(left, type=_Left) if left is not None else None
        if known is None or known.issuer != self._terms.entity_id:
            return False
        return not asked.indexes or known.index in asked.indexes

    async def answer(self, asked: LeaveAsked, *, address: str, now: datetime) -> Redirect | PostForm:
        """Say that it was done. Raises: UpstreamDown."""
        terms, provider = self._terms, await self._terms.find()
        where = self._where(provider, is_sealed=True)
        head = Head(terms.new_id(), terms.own(address), now, where.answers_to, asked.request_id)
        there = replace(where, location=where.answers_to)
        message = logout_response(head, SUCCESS)
        return sent(message, "SAMLResponse", there, asked.relay_state, key=terms.key, algorithm=terms.algorithm)

    def _where(self, provider: SamlProvider, *, is_sealed: bool) -> Endpoint:
        """A name that is in the clear goes by POST, where there is a choice: addresses are kept in histories and logs."""
        preferred: WayToSend | None = self._terms.binding or (None if is_sealed else "post")
        found = endpoint_for(provider.slo, preferred) or endpoint_for(provider.slo)
        if found is None:
            raise UpstreamDown("the provider has no address for logging out", code="saml.slo")
        return found

    def _read(
        self, message: str | Mapping[str, str], provider: SamlProvider, here: str, now: datetime
    ) -> LeaveAsked | LeaveAnswered:
        keys = signing_keys(provider, self._terms.least_rsa_bits)
        is_answer, relay_state, root = self._verified(message, keys)
        if is_answer:
            answer = read_logout_response(root)
            self._check_head(answer.head, here, now)
            return LeaveAnswered(answer.head.in_response_to or "", answer.is_done, answer.is_partial)
        asked = read_logout_request(root, self._terms.decrypting, allowed=self._terms.encryption)
        self._check_head(asked.head, here, now)
        if asked.until is not None and asked.until <= now - self._terms.skew:
            raise XmlRefused("time", "the logout request is void by now")
        name = session_name(asked.name_id)
        return LeaveAsked(asked.head.id, name, asked.session_indexes, asked.head.issued_at, relay_state)

    def _verified(
        self, message: str | Mapping[str, str], keys: tuple[VerifyingKey, ...]
    ) -> tuple[bool, str | None, Element]:
        """Whether it is an answer, its RelayState, and its content, which was signed (saml2int SDP-IDP26, 30)."""
        signatures = self._terms.signatures
        if isinstance(message, str):
            came = redirect.decode(message)
            root = _parsed(came.octets)
            redirect.verify(came, keys, allowed=signatures)
            if is_signed(root):
                root = xml.parse(verified(root, keys, allowed=signatures))
            return came.field == "SAMLResponse", came.relay_state, root
        came = _posted(message)
        root = xml.parse(verified(_parsed(came.octets), keys, allowed=signatures))
        return came.field == "SAMLResponse", came.relay_state, root

    def _check_head(self, head: Head, here: str, now: datetime) -> None:
        if head.issuer != self._terms.entity_id:
            raise XmlRefused("issuer")
        if head.destination != here:
            raise XmlRefused("destination")
        if not now - MAX_AGE - self._terms.skew <= head.issued_at <= now + self._terms.skew:
            raise XmlRefused("time")


def _posted(members: Mapping[str, str]) -> Redirected:
    fields = [each for each in ("SAMLRequest", "SAMLResponse") if each in members]
    if len(fields) != 1:
        raise XmlRefused("query", "not one message")
    relay_state = members.get("RelayState") or None
    if len((relay_state or "").encode()) > redirect.MAX_RELAY_STATE:
        raise XmlRefused("relay_state")
    is_answer = fields[0] == "SAMLResponse"
    return Redirected(
        "SAMLResponse" if is_answer else "SAMLRequest", posted.decode(members[fields[0]]), relay_state, None
    )


def _parsed(octets: bytes) -> Element:
    root = xml.parse(octets, max_elements=_MAX_ELEMENTS)
    xml.schema_check(root)
    return root


def endpoints_of(address: str) -> tuple[Endpoint, ...]:
    """Where the provider's messages come to, for our metadata."""
    return tuple(Endpoint(binding, f"{address}{PATH}") for binding in (REDIRECT, POST))
