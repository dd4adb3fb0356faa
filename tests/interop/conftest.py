"""The worlds, and every client in them: a scenario asks for ``site``, and may say what the client has to be able to do."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.interop.browser import Browser
from tests.interop.clients import CLIENTS
from tests.interop.site import Client, Site
from tests.interop.world import World


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run per client that can do what the mark ``needs`` names."""
    if "client" in metafunc.fixturenames:
        needed = {can for mark in metafunc.definition.iter_markers("needs") for can in mark.args}
        fit = [client for client in CLIENTS if needed <= client.abilities]
        assert fit, f"no client can do {needed}"
        metafunc.parametrize("client", fit, ids=[client.name for client in fit], scope="session")


@pytest.fixture(scope="session")
def installed() -> None:
    """All clients, from their registries, at the same time; one that is missing fails the run."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda client: client.install(), CLIENTS))


@pytest.fixture(scope="session")
def world(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """With TLS, as in production."""
    opened = World(tmp_path_factory.mktemp("world"), CLIENTS, with_tls=True)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def site(client: Client, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that runs on the client."""
    started = Site(client, world.place(client), tmp_path_factory.mktemp("sites") / client.name)
    yield started
    started.close()


@pytest.fixture(scope="session")
def plain_site(
    client: Client, installed: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Site]]:
    """The same without TLS, as a developer has it beside ``make demo``; a broker that knows this one client."""
    folder = tmp_path_factory.mktemp("plain")
    opened = World(folder / "world", [client], with_tls=False)
    started = Site(client, opened.place(client), folder / "site")
    yield opened, started
    started.close()
    opened.close()


@pytest.fixture
def browser(world: World) -> Iterator[Browser]:
    """A person nobody knows yet."""
    opened = world.browser()
    yield opened
    opened.close()


@pytest.fixture
def logged_in(world: World, site: Site, browser: Browser) -> Browser:
    """Maja, who has logged in at the site."""
    site.begin(browser)
    world.log_in(browser)
    return browser
