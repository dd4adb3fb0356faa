"""
The words of the messages whose code is read out to customer service, in the languages of the broker.

They differ from those of logins (`broker.upstream.code_texts`) from the first word on, so that nobody takes one for the other: a
code for logging in is told to nobody, this one to one person. A text message is one segment of 160 characters in the GSM 7-bit
alphabet, and has no last line for browsers, which would fill the code into a page.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from broker.notify.gsm import to_gsm7
from broker.notify.ports import Mail
from broker.upstream.drawing import Digits, draw_mail, draw_sms
from broker.upstream.one_time_code import Letter, grouped


class _Words(Struct, frozen=True):
    """Each sentence once; ``{party}``, ``{minutes}``, ``{code}`` are filled in."""

    subject: str
    why: str
    where: str
    not_you: str
    sms: str


_WORDS: Final[Mapping[str, _Words]] = {
    "sv": _Words(
        subject="Kod att läsa upp för kundtjänst hos {party}",
        why="Du talar i telefon med kundtjänst hos {party}. Läs upp den här koden för dem, och för ingen annan:",
        where="Den bekräftar att adressen är din och gäller i {minutes} minuter. Den loggar inte in någonstans.",
        not_you="Talar du inte med {party} just nu? Läs då inte upp koden för någon. Utan den händer ingenting.",
        sms="Kundtjänst hos {party}: läs koden {code} för den du talar med nu och ingen annan. Ringde du inte? Lägg på.",
    ),
    "fi": _Words(
        subject="Asiakaspalvelulle luettava koodi: {party}",
        why="Puhut puhelimessa asiakaspalvelun kanssa: {party}. Lue tämä koodi heille, älä kenellekään muulle:",
        where="Se vahvistaa, että osoite on sinun, ja on voimassa {minutes} minuuttia. Sillä ei kirjauduta mihinkään.",
        not_you="Etkö puhu juuri nyt puhelimessa: {party}? Älä lue koodia kenellekään. Ilman sitä mitään ei tapahdu.",
        sms="Asiakaspalvelu {party}: lue koodi {code} sille, jonka kanssa puhut nyt, älä muille. Etkö soittanut? Sulje puhelu.",
    ),
    "pl": _Words(
        subject="Kod do odczytania w biurze obsługi klienta {party}",
        why="Rozmawiasz przez telefon z biurem obsługi klienta {party}. Odczytaj ten kod tej osobie i nikomu innemu:",
        where="Potwierdza, że to Twój adres, i jest ważny przez {minutes} min. Nie służy do logowania.",
        not_you="Nie rozmawiasz teraz z {party}? Nie podawaj nikomu tego kodu. Bez niego nic się nie stanie.",
        sms="Biuro klienta {party}: odczytaj kod {code} osobie, z którą rozmawiasz, i nikomu innemu. Nie Ty? Rozłącz się.",
    ),
    "en": _Words(
        subject="A code to read out to customer service of {party}",
        why="You are on the phone with customer service of {party}. Read this code to them, and to nobody else:",
        where="It confirms that the address is yours and works for {minutes} minutes. It does not log in anywhere.",
        not_you="Are you not talking to {party} right now? Then read the code to nobody. Nothing happens without it.",
        sms="Customer service of {party}: read the code {code} to whom you talk to now and to nobody else. Not calling? Hang up.",
    ),
}


def call_mail_of(letter: Letter, to: str) -> Mail:
    """*letter* as a mail to the address *to*, as plain text and as HTML that says the same."""
    words = _WORDS.get(letter.language, _WORDS["en"])
    parts = (
        _said(words.why, letter),
        Digits(grouped(letter.code)),
        _said(words.where, letter),
        _said(words.not_you, letter),
    )
    return draw_mail(to, subject=_said(words.subject, letter), language=letter.language, parts=parts)


def call_sms_of(letter: Letter) -> str:
    """*letter* as a text message of one segment; a long name is cut."""
    words = _WORDS.get(letter.language, _WORDS["en"])
    return draw_sms(letter.partner, lambda name: to_gsm7(words.sms.format(party=name, code=letter.code)))


def _said(sentence: str, letter: Letter) -> str:
    return sentence.format(party=letter.partner, minutes=letter.minutes, code=letter.code)
