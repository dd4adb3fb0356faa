"""
How messages to customers are drawn: a mail that says the same as plain text and as HTML, and a text message of one segment.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import Final, assert_never

from msgspec import Struct

from broker.notify.gsm import SEGMENT_7BIT, size_of, to_gsm7
from broker.notify.ports import Mail

_SHORTEST_NAME: Final = 8


class Digits(Struct, frozen=True):
    """A code on a line of its own, as people read it."""

    text: str


class Link(Struct, frozen=True):
    """``lead``: the sentence before it. ``label``: what the HTML shows of it."""

    lead: str
    url: str
    label: str


Part = str | Digits | Link


def draw_mail(to: str, *, subject: str, language: str, parts: Sequence[Part]) -> Mail:
    """
    A mail to the address *to*.

    No pictures, no style sheets and nothing fetched from anywhere: mail programs show it as it is.
    """
    text = "\n\n".join(_plain(part) for part in parts) + "\n"
    head = (
        f'<meta charset="utf-8"><meta name="format-detection" content="telephone=no"><title>{escape(subject)}</title>'
    )
    body = "\n".join(_html(part) for part in parts)
    html = f'<!doctype html>\n<html lang="{escape(language)}"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    return Mail(to=to, subject=one_line(subject), text=text, html=html)


def draw_sms(name: str, said: Callable[[str], str]) -> str:
    """What *said* makes of a *name* in the GSM 7-bit alphabet: one segment of 160 characters, for which a long name is cut."""
    short = to_gsm7(one_line(name))
    while True:
        text = said(short)
        if size_of(text).units <= SEGMENT_7BIT or len(short) <= _SHORTEST_NAME:
            return text
        short = short[:-2].rstrip(" .") + "."


def one_line(text: str) -> str:
    """security: a name out of the config never ends a header."""
    return " ".join(text.split())


def _plain(part: Part) -> str:
    match part:
        case Digits(text):
            return f"    {text}"
        case Link(lead, url):
            return f"{lead}\n{url}"
        case str():
            return part
    assert_never(part)


def _html(part: Part) -> str:
    match part:
        case Digits(text):
            return f'<p style="font-size:28px;letter-spacing:2px"><strong>{escape(text)}</strong></p>'
        case Link(lead, url, label):
            return f'<p>{escape(lead)}</p>\n<p><a href="{escape(url)}">{escape(label)}</a></p>'
        case str():
            return f"<p>{escape(part)}</p>"
    assert_never(part)
