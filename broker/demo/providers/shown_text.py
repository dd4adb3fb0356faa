"""Texts that strangers wrote, on the pages of the simulated mailbox and phone: escaped, with links that can be followed."""

import re
from typing import Final
from urllib.parse import urlsplit

from markupsafe import Markup, escape

_LINK: Final = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]")
_CODE_LINE: Final = re.compile(r"^@\S+ #([0-9A-Za-z]+)$", re.MULTILINE)
_CODE: Final = re.compile(r"(?<![0-9#/&=-])([0-9]{3})[ \u00a0]?([0-9]{3})(?![0-9-])")

PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
STYLE: Final = Markup(
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:1.5rem auto;padding:0 1rem;color:#1c2333}"
    "h1{font-size:1.3rem}article{border:1px solid #cbd2de;border-radius:.5rem;padding:.75rem 1rem;margin:0 0 .75rem}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:.5rem 0}dt{float:left;clear:left;width:6rem;"
    "color:#586174}dd{margin:0 0 0 6rem}small{color:#586174}</style>"
)

_ANCHOR: Final = Markup('<a id="{}" href="{}" rel="noreferrer">{}</a>')


def links_in(text: str) -> list[str]:
    """The http and https addresses in *text*, in order."""
    return [found for found in _LINK.findall(text) if urlsplit(found).netloc]


def code_in(text: str) -> str | None:
    """The one-time code in *text*: that of the line for autofill, else the first group of six digits; None without one."""
    if bound := _CODE_LINE.search(text):
        return bound[1]
    return "".join(found.groups()) if (found := _CODE.search(_LINK.sub(" ", text))) else None


def linked(text: str, *, id_prefix: str) -> Markup:
    """*text* as HTML; its links get the ids ``<id_prefix>1``, ``<id_prefix>2`` ..."""
    parts, end = [], 0
    for number, found in enumerate(_LINK.finditer(text), 1):
        parts += [escape(text[end : found.start()]), _ANCHOR.format(f"{id_prefix}{number}", found[0], found[0])]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])
