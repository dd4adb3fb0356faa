"""A stage with several ways in that may stand side by side, and what tests of linking look at."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.identity import Contact, ContactKind, Evidence
from broker.stores.ports import Records, StateStore
from tests.stage import BASE, Answer, Browser, Clock, PlayedConnector, Stage, open_stage

#: Beside BankID, which may not bootstrap, and Google: mail (a proven address), face (an address nobody proved), an eID.
_MORE = """\
  {name}:
    kind: oidc
    titles: {{sv: {title}, fi: {title}, pl: {title}, en: {title}}}
    ceiling: {ceiling}
    may_bootstrap_other_methods: true
    connect: {{issuer: "http://127.0.0.1:8703", accepted_issuers: ["127.0.0.1:8703"], client_id: stafett, \
client_secret: "file:secrets/google"}}

"""
_WAYS = {"mail": "contact", "face": "self-asserted", "eid": "substantial"}
TITLES = {"mail": "Mailbox", "face": "Faces", "eid": "Estonia"}

EDIT = {
    "  google:\n    kind: oidc": "".join(
        _MORE.format(name=name, title=TITLES[name], ceiling=ceiling) for name, ceiling in _WAYS.items()
    )
    + "  google:\n    kind: oidc",
}
_SHOPS = re.compile(r"^      upstreams: \[[^]]*\]", re.M)


class Way(PlayedConnector):
    """A played provider that proves what the test says of each person; ``is_verified``: whether it checked the address."""

    def __init__(self, id: str, reaches: Assurance, clock: Clock, *, is_verified: bool = True) -> None:
        super().__init__(id, reaches, clock)
        self.is_verified = is_verified
        self.addresses: dict[str, str] = {}
        self.facts: dict[str, Any] = {}

    def _evidence(self, who: str) -> Evidence:
        proven = super()._evidence(who.removesuffix("-again"))
        given = Contact(ContactKind.EMAIL, self.addresses.get(who, proven_mail(who)), self.is_verified)
        contacts = () if self.reaches >= Assurance.LOW else (given,)
        return replace(
            proven,
            subject=f"subject-of-{who}",
            contacts=contacts,
            personal_number=None,
            proof=None,
            **self.facts,
        )


def proven_mail(who: str) -> str:
    return {"maja": "maja@example.com", "karl": "karl@example.com"}[who.removesuffix("-again")]


def cast(clock: Clock) -> Mapping[str, Way]:
    return {
        "google": Way("google", Assurance.CONTACT, clock),
        "mail": Way("mail", Assurance.CONTACT, clock),
        "face": Way("face", Assurance.SELF_ASSERTED, clock, is_verified=False),
        "eid": Way("eid", Assurance.SUBSTANTIAL, clock),
    }


@asynccontextmanager
async def open_ways(
    folder: Path,
    *,
    state: StateStore | None = None,
    wrap: Callable[[Records], Records] = lambda records: records,
    edit: Mapping[str, str] | None = None,
    **more: Any,
) -> AsyncIterator[Stage]:
    """The shipped example, whose shop takes all these ways in."""
    first = _SHOPS.search(BASE)
    assert first is not None
    shop = {first[0]: "      upstreams: [bankid, google, mail, face, eid]"}
    async with open_stage(
        folder, state=state, wrap=wrap, edit={**EDIT, **shop, **(edit or {})}, cast=cast, **more
    ) as stage:
        yield stage


async def begin(stage: Stage, browser: Browser, **request: str) -> Answer:
    """The choice of ways in at the shop, a second later."""
    stage.clock.forward(seconds=1)
    return await browser.follow(await browser.get(stage.shop.request(**request)))


async def proves(stage: Stage, browser: Browser, method: str, who: str = "maja", **request: str) -> Answer:
    """*who* logs in by *method* at the shop, and gets wherever that leads."""
    await begin(stage, browser, **request)
    return await browser.log_in(method, who)


async def logs_in(stage: Stage, browser: Browser, method: str, who: str = "maja", **request: str) -> str:
    """*who* logs in by *method* at the shop without being asked anything; the shop's name for her."""
    tokens = await stage.shop.exchange(await proves(stage, browser, method, who, **request))
    return str(tokens["claims"]["sub"])


async def answers(stage: Stage, browser: Browser, button: str) -> dict[str, Any]:
    """What the shop gets after she pressed *button* on the page that asks."""
    return await stage.shop.exchange(await browser.follow(await browser.press(button)))


async def customer_behind(stage: Stage, subject: str) -> str:
    customer = await stage.records.customer_of_subject("tyre-shop", subject)
    assert customer is not None
    return customer


async def ways_of(stage: Stage, subject: str) -> list[str]:
    """The upstreams by which one gets in as the shop's *subject*."""
    return [each.upstream for each in await stage.records.identities_of(await customer_behind(stage, subject))]


async def is_in(stage: Stage, browser: Browser) -> bool:
    """Whether *browser* has a session at the broker."""
    return "code" in (await browser.get(stage.shop.request(prompt="none"))).query


async def written(stage: Stage) -> None:
    """What is written beside the logins is there."""
    await stage.broker.context.audit.flush()


async def audited(stage: Stage, customer: str) -> list[str]:
    await written(stage)
    return [each.action for each in await stage.records.audit_of(customer, 100)]
