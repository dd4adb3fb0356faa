"""
The shop's newsletter: a letter with a link of the broker in it, and who probably follows that link.

The link recognises softly (docs/newsletters.md): the page may greet a reader, and shows nothing that belongs to anybody.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from html import escape

import aiosmtplib

from ..website.login import BrokerUnavailable, Login

CAMPAIGN = "winter-letter"

Send = Callable[[EmailMessage], Awaitable[object]]
Words = Mapping[str, str]
"""The letter in one language: ``subject``, ``title``, ``text``, ``button``, ``why``."""


def by_smtp(host: str, port: int) -> Send:
    """Send by the mail server there, which is on this machine: without encryption."""

    async def send(letter: EmailMessage) -> None:
        await aiosmtplib.send(letter, hostname=host, port=port, use_tls=False, start_tls=False, timeout=5)

    return send


class Letters:
    """
    Writes letters, and asks the broker about those who follow their links.

    Args:
        login: our relation to the broker.
        landing_uri: our registered page that the links lead to.
        send: delivers a letter.
        now: the time, aware UTC.
    """

    def __init__(self, login: Login, *, landing_uri: str, send: Send, now: Callable[[], datetime]) -> None:
        self._login = login
        self._landing_uri = landing_uri
        self._send = send
        self._now = now

    async def send_to(self, address: str, language: str, words: Words) -> bool:
        """Send the letter to one reader. False when it could not be sent just now."""
        try:
            link = await self._link(address, language)
            if link is None:
                return False
            await self._send(letter(address, link, language, words, self._now()))
        except (BrokerUnavailable, aiosmtplib.SMTPException, OSError):
            return False
        return True

    async def recognise(self, recognition: str) -> bool:
        """Whether the browser that brought this reference probably is a reader's. The broker tells it once."""
        try:
            answer = await self._login.call_as_site(
                "POST", "/newsletter/recognitions", body={"recognition": recognition}
            )
        except BrokerUnavailable:
            return False
        return answer.status_code == 200

    async def _link(self, address: str, language: str) -> str | None:
        body = {
            "campaign": CAMPAIGN,
            "landing_uri": self._landing_uri,
            "language": language,
            "recipients": [address],
        }
        answer = await self._login.call_as_site("POST", "/newsletter/links", body=body)
        return str(answer.json()["links"][0]) if answer.status_code == 201 else None


def letter(address: str, link: str, language: str, words: Words, now: datetime) -> EmailMessage:
    """The mail, as text and as HTML."""
    mail = EmailMessage()
    mail["From"] = "Nordhjul <brev@nordhjul.example>"
    mail["To"] = address
    mail["Subject"] = words["subject"]
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = make_msgid(domain="nordhjul.example")
    mail.set_content(f"{words['title']}\n\n{words['text']}\n\n{words['button']}:\n{link}\n\n{words['why']}\n")
    said = {name: escape(text) for name, text in words.items()}
    mail.add_alternative(_HTML.format(lang=language, link=escape(link), **said), subtype="html")
    mail["Content-Language"] = language
    return mail


_HTML = """\
<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><title>{subject}</title></head>
<body style="margin:0;background:#f3f7fa;color:#10283b;font:16px/1.6 'Segoe UI',Roboto,'Noto Sans',sans-serif">
<div style="width:calc(100% - 2rem);max-width:34rem;margin:2rem auto;background:#fff;border-radius:12px;overflow:hidden">
<p style="margin:0;padding:1.2rem 2rem;background:#0c2133;color:#fff;font-size:1.3rem;font-weight:800">Nordhjul</p>
<div style="padding:1.6rem 2rem 2rem">
<h1 style="margin:0 0 .8rem;font-size:1.7rem;line-height:1.2">{title}</h1>
<p style="margin:0 0 1.6rem">{text}</p>
<p style="margin:0 0 1.8rem"><a href="{link}" style="display:inline-block;padding:.8rem 1.6rem;border-radius:7px;\
background:#f5a83d;color:#201300;font-weight:700;text-decoration:none">{button}</a></p>
<p style="margin:0;font-size:.85rem;color:#4a6173">{why}</p>
</div></div></body></html>
"""
