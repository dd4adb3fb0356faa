"""
A kind of upstream is one module, one entry of the registry and one test module (docs/connectors.md).

Here is a whole kind, written as its module would be, and entered in a copy of the registry: nothing else of the broker knows of
it, and yet it is checked, offered and logged in by.
"""

import hmac
import re
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from broker.config.report import Report, check_file
from broker.config.schema import config_schema
from broker.core.assurance import Assurance
from broker.core.identity import Evidence
from broker.core.policy import SecretRef, Strict, Uri
from broker.errors import Stopped, UpstreamRefused
from broker.upstream.port import Begun, Done, Redirect, Reply, UpstreamAsk
from broker.upstream.registry import KINDS, Kind
from broker.upstream.supplies import Supplies
from tests.contract import test_connectors
from tests.stage import BASE, SECRET, Answer, Browser, Stage, open_stage
from tests.upstream.cases import offering

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "connectors.md").read_text("utf-8")

# The module: broker/upstream/library.py


class LibraryConnect(Strict):
    """The ``connect`` block of an upstream of kind ``library``. ``desk``: where readers show their card."""

    desk: Uri
    key: SecretRef


class LibraryConnector:
    """A library that says whose card it saw: ``card`` and ``seal``, an HMAC over it and the state of this login."""

    reaches = Assurance.SELF_ASSERTED

    def __init__(self, id: str, connect: LibraryConnect, *, key: str) -> None:
        self.id = id
        self._desk = connect.desk
        self._key = key.encode()

    async def begin(self, ask: UpstreamAsk) -> Begun:
        asked = {"back": ask.callback_url, "state": ask.state}
        return Begun(Redirect(f"{self._desk}?{urlencode(asked)}"), ask.state.encode())

    async def resume(self, state: bytes, reply: Reply) -> Done:
        if "card" not in reply.data:
            raise Stopped("the reader went away")
        if not hmac.compare_digest(seal(self._key, state, reply.data["card"]), reply.data.get("seal", "")):
            raise UpstreamRefused("the seal is not the library's", code="library.seal")
        return Done(
            Evidence(
                upstream=self.id,
                issuer=self._desk,
                subject=reply.data["card"],
                assurance=self.reaches,
                amr=("card",),
                authenticated_at=reply.now,
            )
        )

    async def close(self) -> None:
        pass


def seal(key: bytes, state: bytes, card: str) -> str:
    return hmac.new(key, state + b"." + card.encode(), sha256).hexdigest()


# The entry: broker/upstream/registry.py


def _build_library(id: str, connect: LibraryConnect, supplies: Supplies) -> LibraryConnector:
    return LibraryConnector(id, connect, key=supplies.references.secret(connect.key))


WITH_LIBRARY = {**KINDS, "library": Kind(LibraryConnect, lambda _: LibraryConnector.reaches, _build_library)}

# The tests: tests/upstream/test_library.py

DESK = "https://library.example/card"
BLOCK = f"""\
    kind: library
    titles: {{sv: Bibliotekskort, fi: Kirjastokortti, pl: Karta biblioteczna, en: Library card}}
    ceiling: self-asserted
    may_bootstrap_other_methods: false
    connect: {{desk: "{DESK}", key: "file:secrets/library"}}
"""


@pytest.fixture
def folder(stage_folder: Path) -> Path:
    """With the secret that the block names."""
    (stage_folder / "secrets" / "library").write_text(SECRET)
    (stage_folder / "secrets" / "library").chmod(0o600)
    return stage_folder


@pytest_asyncio.fixture
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """A broker that builds its connectors from the file."""
    async with open_stage(folder, edit=offering("card", BLOCK), is_played=False, kinds=WITH_LIBRARY) as opened:
        yield opened


def checked(folder: Path, block: str = BLOCK, kinds: dict[str, Kind] = WITH_LIBRARY) -> Report:
    """What check-config says."""
    text = BASE
    for old, new in offering("card", block).items():
        text = text.replace(old, new, 1)
    (folder / "stafett.yaml").write_text(text, "utf-8")
    return check_file(folder / "stafett.yaml", environment={}, kinds=kinds)


async def gone(stage: Stage, browser: Browser) -> Answer:
    """She comes from the shop and chooses it; where that leads."""
    await browser.follow(await browser.get(stage.shop.request()))
    return await browser.press("method-card")


