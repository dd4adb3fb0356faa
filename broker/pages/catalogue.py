"""
The words of the pages: one gettext catalogue per language, read from ``locale/<language>/messages.po`` at start.

Keys, not English sentences, are the msgids, so that a better English wording breaks no translation. The ``.po`` files
are read directly (once, at start): a checkout and an installed wheel both work without a build step.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po
from markupsafe import Markup, escape

LOCALE_DIR = Path(__file__).parent / "locale"


class Catalogue:
    """The words of one language. Called with a key it gives the text as markup, with every name in it escaped."""

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        self.language = language
        self._texts = texts

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def __call__(self, key: str, **names: object) -> Markup:
        """
        The text of *key* with its ``%(name)s`` places filled.

        Markup among *names* is kept, everything else is escaped; the text itself is plain text and is escaped too.

        Raises:
            KeyError: no such text (a mistake in a template; keys that come from elsewhere go through `first`).
        """
        return escape(self._texts[key]) % names

    def first(self, *keys: str) -> Markup:
        """The text of the first of *keys* that exists; the last one must."""
        known = next((key for key in keys if key in self._texts), keys[-1])
        return self(known)

    def plain(self, key: str, **names: object) -> str:
        """The text of *key* for places that are not HTML (JSON, alternative texts); nothing is escaped."""
        return self._texts[key] % names


@cache
def load_catalogue(language: str, directory: Path = LOCALE_DIR) -> Catalogue:
    """
    Read the catalogue of *language*, once per process.

    Raises:
        OSError: there is none. ValueError: an entry is fuzzy or untranslated, so the page would show a key.
    """
    path = directory / language / "messages.po"
    with path.open("rb") as source:
        catalogue = read_po(source, locale=language, abort_invalid=True)
    texts: dict[str, str] = {}
    for message in catalogue:
        if not message.id:
            continue
        if message.fuzzy or not message.string:
            raise ValueError(f"{path}: {message.id} has no finished translation")
        texts[str(message.id)] = str(message.string)
    return Catalogue(language, texts)


def load_catalogues(languages: Iterable[str], directory: Path = LOCALE_DIR) -> dict[str, Catalogue]:
    """The catalogues of all *languages*; errors as `load_catalogue`."""
    return {language: load_catalogue(language, directory) for language in languages}
