"""
Simple markdown as the app shows it: headings, bold, lists, rules and paragraphs. Everything is escaped first.

Source: the format name ``simpleMarkdownV1`` of the RP API; tables are shown as text.
"""

import re
from itertools import groupby

from markupsafe import Markup, escape

_BOLD = re.compile(r"\*{1,2}([^*]+)\*{1,2}")
_HEADING = re.compile(r"(#{1,3})\s+(.+)")
_ITEM = re.compile(r"[+\-*]\s+(.+)")
_RULE = re.compile(r"-{3,}")


def render_markdown(text: str) -> Markup:
    """HTML of *text*; its first heading level is ``h2``, since the page has its own ``h1``."""
    lines = re.split(r"\r\n|\r|\n", text)
    html: list[str] = []
    for kind, group in groupby((line.strip() for line in lines), key=_kind):
        block = list(group)
        match kind:
            case "item":
                html.append("<ul>" + "".join(f"<li>{_inline(line[1:].strip())}</li>" for line in block) + "</ul>")
            case "text":
                html.append("<p>" + "<br>".join(_inline(line) for line in block) + "</p>")
            case "heading":
                html.extend(_heading(line) for line in block)
            case "rule":
                html.append("<hr>")
    return Markup("".join(html))  # noqa: S704 - every piece went through escape()


def render_plain(text: str) -> Markup:
    """HTML of plain text: paragraphs and line breaks only."""
    paragraphs = re.split(r"(?:\r\n|\r|\n){2,}", text.strip())
    html = ("<p>" + re.sub(r"\r\n|\r|\n", "<br>", str(escape(paragraph))) + "</p>" for paragraph in paragraphs)
    return Markup("".join(html))  # noqa: S704 - every piece went through escape()


def _kind(line: str) -> str:
    if not line:
        return "blank"
    if _HEADING.fullmatch(line):
        return "heading"
    if _RULE.fullmatch(line):
        return "rule"
    return "item" if _ITEM.fullmatch(line) else "text"


def _heading(line: str) -> str:
    marks, _, words = line.partition(" ")
    level = len(marks) + 1
    return f"<h{level}>{_inline(words.strip())}</h{level}>"


def _inline(words: str) -> str:
    return _BOLD.sub(r"<strong>\1</strong>", str(escape(words)))