async def came(browser: Browser, left: Answer, card: str = "4711", **changed: str) -> Answer:
    """She shows her card there and comes back."""
    assert left.location.startswith(f"{DESK}?")
    state = left.query["state"]
    answer = {"state": state, "card": card, "seal": seal(SECRET.encode(), state.encode(), card), **changed}
    return await browser.follow(await browser.get(f"{left.query['back']}?{urlencode(answer)}"))


def test_it_is_checked(folder: Path) -> None:
    """Its block is good by its own model."""
    assert checked(folder).found == ()


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("desk:", "desks:", "upstreams.card.connect.desks"),
        (DESK, "not an address", "upstreams.card.connect.desk"),
        ("secrets/library", "secrets/lost", "upstreams.card.connect.key"),
        ("ceiling: self-asserted", "ceiling: highest", "upstreams.card.ceiling"),
    ],
)
def test_a_mistake_in_its_block_is_named(folder: Path, old: str, new: str, key: str) -> None:
    """By file, line and key, as for every other kind; nothing was written for it."""
    problems = checked(folder, BLOCK.replace(old, new)).found
    assert key in {problem.key for problem in problems}
    assert all(problem.line for problem in problems if problem.key == key)


def test_without_the_entry_there_is_no_such_kind(folder: Path) -> None:
    """What is not in the registry does not exist."""
    assert [problem.key for problem in checked(folder, kinds={**KINDS}).found] == ["upstreams.card.kind"]


def test_the_published_schema_would_know_it() -> None:
    """Editors complete its block."""
    told = str(config_schema(WITH_LIBRARY))
    assert "LibraryConnect" in told
    assert "LibraryConnect" not in str(config_schema())


async def test_it_is_offered_under_its_title(stage: Stage) -> None:
    """On the page of choices, in the customer's language."""
    browser = stage.browser()
    page = await browser.get(stage.shop.request(), **{"accept-language": "fi"})
    page = await browser.follow(page)
    assert "method-card" in page.ids
    assert "Kirjastokortti" in (await browser.get(page.url, **{"accept-language": "fi"})).text


async def test_it_logs_in(stage: Stage) -> None:
    """To an ID token; the same card is the same customer, another one another."""
    subjects = []
    for card in ("4711", "4711", "4712"):
        browser = stage.browser()
        answer = await came(browser, await gone(stage, browser), card)
        subjects.append((await stage.shop.exchange(answer))["claims"]["sub"])
    assert subjects[0] == subjects[1] != subjects[2]


@pytest.mark.parametrize("changed", [{"seal": "0" * 64}, {"card": "4712", "seal": ""}])
async def test_a_forged_answer_logs_nobody_in(stage: Stage, changed: dict[str, str]) -> None:
    """A refusal of the connector is a page of ours with the other ways in."""
    browser = stage.browser()
    left = await gone(stage, browser)
    page = await came(browser, left, **changed)
    assert (page.status, "method-card" in page.ids, "code" in page.query) == (200, True, False)


async def test_what_every_login_has_it_has(stage: Stage) -> None:
    """Bound to the browser that began and good once, without a word about it in the module."""
    browser, other = stage.browser(), stage.browser()
    left = await gone(stage, browser)
    stolen = await came(other, left)
    assert "code" not in stolen.query
    first = await came(browser, left)
    again = await came(browser, left)
    assert "code" in first.query
    assert again.query.get("code") in (None, first.query["code"])


# The guide


def test_the_guide_shows_what_is_there() -> None:
    """Each piece of code stands in the file named above it, and each file exists."""
    shown = re.findall(r"```python\n# (\S+)\n(.*?)```", GUIDE, re.DOTALL)
    assert len(shown) >= 3
    for file, code in shown:
        assert code.strip() in (ROOT / file).read_text("utf-8"), file
    for file in re.findall(r"`((?:broker|tests|docs)/[\w/.-]+\.\w+)`", GUIDE):
        assert (ROOT / file).exists(), file


def test_the_guide_tells_what_the_suite_demands() -> None:
    """Every rule of the contract suite, and no other."""
    rules = {name for name in vars(test_connectors) if name.startswith("test_")}
    assert set(re.findall(r"^\| `(test_\w+)` \|", GUIDE, re.MULTILINE)) == rules
