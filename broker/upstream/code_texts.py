"""
The words of the messages with codes, in the languages of the broker.

A mail names the partner, the broker and the address where the code belongs; a text message is one segment of 160 characters in
the GSM 7-bit alphabet, its last line being for browsers that fill the code in (`broker.notify.gsm.with_code_line`).
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from broker.notify.gsm import to_gsm7, with_code_line
from broker.notify.ports import Mail
from broker.upstream.drawing import Digits, Link, Part, draw_mail, draw_sms
from broker.upstream.one_time_code import Letter, grouped


class _Words(Struct, frozen=True):
    """Each sentence once; ``{partner}``, ``{broker}``, ``{origin}``, ``{minutes}``, ``{code}`` are filled in."""

    subject: str
    why: str
    where: str
    link: str
    link_label: str
    never: str
    not_you: str
    stop: str
    stop_label: str
    sms: str


_WORDS: Final[Mapping[str, _Words]] = {
    "sv": _Words(
        subject="Din kod för att logga in hos {partner}",
        why="Här är koden för att logga in hos {partner} via {broker}:",
        where="Skriv den på sidan där du började, {origin}. Den gäller i {minutes} minuter.",
        link="Eller öppna länken i samma webbläsare och tryck på knappen:",
        link_label="Logga in hos {partner}",
        never="Ge aldrig koden till någon, inte heller till den som säger sig ringa från {partner} eller {broker}.",
        not_you="Var det inte du? Då har kanske någon skrivit fel adress. Ingen kommer in utan koden.",
        stop="Du kan stoppa inloggningen här:",
        stop_label="Det var inte jag",
        sms="{code} är din kod för {partner}. Ge den aldrig till någon.",
    ),
    "fi": _Words(
        subject="Kirjautumiskoodisi palveluun {partner}",
        why="Tällä koodilla kirjaudut palveluun {partner} palvelun {broker} kautta:",
        where="Kirjoita se sivulle, jolla aloitit: {origin}. Koodi on voimassa {minutes} minuuttia.",
        link="Tai avaa linkki samassa selaimessa ja paina painiketta:",
        link_label="Kirjaudu palveluun {partner}",
        never="Älä koskaan anna koodia kenellekään, et myöskään soittajalle, joka sanoo edustavansa palvelua {partner}"
        " tai {broker}.",
        not_you="Etkö se ollut sinä? Ehkä joku kirjoitti osoitteen väärin. Ilman koodia kukaan ei pääse sisään.",
        stop="Voit pysäyttää kirjautumisen tästä:",
        stop_label="Se en ollut minä",
        sms="{code} on koodisi palveluun {partner}. Älä anna sitä kenellekään.",
    ),
    "pl": _Words(
        subject="Twój kod logowania do {partner}",
        why="Oto kod logowania do {partner} przez {broker}:",
        where="Wpisz go na stronie, na której zaczęto logowanie: {origin}. Kod jest ważny przez {minutes} min.",
        link="Możesz też otworzyć link w tej samej przeglądarce i nacisnąć przycisk:",
        link_label="Zaloguj się do {partner}",
        never="Nigdy nie podawaj kodu nikomu, także osobie, która mówi, że dzwoni z {partner} lub {broker}.",
        not_you="To nie Ty? Być może ktoś pomylił adres. Bez kodu nikt się nie zaloguje.",
        stop="Tutaj możesz zatrzymać logowanie:",
        stop_label="To nie ja",
        sms="{code} to Twój kod do {partner}. Nigdy nie podawaj go nikomu.",
    ),
    "en": _Words(
        subject="Your code for logging in to {partner}",
        why="Here is the code for logging in to {partner} through {broker}:",
        where="Type it on the page where you began, {origin}. It works for {minutes} minutes.",
        link="Or open this link in the same browser and press the button:",
        link_label="Log in to {partner}",
        never="Never give the code to anybody, not even to somebody who says they call from {partner} or {broker}.",
        not_you="Was this not you? Perhaps somebody mistyped an address. Nobody gets in without the code.",
        stop="You can stop the login here:",
        stop_label="It was not me",
        sms="{code} is your code for {partner}. Never give it to anybody.",
    ),
}


def mail_of(letter: Letter, to: str) -> Mail:
    """*letter* as a mail to the address *to*, as plain text and as HTML that says the same."""
    words = _WORDS.get(letter.language, _WORDS["en"])
    parts: list[Part] = [_said(words.why, letter), Digits(grouped(letter.code)), _said(words.where, letter)]
    if letter.link:
        parts.append(Link(words.link, letter.link, _said(words.link_label, letter)))
    parts += [_said(words.never, letter), words.not_you]
    if letter.disown_link:
        parts.append(Link(words.stop, letter.disown_link, words.stop_label))
    return draw_mail(to, subject=_said(words.subject, letter), language=letter.language, parts=parts)


def sms_of(letter: Letter) -> str:
    """*letter* as a text message of one segment; a long name of a partner is cut."""
    words = _WORDS.get(letter.language, _WORDS["en"])
    host = urlsplit(letter.origin).hostname or ""

    def said(name: str) -> str:
        return with_code_line(to_gsm7(words.sms.format(code=letter.code, partner=name)), host=host, code=letter.code)

    return draw_sms(letter.partner, said)


def _said(sentence: str, letter: Letter) -> str:
    return sentence.format(
        partner=letter.partner,
        broker=letter.broker,
        origin=letter.origin,
        minutes=letter.minutes,
        code=letter.code,
    )
