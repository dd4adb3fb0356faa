"""One broker that knows every service provider of `parties`, and each of them in each scenario that asks for ``site``."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.config.conftest import bench, prepared
from tests.interop.browser import Browser
from tests.interop.saml.forging import Forger
from tests.interop.saml.parties import SERVICE_PROVIDERS
from tests.interop.saml.party import ServiceProvider, Site
from tests.interop.saml.world import SamlWorld

__all__ = ["bench", "prepared"]
"""A config to be edited."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run per service provider; the mark ``needs`` names what it has to be able to do."""
    if "software" in metafunc.fixturenames:
        wanted = {name for mark in metafunc.definition.iter_markers("needs") for name in mark.args}
        fit = [each for each in SERVICE_PROVIDERS if all(getattr(each, name) for name in wanted)]
        assert fit, f"none is {wanted}"
        metafunc.parametrize("software", fit, ids=[each.name for each in fit], scope="session")


@pytest.fixture(scope="session")
def saml_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamlWorld]:
    """All of them run, and know each other."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda each: each.install(), SERVICE_PROVIDERS))
    opened = SamlWorld(tmp_path_factory.mktemp("saml"))
    yield opened
    opened.close()


@pytest.fixture
def site(software: ServiceProvider, saml_world: SamlWorld) -> Site:
    """A site that runs on the software."""
    return saml_world.sites[software.name]


@pytest.fixture
def browser(saml_world: SamlWorld) -> Iterator[Browser]:
    """A person nobody knows yet."""
    opened = saml_world.world.browser()
    yield opened
    opened.close()


@pytest.fixture
def forger(site: Site, saml_world: SamlWorld, browser: Browser) -> Forger:
    """Somebody with the broker's key, who answers a login that was begun at the site."""
    return Forger(site, saml_world.world.issuer, browser)
