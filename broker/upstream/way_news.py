"""
Telling a customer, at the contacts on file from before, that a way to log in was added or taken out.

security: whoever sits at her session cannot keep it from her. What goes out names the way and where to undo it, and opens
nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from broker.core.identity import ContactKind
from broker.flows.context import Context
from broker.flows.links import OnFile
from broker.notify.courier import Courier
from broker.notify.ports import Accepted, Mail, Messages, Sent, Sms
from broker.observe.logging import log

Words = Mapping[str, tuple[str, str]]
"""Subject and text by language; ``{method}``, ``{broker}``, ``{page}`` and ``{at}`` are filled in."""

_ADDED: Final[Words] = {
    "sv": (
        "Ett nytt sätt att logga in",
        "{method} kan nu öppna ditt konto hos {broker} (tillagt {at}). Alla andra webbläsare har loggats ut.\n\n"
        "Var det inte du? Ta bort det här: {page}\n",
    ),
    "fi": (
        "Uusi kirjautumistapa",
        "{method} avaa nyt tilisi palvelussa {broker} (lisätty {at}). Kaikki muut selaimet on kirjattu ulos.\n\n"
        "Etkö se ollut sinä? Poista se täällä: {page}\n",
    ),
    "pl": (
        "Nowy sposób logowania",
        "{method} otwiera teraz Twoje konto w {broker} (dodano {at}). Wszystkie inne przeglądarki zostały wylogowane.\n\n"
        "To nie Ty? Usuń go tutaj: {page}\n",
    ),
    "en": (
        "A new way to log in",
        "{method} can now open your account at {broker} (added {at}). All other browsers were logged out.\n\n"
        "Was it not you? Remove it here: {page}\n",
    ),
}

_REMOVED: Final[Words] = {
    "sv": (
        "Ett sätt att logga in togs bort",
        "{method} öppnar inte längre ditt konto hos {broker} (borttaget {at}).\n\nVar det inte du? Återställ det här: {page}\n",
    ),
    "fi": (
        "Kirjautumistapa poistettiin",
        "{method} ei enää avaa tiliäsi palvelussa {broker} (poistettu {at}).\n\n"
        "Etkö se ollut sinä? Palauta se täällä: {page}\n",
    ),
    "pl": (
        "Usunięto sposób logowania",
        "{method} nie otwiera już Twojego konta w {broker} (usunięto {at}).\n\nTo nie Ty? Przywróć go tutaj: {page}\n",
    ),
    "en": (
        "A way to log in was removed",
        "{method} no longer opens your account at {broker} (removed {at}).\n\nWas it not you? Bring it back here: {page}\n",
    ),
}


class WayNews:
    """`broker.flows.links.News` by mail to all mailboxes on file, else by text message. One per process."""

    def __init__(self, context: Context, messages: Messages) -> None:
        self._c = context
        self._messages = messages
        self._courier = Courier()

    def way_added(self, contacts: Sequence[OnFile], *, upstream: str, language: str, at: datetime) -> None:
        """See `News.way_added`."""
        self._tell(contacts, _ADDED, upstream, language, at)

    def way_removed(self, contacts: Sequence[OnFile], *, upstream: str, language: str, at: datetime) -> None:
        """See `News.way_removed`."""
        self._tell(contacts, _REMOVED, upstream, language, at)

    async def close(self) -> None:
        """Let messages under way go out."""
        await self._courier.close()

    def _tell(self, contacts: Sequence[OnFile], words: Words, upstream: str, language: str, at: datetime) -> None:
        subject, text = words.get(language, words["en"])
        policy = self._c.policy()
        known = policy.config.upstreams.get(upstream)
        text = text.format(
            method=policy.text(known.titles, language) if known else upstream,
            broker=policy.broker.name,
            page=f"{policy.issuer}/shared",
            at=at.strftime("%Y-%m-%d %H:%M UTC"),
        )
        mailboxes = [each.value for each in contacts if each.kind is ContactKind.EMAIL]
        if mailboxes and (mail := self._messages.mail) is not None:
            for address in mailboxes:
                self._courier.post(partial(mail.send, Mail(address, subject, text), self._c.tokens.id()), self._sent)
        elif (sms := self._messages.sms) is not None:
            for number in (each.value for each in contacts if each.kind is ContactKind.PHONE):
                self._courier.post(partial(sms.send, Sms(number, text), self._c.tokens.id()), self._sent)

    async def _sent(self, sent: Sent) -> None:
        if not isinstance(sent, Accepted):
            log("link.notice_failed", "warning", kind=type(sent).__name__, code=sent.code)
