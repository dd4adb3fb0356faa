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
    "<style>:root{color-scheme:light dark;--page:#eef1f6;--card:#fff;--ink:#1c2333;--soft:#586174;--line:#dde2eb;--link:#1d4f91}"
    "@media(prefers-color-scheme:dark){:root{--page:#10141d;--card:#1a2030;--ink:#e8ecf5;--soft:#a6b0c4;--line:#2c3448;--link:#9dc2ff}}"
    "html{background:var(--page)}body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;"
    "color:var(--ink)}h1{font-size:1.5rem;line-height:1.25;letter-spacing:-.01em;margin:0 0 .5rem}a{color:var(--link)}"
    "p{margin:0 0 1rem}article{background:var(--card);border:1px solid var(--line);border-radius:.9rem;padding:1rem 1.2rem;"
    "margin:0 0 .75rem;box-shadow:0 1px 2px rgb(16 24 48/.06)}article>a{font-weight:600;text-decoration:none}"
    "article>a:hover{text-decoration:underline}pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:.25rem 0}"
    "dl{margin:0 0 1rem}dt{float:left;clear:left;width:4rem;color:var(--soft)}dd{margin:0 0 0 4rem;overflow-wrap:anywhere}"
    "small{color:var(--soft)}</style>"
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
