"""What a client library is to the tests, and a site that runs on one."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from broker.demo.providers.bankid.certificates import Certificates
from tests.interop.browser import Browser, Page
from tests.interop.processes import Process

HERE = Path(__file__).parent
CACHES = HERE.parents[1] / "build" / "interop"
"""Where clients are installed and built; kept from run to run."""

API = "bookshop-api"
AUDIENCE = "https://api.bookshop.example/"
"""The API that some sites' access tokens are for, and its address."""


class Can(Enum):
    """What not every client does; a scenario that needs it is played with those that have it in ``abilities``."""

    REFRESH = auto()
    """Ask for new tokens when told to."""
    DEMAND_ISS = auto()
    """Refuse an answer without ``iss`` when discovery announces one (RFC 9207 section 2.4)."""
    HEAR_LOGOUT = auto()
    """Be told by the broker that a customer logged out elsewhere (Back-Channel Logout 1.0)."""
    CALL_API = auto()
    """Have access tokens for the API."""
    DOCUMENTED = auto()
    """Stand on the page for developers, with its mistakes."""
    HEAR_ERRORS = auto()
    """Understand an error that comes with ``iss`` by redirect."""
    BE_REMEMBERED = auto()
    """Be answered from the session alone; an app's own address is not (RFC 8252 section 8.6)."""


@dataclass(frozen=True)
class Place:
    """What a site is told. ``site``: its own origin; it listens on ``port`` of 127.0.0.1."""

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    port: int
    site: str
    certificates: Certificates

    def environment(self) -> dict[str, str]:
        """As the apps of this folder want it."""
        ca = str(self.certificates.ca_cert)
        told = {"ISSUER": self.issuer, "CLIENT_ID": self.client_id, "CLIENT_SECRET": self.secret, "SITE": self.site}
        # A proxy of this machine is not for the machine itself.
        told["NO_PROXY"] = told["no_proxy"] = "localhost,127.0.0.1"
        return {**os.environ, **told, "SSL_CERT_FILE": ca, "NODE_EXTRA_CA_CERTS": ca}


@dataclass(frozen=True)
class Start:
    """How a site is started, and what is to be done once it has ended."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    clean_up: Callable[[], None] = lambda: None


class Client(ABC):
    """
    One client library, or one server module.

    ``name``: of the test, the partner and the client id. ``registration``: texts of partner.yaml that are other for it.
    ``algorithm``: of its ID tokens. ``home``: the page that shows who is logged in.
    """

    name: str
    abilities: frozenset[Can]
    registration: Mapping[str, str] = {}
    algorithm = "RS256"
    scheme = "http"
    home = "/"

    @property
    def cache(self) -> Path:
        """Its place below build/."""
        path = CACHES / self.name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @abstractmethod
    def install(self) -> None:
        """Bring it here from its registry, at the locked version. Raises: DidNotStart."""

    def files(self) -> Mapping[str, str]:
        """What its registration refers to, by the name beside the config."""
        return {}

    @abstractmethod
    def start(self, place: Place, folder: Path) -> Start:
        """How to run a site with it; *folder* is empty and the site's own."""

    def who(self, page: Page) -> dict[str, Any] | None:
        """What the home page says: ``claims`` of the ID token and ``userinfo``; None for nobody."""
        return json.loads(page.text) if page.status == 200 else None

    def logout_uri(self, site: str) -> str:
        """Where it is told of logouts; only asked of those that can hear it."""
        raise NotImplementedError(self.name)

    def is_refusal(self, page: Page) -> bool:
        """Whether the site says that it did not accept an answer."""
        return page.status >= 400

    def begin(self, browser: Browser, site: str, *, stop_before: str = "") -> Page:
        """Follow the site's link to log in."""
        return browser.open(f"{site}/login", stop_before=stop_before)

    def refresh(self, browser: Browser, site: str) -> Page:
        """Have the site ask for new tokens."""
        return browser.submit(f"{site}/refresh")

    def log_out(self, browser: Browser, site: str, *, stop_before: str = "") -> Page:
        """Press the site's button to log out."""
        return browser.submit(f"{site}/logout", stop_before=stop_before)


class Site:
    """A running site, until `close`."""

    def __init__(self, client: Client, place: Place, folder: Path) -> None:
        self.client = client
        self.place = place
        folder.mkdir(parents=True)
        start = client.start(place, folder)
        self._clean_up = start.clean_up
        self._process = Process(start.command, start.environment, port=place.port, log=folder / "log")

    @property
    def callback(self) -> str:
        """The registered redirect URI."""
        return f"{self.place.site}/callback"

    def begin(self, browser: Browser) -> Page:
        """A login is begun; the broker's first page, or where it leads."""
        return self.client.begin(browser, self.place.site)

    def who(self, browser: Browser) -> dict[str, Any] | None:
        """Whom the site takes the person for: ``claims`` and ``userinfo``; None for nobody."""
        return self.client.who(
            browser.open(f"{self.place.site}{self.client.home}", stop_before=f"{self.place.issuer}/authorize")
        )

    def refresh(self, browser: Browser) -> Page:
        """The site asks for new tokens."""
        return self.client.refresh(browser, self.place.site)

    def log_out(self, browser: Browser) -> Page:
        """The person logs out there; where that leads."""
        return self.client.log_out(browser, self.place.site)

    def log(self) -> str:
        """The end of its log, to explain a failure."""
        return self._process.tail()

    def close(self) -> None:
        """Stop it."""
        self._process.stop()
        self._clean_up()
