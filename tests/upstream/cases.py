"""
What a connector's test module offers to the contract suite of all connectors (`tests/contract/test_connectors.py`).

A module ``tests/upstream/test_<name>.py`` with a function ``cases() -> list[Case]`` takes part; nothing else is to be said
anywhere. A `Case` opens a `Play`: a whole broker whose upstream `Play.id` is the connector under test, talking to its
simulator, beside a played one that stands for the other ways in.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import tests.upstream
from broker.demo.providers.forgery import lies_in_tokens
from broker.upstream.port import Connector
from tests.changing import replace
from tests.stage import Answer, Browser, Stage


class Said(StrEnum):
    """What is answered at the provider: the customer's yes or no, or the provider's own refusal."""

    YES = "yes"
    NO = "no"
    REFUSED = "refused"


@dataclass(frozen=True)
class Sent:
    """
    What the customer's browser is made to send to us in the end.

    ``is_foreign``: another site's page sends it, so our cookies stay behind.
    """

    method: Literal["GET", "POST"]
    url: str
    members: Mapping[str, str] = field(default_factory=dict)
    is_foreign: bool = False

    def changed(self, member: str) -> "Sent":
        """With another value of the same form in *member*."""
        value = self.members[member]
        return replace(self, members={**self.members, member: value[:-4] + value[-4:].swapcase()[::-1] + "7"})


class Play:
    """
    A connector in a broker. What is not told below is the way of providers that the browser is redirected to.

    Args:
        stage: the broker.
        id: the upstream under test. spare: another one, played.
        connector: the one under test.

    ``where``: the page of the journey that was begun last.
    """

    proof: str = "code"
    """The member of what is `Sent` that proves who came."""

    bound: str | None = "state"
    """The member that binds it to one login; None where the address does."""

    late_s: float = 11 * 60.0
    """After so long a good answer is too old, although the journey still lives."""

    def __init__(self, stage: Stage, id: str, connector: Connector, spare: str = "bankid") -> None:
        self.stage = stage
        self.id = id
        self.connector = connector
        self.spare = spare
        self.where = ""

    # What each play must say.

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        """
        Go on from where choosing this way in led (*gone*: the broker's page, or its redirect to the provider).

        Returns: what the browser then sends to us; None when the broker's page it stands on is the end already.
        """
        raise NotImplementedError

    def lie(self, lie: str) -> None:
        """From now on the provider's answers have the fault of `Case.lies` called *lie*."""
        raise NotImplementedError

    def fail(self) -> None:
        """From now on the provider is down."""
        raise NotImplementedError

    def stall(self) -> None:
        """From now on the provider answers slower than the connector waits."""
        raise NotImplementedError

    def heal(self) -> None:
        """The provider is well and honest again."""
        raise NotImplementedError

    def asked(self) -> int:
        """How often the provider was called to prove something."""
        raise NotImplementedError

    # What may be said otherwise.

    def misdirected(self, sent: Sent) -> Sent:
        """*sent* for another login than the one it belongs to."""
        assert self.bound is not None
        return sent.changed(self.bound)

    def forward(self, seconds: float) -> None:
        """Time passes, for the broker and for the provider."""
        self.stage.clock.forward(seconds=seconds)

    # What the suite does with it.

    async def begun(self, browser: Browser) -> Answer:
        """A customer comes from the shop and chooses this way in; where that leads."""
        page = await browser.follow(await browser.get(self.stage.shop.request()))
        self.where = "/".join(page.url.split("/")[:5])
        return await self.chosen(browser)

    async def chosen(self, browser: Browser) -> Answer:
        """She chooses it on the page she sees."""
        return await browser.follow(await browser.press(f"method-{self.id}"))

    async def send(self, browser: Browser, sent: Sent) -> Answer:
        """The browser sends it; where it ends."""
        if sent.is_foreign:
            return await browser.follow(Answer(await self.stage.client.post(sent.url, data=dict(sent.members))))
        if sent.method == "POST":
            return await browser.follow(await browser.post(sent.url, dict(sent.members)))
        return await browser.follow(
            await browser.get(f"{sent.url}?{urlencode(dict(sent.members))}" if sent.members else sent.url)
        )

    async def attempt(self, browser: Browser, said: Said = Said.YES) -> Answer:
        """The whole way through; where it ends."""
        return await self.attempt_from(browser, await self.begun(browser), said)

    async def attempt_from(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Answer:
        """The rest of it, once this way in is chosen."""
        if self.offers(gone):
            return gone
        sent = await self.answered(browser, gone, said)
        if sent is not None:
            return await self.send(browser, sent)
        assert browser.page is not None
        return browser.page

    def offers(self, answer: Answer) -> bool:
        """Whether *answer* is the page that offers ways in."""
        return f"method-{self.spare}" in answer.ids


@dataclass(frozen=True)
class Case:
    """
    One kind of upstream. ``open``: makes a `Play` in a prepared folder (`tests.stage.prepare`).

    ``lies``: faults of the simulator after which nobody may be logged in. ``name``: tells cases of one kind from each other.
    """

    kind: str
    open: Callable[[Path], AbstractAsyncContextManager[Play]]
    lies: tuple[str, ...]
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.kind


def all_cases() -> list[Case]:
    """What every test module of a connector offers."""
    names = [each.name for each in pkgutil.iter_modules(tests.upstream.__path__, "tests.upstream.")]
    modules = [importlib.import_module(name) for name in names if ".test_" in name]
    return [case for module in modules if hasattr(module, "cases") for case in module.cases()]


TOKEN_LIES = (*lies_in_tokens(0), "alg_none", "unknown_key", "broken_signature", "no_id_token")
"""What every simulated OpenID provider can do to its ID tokens."""


def offering(id: str, block: str) -> dict[str, str]:
    """
    Edits of the example (`open_stage`) that add an upstream and offer it at the shop.

    Args:
        block: what stands below its id, indented by four.
    """
    return {
        "\nupstreams:\n": f"\nupstreams:\n  {id}:\n{block}",
        "      upstreams: [bankid,": f"      upstreams: [{id}, bankid,",
    }


def patience() -> dict[str, Any]:
    """Options of a `Fetcher` for plays: loopback may be called, and one that is slow is soon given up."""
    return {"allow_private_networks": ("127.0.0.0/8",), "timeout_s": 2.0}
