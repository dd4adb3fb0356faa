"""The four languages of the demo's sites: which one a visitor reads, and the words in it."""

import json
from collections.abc import Mapping
from datetime import date
from importlib import resources

from babel.dates import format_date
from babel.numbers import format_currency
from starlette.requests import Request

LANGUAGES: Mapping[str, str] = {"sv": "Svenska", "fi": "Suomi", "pl": "Polski", "en": "English"}

_KEY = "language"


def language_of(request: Request, *, default: str = "sv") -> str:
    """
    The language the visitor chose here, else the best of `Accept-Language` (RFC 9110 section 12.5.4), else
    *default*.
    """
    chosen = request.session.get(_KEY)
    if chosen in LANGUAGES:
        return str(chosen)
    return preferred(request.headers.get("accept-language", "")) or default


def choose_language(request: Request, language: str) -> None:
    """Remember *language* for this browser; one we do not speak is ignored."""
    if language in LANGUAGES:
        request.session[_KEY] = language


def has_chosen(request: Request) -> bool:
    """Whether the visitor picked a language on this site."""
    return request.session.get(_KEY) in LANGUAGES


def preferred(accept_language: str) -> str | None:
    """The best language we speak among the ranges of an `Accept-Language` header; None when there is none."""
    ranked: list[tuple[float, str]] = []
    for item in accept_language.split(","):
        tag, _, quality = item.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            weight = 0.0
        ranked.append((-weight, tag.split("-")[0].lower()))
    wanted = [tag for weight, tag in sorted(ranked, key=lambda pair: pair[0]) if weight < 0]
    return next((tag for tag in wanted if tag in LANGUAGES), None)


class Phrases:
    """
    The texts of one site: `locale/<language>.json` in its package, one flat object of key and text each.
    """

    def __init__(self, package: str) -> None:
        folder = resources.files(package) / "locale"
        self._texts: dict[str, dict[str, str]] = {
            language: json.loads((folder / f"{language}.json").read_text("utf-8")) for language in LANGUAGES
        }

    def text(self, language: str, key: str, **values: object) -> str:
        """The text of *key* with its `{placeholders}` filled in; KeyError for an unknown key."""
        return self._texts[language][key].format(**values)

    def keys(self, language: str) -> frozenset[str]:
        """Every key there is in *language*."""
        return frozenset(self._texts[language])


def money(kronor: int, language: str) -> str:
    """An amount of whole Swedish kronor as it is written in *language*."""
    return format_currency(kronor, "SEK", "#,##0\N{NO-BREAK SPACE}¤", locale=language, currency_digits=False)


def day(value: date, language: str, form: str = "EEEE d MMMM") -> str:
    """A date as it is written in *language*, first letter as that language has it."""
    return format_date(value, form, locale=language)
