"""
Where personal data and secrets must not turn up: logs, addresses, cookies, the state store, the database (docs/security.md F1).

A whole story is played with values found nowhere else; then every place is searched for them.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

import httpx2
import pytest

from broker.observe.logging import configure, put_back
from broker.stores.memory import MemoryState
from tests.stage import PAYLOAD, PEOPLE, SECRET, SHOP_RETURN, Stage, open_stage

NAME = "Kanarie Gulfjäder"
EMAIL = "kanarie.gulfjader@example.com"
PLATE = "KAN 4RI"
ORDER = "NH-KANARIE-77"
PHONE = "+46709998877"
NOTE = "Ring på dörren till Gulfjäder"
PERSONAL_NUMBER = "190905271474"
PERSONAL = (NAME, "Gulfjäder", EMAIL, PLATE, ORDER, PHONE, NOTE, PERSONAL_NUMBER, "subject-of-kanarie")


@dataclass
class Witness:
    """Everything that crossed the wire, and the secrets that may be there but nowhere else."""

    addresses: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)
    bearer: set[str] = field(default_factory=set)
    one_time: set[str] = field(default_factory=set)

    async def saw(self, response: httpx2.Response) -> None:
        body = (await response.aread()).decode()
        linked = re.findall(r'(?:href|action|src)="([^"]*)"', body)
        self.addresses += [str(response.request.url), response.headers.get("location", ""), *linked]
        self.cookies += response.headers.get_list("set-cookie")


@contextmanager
def listening() -> Iterator[io.StringIO]:
    """All that is logged, by us and by the libraries, as it would reach standard error."""
    stream = io.StringIO()
    with put_back():
        configure("debug", stream=stream)
        yield stream


def spellings(value: str) -> set[str]:
    """*value* as it could be written in an address, a header, JSON or SQL."""
    escaped = value.encode("unicode_escape").decode()
    return {value, value.lower(), value.upper(), quote(value), quote_plus(value), escaped, value.replace(" ", "")}


def leaks(text: str, *values: str) -> list[str]:
    """Which of *values* stand in *text*, however spelled."""
    plain = unquote_plus(text)
    return [value for value in values if any(each in text or each in plain for each in spellings(value))]


async def play(stage: Stage, witness: Witness) -> None:
    """The whole story with everything that can go wrong in it."""
    stage.client.event_hooks = {"response": [witness.saw]}
    payload = {
        **PAYLOAD,
        "vehicle": {**PAYLOAD["vehicle"], "registration_number": PLATE},
        "order": {**PAYLOAD["order"], "reference": ORDER},
        "customer": {"name": NAME, "email": EMAIL, "phone": PHONE},
        "booking": {"note": NOTE},
    }
    browser = stage.browser()
    at_shop = await stage.shop_login(browser, "google", "kanarie")
    created = await stage.offer(at_shop["claims"]["sub"], payload=payload, contact={"email": EMAIL, "phone": PHONE})
    assert created.status == 201, created.text
    await browser.follow(await browser.get(created.json["link"]))
    kept = browser.page
    assert await browser.press("share", ("csrf", "x"))
    browser.page = kept
    started = await browser.press(
        "share", ("field", "customer.email"), ("field", "customer.phone"), ("remember", "yes")
    )
    tokens = await stage.garage.exchange(await stage.arrive(browser, started))
    handoff = tokens["claims"]["handoff"]["id"]
    data = await stage.garage.read(handoff, tokens["access_token"])
    assert data.json["claims"]["customer"]["name"] == NAME
    await stage.garage.acknowledge(handoff, tokens["access_token"], {"result": "linked"})
    told = await stage.shop.userinfo(at_shop["access_token"])
    assert told.json["name"] == NAME

    strong = stage.browser()
    await stage.shop_login(strong, "bankid", "kanarie")
    other = await stage.offer(None, payload=payload, contact={"email": EMAIL})
    await strong.follow(await strong.get(other.json["link"]))
    guest = await strong.press("continue-guest")
    await stage.garage.call("/handoffs/guest", {"ref": guest.query["ref"]})

    await stage.offer(EMAIL, payload=payload)
    await stage.offer(None, payload={**payload, EMAIL: NAME})
    await stage.offer(None, payload={**payload, "vehicle": {"registration_number": [PLATE]}})
    await stage.offer(None, payload=payload, **{EMAIL: NAME, NAME: NAME})
    await stage.offer(None, payload=payload, return_uri=f"{SHOP_RETURN}?mail={EMAIL}")
    await stage.offer(None, payload=payload, language=NAME)
    await stage.client.post("/handoffs", content=f'{{"{EMAIL}"', auth=stage.shop.auth)
    refused = await stage.shop.token("code-" + EMAIL)
    assert refused.status == 400
    await stage.client.post("/token", data={"client_id": EMAIL, "client_secret": NAME})
    await stage.client.get("/userinfo", headers={"authorization": f"Bearer {EMAIL}"})
    await stage.client.get("/authorize", params={"client_id": EMAIL})
    lost = stage.browser()
    await lost.get(f"/h/{EMAIL}")
    await lost.get(f"/j/{EMAIL}")
    await lost.get(f"/{quote(NAME)}")
    await lost.follow(await lost.get(stage.shop.request()))
    gone = await lost.press("method-google")
    fault = await lost.get(f"/up/google/callback?state={gone.query['state']}&who={quote(NAME)}")
    assert fault.status == 500

    shared = await browser.get("/shared")
    assert NAME in shared.text
    await browser.press(next(each for each in shared.ids if each.startswith("withdraw-")))
    await browser.get(f"/logout?id_token_hint={at_shop['id_token']}")

    witness.bearer |= {
        SECRET,
        at_shop["access_token"],
        tokens["access_token"],
        *browser.cookies.values(),
        *strong.cookies.values(),
    }
    witness.one_time |= {
        at_shop["id_token"], tokens["id_token"], started.query["login_hint"], guest.query["ref"],
        created.json["link"].rpartition("/")[2], stage.shop.verifier, gone.query["state"], stage.shop.nonce,
    }  # fmt: skip
    await stage.broker.context.audit.flush()


@pytest.fixture(autouse=True)
def kanarie() -> Iterator[None]:
    """A person known to the played providers."""
    PEOPLE["kanarie"] = {"name": NAME, "email": EMAIL}
    yield
    del PEOPLE["kanarie"]


async def test_nothing_personal_and_no_secret_gets_where_it_does_not_belong(stage_folder: Path) -> None:
    """One story, all places: each is searched for each value in every spelling."""
    witness = Witness()
    with listening() as log:
        async with open_stage(stage_folder) as stage:
            await play(stage, witness)
            state = _dump(stage.state)
        database = b"".join(path.read_bytes() for path in sorted(stage_folder.glob("stafett.db*"))).decode("latin-1")
    logged = log.getvalue()

    assert logged.count('"event": "request"') > 20
    assert leaks(logged, *PERSONAL, *witness.bearer, *witness.one_time) == []

    ours = [address for address in witness.addresses if address]
    assert len(ours) > 50
    entered_by_the_test = {f"/h/{EMAIL}", f"/j/{EMAIL}", f"/{quote(NAME)}"}
    told = [
        address
        for address in ours
        if not any(address.endswith(each) for each in entered_by_the_test)
        and "who=" not in address
        and f"client_id={quote(EMAIL, safe='')}" not in address
    ]
    assert [address for address in told if leaks(address, *PERSONAL, *witness.bearer)] == []
    assert leaks("\n".join(witness.cookies), *PERSONAL) == []
    assert leaks(state, *PERSONAL, *witness.bearer, *witness.one_time) == []
    assert (
        leaks(database, *(word.encode().decode("latin-1") for word in (*PERSONAL, *witness.bearer, *witness.one_time)))
        == []
    )


async def test_the_search_would_find_something() -> None:
    """The net has no holes: each value, planted in each spelling, is found."""
    for value in PERSONAL:
        for spelled in spellings(value):
            assert leaks(f"before {spelled} after", *PERSONAL)


def _dump(state: Any) -> str:
    assert isinstance(state, MemoryState)
    entries = state._entries
    assert len(entries) > 10
    return "\n".join(f"{key} {value.decode('latin-1')}" for key, (value, _) in entries.items())
