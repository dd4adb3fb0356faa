"""The words: complete in every language, and every word a page, a problem or a connector can ask for."""

import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from broker.core.identity import ContactKind
from broker.pages.catalogue import LOCALE_DIR, load_catalogue, load_catalogues
from broker.pages.render import LANGUAGES, TEMPLATE_DIR
from broker.pages.views import Action, HandoffStatus, JoinKind, LinkStatus, Phase, Problem, Reason, TransferState
from broker.pages.ways_in import SAID
from broker.upstream.bankid import Message


def texts(language: str) -> dict[str, str]:
    with (LOCALE_DIR / language / "messages.po").open("rb") as source:
        return {str(each.id): str(each.string) for each in read_po(source, locale=language) if each.id}


ENGLISH = texts("en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalogues_are_complete(language: str) -> None:
    """All languages have exactly the same keys, none of them empty."""
    assert texts(language).keys() == ENGLISH.keys()
    assert all(text.strip() for text in texts(language).values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_places_are_the_same(language: str) -> None:
    """A translation names what the English text names, each the same number of times or the sentence would lie."""
    places = re.compile(r"%\(\w+\)s|%(?!\()")
    for key, text in texts(language).items():
        assert set(places.findall(text)) == set(places.findall(ENGLISH[key])), key


@pytest.mark.parametrize("language", ["sv", "fi", "pl"])
def test_nothing_was_left_in_english(language: str) -> None:
    """A text of more than two words that equals the English one was forgotten."""
    same = [key for key, text in texts(language).items() if text == ENGLISH[key] and len(text.split()) > 2]
    assert same == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_keys_are_not_doubled(language: str) -> None:
    """Of two entries with one key the reader takes the last in silence."""
    source = (LOCALE_DIR / language / "messages.po").read_text(encoding="utf-8")
    keys = re.findall(r'^msgid "(.+)"$', source, re.MULTILINE)
    assert len(keys) == len(set(keys))


def test_every_word_a_template_uses_exists() -> None:
    """A missing key would show up at a customer, in the one branch nobody looked at."""
    used = set()
    for template in TEMPLATE_DIR.glob("*.html"):
        used |= set(
            re.findall(r"""\bt(?:\.first)?\(\s*["']([\w.]+)["']\s*[,)]""", template.read_text(encoding="utf-8"))
        )
    assert len(used) > 50
    assert used <= ENGLISH.keys()


def test_every_computed_word_exists() -> None:
    """Keys that are put together from closed sets: every member has its words."""
    needed = {
        *(f"action.{each}" for each in Action),
        *(f"choose.why.{each}" for each in Reason),
        *(f"join.title.{each}" for each in JoinKind),
        *(f"join.what.{each}" for each in JoinKind if each is not JoinKind.REFUSED),
        *(f"join.apart.{each}" for each in JoinKind if each is not JoinKind.REFUSED),
        *(f"ways.said.{each}" for each in SAID),
        "ways.refusal.no_bootstrap",
        "ways.refusal.off",
        "notice.link_expired",
        "notice.link_other",
        *(f"wait.{each}.title" for each in Phase),
        *(f"transfer.{each}" for each in TransferState),
        *(f"identify.{each}" for each in ("email", "phone", "either", "hint.email", "hint.phone", "hint.either")),
        *(f"identify.{each}.member" for each in ("email", "phone", "either", "hint")),
        *(f"code.{part}.{each}" for part in ("title", "to", "to.member") for each in ContactKind),
        *(f"code.member.{each}" for each in ("sent", "sent_again")),
        *(f"notice.no_{each}" for each in ContactKind),
        *(f"link.{each}.{part}" for each in LinkStatus for part in ("title", "what")),
        *(f"handoff.{each}.{part}" for each in HandoffStatus for part in ("title", "what")),
        *(f"problem.{each}.{part}" for each in Problem for part in ("title", "what", "next")),
    }
    assert needed <= ENGLISH.keys()


@pytest.mark.parametrize("message", Message)
def test_every_text_bankid_may_ask_for(message: Message) -> None:
    """The connector's messages exist and need no names filled in."""
    assert "%(" not in ENGLISH[message.value]


@pytest.mark.parametrize(
    "number", [1, 2, 3, 4, 5, 6, 8, 9, 13, "14A", "14B", "15A", "15B", 16, "17A", "17B", 18, 19, 20, 21, 22, 23]
)
def test_bankids_recommended_messages(number: int | str) -> None:
    """Every message BankID recommends to relying parties has our words."""
    assert f"bankid.RFA{number}" in ENGLISH


def test_names_in_texts_are_escaped() -> None:
    """Names come from outside, and are data even when they look like markup or like a place to fill."""
    english = load_catalogue("en")
    text = english("action.back_to", name="<b>%(name)s</b>")
    assert "&lt;b&gt;%(name)s&lt;/b&gt;" in text


def test_a_key_that_is_missing_is_an_error() -> None:
    """A template that asks for words nobody wrote fails in tests instead of showing a key."""
    with pytest.raises(KeyError):
        load_catalogue("sv")("no.such.key")


@pytest.mark.parametrize(
    "entry", ['#, fuzzy\nmsgid "a"\nmsgstr "A"\n', 'msgid "a"\nmsgstr ""\n'], ids=["fuzzy", "empty"]
)
def test_unfinished_translations_stop_the_start(tmp_path: Path, entry: str) -> None:
    """A fuzzy or empty text is found when the broker starts, not by a customer."""
    (tmp_path / "sv").mkdir()
    (tmp_path / "sv" / "messages.po").write_text(f'msgid ""\nmsgstr "Language: sv\\n"\n\n{entry}', encoding="utf-8")
    with pytest.raises(ValueError, match="no finished translation"):
        load_catalogue("sv", tmp_path)


def test_a_language_without_catalogue_stops_the_start() -> None:
    """A language is offered only when its words are there."""
    with pytest.raises(OSError, match=r"messages\.po"):
        load_catalogues(["sv", "xx"])
