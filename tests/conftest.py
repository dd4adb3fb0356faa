"""What all tests share: real servers, each started when first asked for, and the golden files."""

import gc
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from broker.observe.logging import put_back, set_reference
from tests import servers, stage

GOLDEN_FOLDER = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write the golden files instead of comparing")


_LONGEST = [
    "contract/test_connectors.py",
    "pages/test_browser_saml_providers.py",
    "pages/test_browser.py",
    "upstream/test_saml_logout.py",
    "journeys/test_every_hop.py",
    "journeys/test_demo_command.py",
    "journeys/test_key_rotation.py",
    "upstream/test_passkey_browser.py",
    "demo/test_garage.py",
    "demo/test_shop.py",
    "packaging/test_chart.py",
    "pages/test_browser_codes.py",
    "packaging/test_wheel.py",
    "pages/test_browser_tabs.py",
    "pages/test_browser_saml.py",
    "demo/test_workshop.py",
    "journeys/test_saml_every_hop.py",
]
"""The files that take longest, all of them together a third of the time."""


def _turn(item: pytest.Item) -> int:
    file = item.path.relative_to(Path(__file__).parent).as_posix()
    return _LONGEST.index(file) if file in _LONGEST else len(_LONGEST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    The longest files come first: where several processes share the files, none is left with a long one at the end.

    To renew golden files only those tests run that compare with one.
    """
    items.sort(key=_turn)
    if config.getoption("--renew-golden"):
        others = [item for item in items if "golden" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the garbage collector need not go through half a million objects each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Wherever a test, or a program that it runs in this process, sends the log: the next one finds it as it was."""
    with put_back():
        yield
    set_reference("-")


class Golden(Protocol):
    """Compare *text* with tests/golden/NAME, or renew that file under ``make golden``."""

    def __call__(self, name: str, text: str) -> None: ...


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """What others rely on, byte for byte: call it with a file name and the text published now."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN_FOLDER / name
        if request.config.getoption("--renew-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path.name} is missing: make golden writes it"
        assert text == path.read_text(encoding="utf-8"), f"{path.name} differs: if that is meant, make golden"

    return compare


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.RedisServer]:
    """Redis, shared by the whole run; take redis_url unless the server itself is to be stopped or paused."""
    with servers.RedisServer(servers.redis_program()) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[servers.RedisServer]:
    """The Valkey of the embedded default, shared by the whole run."""
    with servers.RedisServer(servers.valkey_program()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.PostgresServer]:
    """PostgreSQL, shared by the whole run; take postgres_url for a database of one's own."""
    with servers.PostgresServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: servers.RedisServer) -> Iterator[str]:
    """An empty Redis that runs; put back on its feet afterwards, whatever the test did to it."""
    yield from _clean(redis_server)


@pytest.fixture
def valkey_url(valkey_server: servers.RedisServer) -> Iterator[str]:
    """An empty Valkey that runs; put back on its feet afterwards, whatever the test did to it."""
    yield from _clean(valkey_server)


def _clean(server: servers.RedisServer) -> Iterator[str]:
    server.start()
    server.resume()
    server.flush()
    yield server.url
    server.start()
    server.resume()


@pytest.fixture
def postgres_url(postgres_server: servers.PostgresServer) -> Iterator[str]:
    """A database of this test's own, empty."""
    postgres_server.start()
    name = postgres_server.new_database()
    yield postgres_server.url(name)
    postgres_server.start()
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The browser to drive, as playwright's ``executable_path``; as root it also wants ``--no-sandbox``."""
    return servers.chromium_path()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(chromium_path: Path) -> AsyncIterator[Browser]:
    """A Chromium for the whole run; tests that drive it run on its loop: ``pytest.mark.asyncio(loop_scope="session")``."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def prepared_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files a staged broker's config refers to, made once."""
    return stage.prepare(tmp_path_factory.mktemp("stage") / "prepared")


@pytest.fixture
def stage_folder(prepared_stage: Path) -> Iterator[Path]:
    """A folder of one's own with those files, beside the keys that all share."""
    folder = Path(tempfile.mkdtemp(dir=prepared_stage.parent))
    shutil.copytree(prepared_stage, folder, dirs_exist_ok=True, ignore=stage.LEFT_BEHIND)
    yield folder
    shutil.rmtree(folder)


@pytest_asyncio.fixture
async def staged(stage_folder: Path) -> AsyncIterator[stage.Stage]:
    """A whole broker in-process on the shipped example, with played providers."""
    async with stage.open_stage(stage_folder) as opened:
        yield opened
