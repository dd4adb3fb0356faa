"""
Where a customer adds and removes her passkeys; the page for it is `broker.pages.passkeys`.

Whoever adds a passkey keeps a way in. So it takes a login a few minutes old, by a way that may be used to add others, and the
customer hears of it where she is known to be reached.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from broker.core.identity import ContactKind
from broker.core.passkey import OwnPasskey, Passkey, Unfit, first_name, is_stale, unfit
from broker.core.session import Profile, Session
from broker.errors import BadAsk, Denied
from broker.flows.context import Context
from broker.flows.passkeys import Ticket
from broker.flows.values import Visitor
from broker.notify.courier import Courier
from broker.notify.ports import Accepted, Mail, Messages, Sent, Sms
from broker.observe.logging import log
from broker.upstream.passkey import PasskeyConnector
from broker.upstream.port import Connector
from broker.web.hub import Addition
from broker.wire.passkeys import Credential, creation_options, credential_text, verify_registration

_HANDLE_BYTES: Final = 64
_CHALLENGE_BYTES: Final = 64

_ADDED: Final[Mapping[str, tuple[str, str]]] = {
    "sv": (
        "Ny nyckel för inloggning",
        "En nyckel (passkey) har lagts till för att logga in dig hos {broker}.\n\n"
        "Var det inte du? Ta bort den på {page} och kontakta oss.\n",
    ),
    "fi": (
        "Uusi avain kirjautumiseen",
        "Sinulle on lisätty avain (passkey), jolla voi kirjautua palveluun {broker}.\n\n"
        "Etkö se ollut sinä? Poista se sivulla {page} ja ota meihin yhteyttä.\n",
    ),
    "pl": (
        "Nowy klucz do logowania",
        "Dodano klucz (passkey), którym można zalogować się jako Ty w {broker}.\n\n"
        "To nie Ty? Usuń go na stronie {page} i skontaktuj się z nami.\n",
    ),
    "en": (
        "New passkey",
        "A passkey was added that logs you in at {broker}.\n\nWas it not you? Remove it at {page} and contact us.\n",
    ),
}
_REMOVED: Final[Mapping[str, tuple[str, str]]] = {
    "sv": (
        "En nyckel togs bort",
        "En nyckel (passkey) som loggade in dig hos {broker} har tagits bort.\n\n"
        "Var det inte du? Se över dina sätt att logga in på {page} och kontakta oss.\n",
    ),
    "fi": (
        "Avain poistettu",
        "Avain (passkey), jolla kirjauduit palveluun {broker}, on poistettu.\n\n"
        "Etkö se ollut sinä? Tarkista kirjautumistapasi sivulla {page} ja ota meihin yhteyttä.\n",
    ),
    "pl": (
        "Usunięto klucz",
        "Usunięto klucz (passkey), którym logowano się jako Ty w {broker}.\n\n"
        "To nie Ty? Sprawdź sposoby logowania na stronie {page} i skontaktuj się z nami.\n",
    ),
    "en": (
        "Passkey removed",
        "A passkey that logged you in at {broker} was removed.\n\n"
        "Was it not you? Check your ways to log in at {page} and contact us.\n",
    ),
}


class PasskeyDesk:
    """
    One per process; closed when no upstream of kind ``passkey`` could be started (`broker.web.hub.PasskeyDesk`).
    """

    def __init__(self, context: Context, connectors: Mapping[str, Connector], messages: Messages) -> None:
        self._c = context
        self._messages = messages
        self._courier = Courier()
        found = (each for each in connectors.values() if isinstance(each, PasskeyConnector))
        self._connector = next(found, None)

    @property
    def is_open(self) -> bool:
        """Whether there are passkeys at this broker."""
        return self._connector is not None

    async def of(self, session: Session) -> Sequence[OwnPasskey]:
        """Hers, the oldest first."""
        if self._connector is None:
            return ()
        lifetime, now = self._connector.connect.proof_lifetime, self._c.now()
        ways = {each.lookup for each in await self._c.records.identities_of(session.customer)} | {""}
        return [
            OwnPasskey(
                id=each.lookup,
                name=each.passkey.name,
                added_at=each.record.identity.created_at,
                used_at=each.record.identity.last_used_at,
                is_synced=each.passkey.is_synced,
                is_stale=is_stale(each.passkey.proof, lifetime=lifetime, now=now) or each.passkey.proof.way not in ways,
                is_here=each.lookup == session.upstream_sid,
            )
            for each in await self._connector.ring.of_customer(session.customer)
        ]

    async def wants_hint(self, session: Session) -> bool:
        """Whether she is to be told that she could have one: where she can add it, and did not say no."""
        if self._connector is None or self.unfit(session) is Unfit.MAY_NOT:
            return False
        return await self._connector.ring.wants_hint(session.customer)

    async def dismiss_hint(self, session: Session) -> None:
        """She does not want to be told."""
        await self._open().ring.dismiss_hint(session.customer)

    def unfit(self, session: Session) -> Unfit | None:
        """Why she cannot add one in this session."""
        upstream = self._c.policy().config.upstreams.get(session.upstream)
        may = upstream is not None and upstream.may_bootstrap_other_methods
        return unfit(session, may_bootstrap=may, within=self._open().connect.add_within, now=self._c.now())

    async def offer(self, visitor: Visitor, session: Session) -> Addition:
        """Begin to add one. Raises: BadAsk: in this session she cannot."""
        connector = self._fit(session)
        owned = await connector.ring.of_customer(session.customer)
        # All of hers have one handle, so that a device lists her once; whoever comes first makes it up.
        handle = owned[0].passkey.user_handle if owned else connector.random(_HANDLE_BYTES)
        ticket = Ticket(connector.random(_CHALLENGE_BYTES), handle)
        options = creation_options(
            connector.party,
            user_handle=handle,
            user_name=_called(session.profile) or connector.party.name,
            challenge=ticket.challenge,
            exclude=[Credential(each.passkey.id, each.passkey.transports) for each in owned],
        )
        return Addition(options, connector.ring.seal_ticket(visitor, ticket))

    async def add(self, visitor: Visitor, session: Session, ticket: str, unverified: str) -> bool:
        """Her browser answered; see `broker.web.hub.PasskeyDesk.add`."""
        connector = self._fit(session)
        taken = await connector.ring.take_ticket(visitor, ticket)
        made = verify_registration(unverified, expected_challenge=taken.challenge, party=connector.party)
        proof = await connector.ring.proof_in(session)
        if proof is None:
            raise BadAsk("the passkey of this session is gone", code="passkey.not_hers")
        passkey = Passkey(
            id=made.id,
            public_key=made.public_key,
            user_handle=taken.user_handle,
            transports=made.transports,
            aaguid=made.aaguid,
            is_synced=made.is_synced,
            name=first_name(made.aaguid, session.device),
            proof=proof,
        )
        is_added = await connector.ring.add(
            session,
            connector.id,
            credential_text(made.id),
            passkey,
            counter=made.counter,
            is_backed_up=made.is_backed_up,
        )
        if is_added is not None:
            await self._tell(session, visitor, _ADDED)
        return is_added is not None

    async def rename(self, session: Session, passkey: str, name: str) -> None:
        """Raises: BadAsk: not hers, or no name."""
        await self._open().ring.rename(session, passkey, name)

    def may_remove(self, session: Session) -> bool:
        """Whether she proved lately enough who she is to take one away."""
        return self._open().ring.is_fresh(session)

    async def remove(self, visitor: Visitor, session: Session, passkey: str) -> bool:
        """Take it away; see `broker.web.hub.PasskeyDesk.remove`."""
        await self._open().ring.remove(session, passkey)
        await self._tell(session, visitor, _REMOVED)
        return session.upstream_sid == passkey

    async def close(self) -> None:
        """Let messages under way go out."""
        await self._courier.close()

    def _open(self) -> PasskeyConnector:
        if self._connector is None:
            raise Denied("there are no passkeys here", code="passkey.closed")
        return self._connector

    def _fit(self, session: Session) -> PasskeyConnector:
        """security: asked again when the answer comes, for the page may have stood open."""
        connector = self._open()
        if (why := self.unfit(session)) is not None:
            raise BadAsk(f"no passkey in this session: {why.value}", code=f"passkey.{why.value}")
        return connector

    async def _tell(self, session: Session, visitor: Visitor, words: Mapping[str, tuple[str, str]]) -> None:
        """
        Write to the customer, at every mailbox she is known by, else by text message.

        security: to what was on file before as well, which is not the address of whoever sits here, if it is not her.
        """
        subject, text = words.get(visitor.language, words["en"])
        broker = self._c.policy().broker
        text = text.format(broker=broker.name, page=f"{broker.issuer}/shared")
        reached = await self._open().ring.contacts_of(session)
        mailboxes = [value for kind, value in reached if kind is ContactKind.EMAIL]
        numbers = [value for kind, value in reached if kind is ContactKind.PHONE]
        if mailboxes and (mail := self._messages.mail) is not None:
            for address in mailboxes:
                letter = Mail(address, subject, text)
                self._courier.post(partial(mail.send, letter, self._c.tokens.id()), self._sent)
        elif (sms := self._messages.sms) is not None:
            for number in numbers:
                self._courier.post(partial(sms.send, Sms(number, text), self._c.tokens.id()), self._sent)

    async def _sent(self, sent: Sent) -> None:
        if not isinstance(sent, Accepted):
            log("passkey.notice_failed", "warning", kind=type(sent).__name__, code=sent.code)


def _called(profile: Profile) -> str | None:
    return profile.email or profile.phone_number or profile.name
