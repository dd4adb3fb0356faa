"""What a service provider's software is to the tests, and a site that runs on it."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lxml import etree

from tests.changing import replace
from tests.downstream.saml_party import pair, pem
from tests.interop.browser import Browser, Page
from tests.interop.processes import Process
from tests.interop.site import CACHES, Place, Start


@dataclass(frozen=True)
class Own:
    """What a site has of its own before anybody knows it: a folder, a key, and the address it will have."""

    place: Place
    folder: Path

    def give_key(self) -> None:
        """Put ``key.pem`` and ``certificate.pem`` into the folder."""
        private, certificate = pair(self.place.client_id)
        (self.folder / "key.pem").write_bytes(pem(private))
        (self.folder / "certificate.pem").write_bytes(certificate)


class ServiceProvider(ABC):
    """
    Software that logs people in by SAML.

    ``name``: of the test and the partner. ``registration``: lines below ``saml`` that it needs besides its metadata.
    ``acs_path``: where answers are posted, ``slo_path``: where messages about leaving go. ``home``: the page that says who is
    logged in. ``forces``: whether it can demand a new login. ``only_answers``: whether it takes no responses that it did not ask
    for; ``takes_unasked``: whether our operator sends it some.
    """

    name: str
    registration = ""
    scheme = "http"
    acs_path = "/acs"
    slo_path = "/slo"
    home = "/"
    forces = True
    only_answers = True
    takes_unasked = False

    @property
    def cache(self) -> Path:
        """Its place below build/."""
        path = CACHES / self.name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @abstractmethod
    def install(self) -> None:
        """Bring it here from its registry, at the locked version. Raises: DidNotStart."""

    @abstractmethod
    def metadata(self, own: Own) -> bytes:
        """What it says of itself, in its own words; its key is in *own* from then on."""

    @abstractmethod
    def start(self, own: Own, provider: bytes) -> Start:
        """How to run it, with the *provider*'s metadata."""

    def begin(self, browser: Browser, site: str, *, anew: bool = False, stop_before: str = "") -> Page:
        """Follow the site's link to log in; *anew*: it demands a new login."""
        return browser.open(f"{site}/login{'?anew=1' if anew else ''}", stop_before=stop_before)

    def leave(self, browser: Browser, site: str, *, stop_before: str = "") -> Page:
        """Follow the site's link to log out, there and at the provider."""
        return browser.open(f"{site}/logout", stop_before=stop_before)


class Site:
    """
    A site on that software: known by `metadata` at once, running between `start` and `close`.

    Args:
        folder: does not exist yet.
    """

    def __init__(self, software: ServiceProvider, place: Place, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.software = software
        self._own = Own(place, folder)
        self.metadata = software.metadata(self._own)
        self._process: Process | None = None
        self._start: Start | None = None

    @property
    def name(self) -> str:
        """Of the partner."""
        return self.software.name

    @property
    def place(self) -> Place:
        """Its address; the issuer only once it runs."""
        return self._own.place

    @property
    def entity_id(self) -> str:
        """As its metadata says."""
        return str(etree.fromstring(self.metadata).get("entityID"))

    @property
    def acs(self) -> str:
        """Where answers are posted."""
        return f"{self.place.site}{self.software.acs_path}"

    def start(self, issuer: str, provider: bytes) -> None:
        """Run it, with the *provider*'s metadata."""
        self._own = replace(self._own, place=replace(self.place, issuer=issuer))
        self._start = self.software.start(self._own, provider)
        log = self._own.folder / "log"
        self._process = Process(self._start.command, self._start.environment, port=self.place.port, log=log)

    def begin(self, browser: Browser, *, anew: bool = False, stop_before: str = "") -> Page:
        """A login is begun; the broker's first page, or where it leads."""
        return self.software.begin(browser, self.place.site, anew=anew, stop_before=stop_before)

    @property
    def slo(self) -> str:
        """Where messages about leaving go."""
        return f"{self.place.site}{self.software.slo_path}"

    def leave(self, browser: Browser, *, stop_before: str = "") -> Page:
        """A logout is begun at the site; where it ends."""
        return self.software.leave(browser, self.place.site, stop_before=stop_before)

    def who(self, browser: Browser) -> dict[str, Any] | None:
        """Whom the site takes the person for: ``name_id``, ``pairwise_id``, ``name``, ``email``; None for nobody."""
        page = browser.open(f"{self.place.site}{self.software.home}", stop_before=f"{self.place.issuer}/saml/sso")
        return json.loads(page.text) if page.status == 200 else None

    def refused(self, browser: Browser) -> None:
        """Assert that what was posted to it last was refused, and that nobody is logged in."""
        answer = browser.page
        assert urlsplit(answer.url).netloc == urlsplit(self.place.site).netloc, answer
        assert answer.status >= 400, f"{answer} {answer.text[:500]}"
        assert self.who(browser) is None

    def log(self) -> str:
        """The end of its log, to explain a failure."""
        return self._process.tail() if self._process else ""

    def close(self) -> None:
        """Stop it."""
        if self._process is not None and self._start is not None:
            self._process.stop()
            self._start.clean_up()
