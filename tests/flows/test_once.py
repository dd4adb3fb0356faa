"""What works once works once: fifty at the same moment, on every state store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.stores.ports import StateStore
from broker.stores.redis import RedisState
from tests.downstream.service import Services, open_services
from tests.stage import Answer, Browser, Stage, open_stage

MANY = 50


@pytest_asyncio.fixture(params=["memory", "redis", "valkey"])
async def stored(request: pytest.FixtureRequest, stage_folder: Path) -> AsyncIterator[Stage]:
    """A stage on each store."""
    store: StateStore | None = None
    if request.param != "memory":
        store = RedisState(request.getfixturevalue(f"{request.param}_url"))
    async with open_stage(stage_folder, state=store) as opened:
        yield opened


@pytest_asyncio.fixture(params=["memory", "redis", "valkey"])
async def housed(request: pytest.FixtureRequest, prepared_stage: Path) -> AsyncIterator[Services]:
    """A stage with partners that have no OpenID Connect client, on each store."""
    store: StateStore | None = None
    if request.param != "memory":
        store = RedisState(request.getfixturevalue(f"{request.param}_url"))
    async with open_services(prepared_stage, state=store) as opened:
        yield opened


async def offered(stage: Stage, browser: Browser) -> str:
    """The link of a handoff for Maja, who is logged in in *browser*."""
    at_shop = await stage.shop_login(browser)
    created = await stage.offer(at_shop["claims"]["sub"])
    return str(created.json["link"])


async def test_one_code_is_redeemed_once(stored: Stage) -> None:
    """RFC 6749 section 4.1.2: exactly one 200, all others 400 invalid_grant."""
    browser = stored.browser()
    await stored.shop_login(browser)
    code = (await browser.get(stored.shop.request(prompt="none"))).query["code"]
    answers = await asyncio.gather(*(stored.shop.token(code) for _ in range(MANY)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * (MANY - 1)
    assert {answer.json["error"] for answer in answers if answer.status == 400} == {"invalid_grant"}


async def test_one_guest_reference_is_redeemed_once(stored: Stage) -> None:
    """The product data goes out once."""
    browser = stored.browser()
    await browser.follow(await browser.get(await offered(stored, browser)))
    gone = await browser.press("continue-guest")
    body = {"ref": gone.query["ref"]}
    answers = await asyncio.gather(*(stored.garage.call("/handoffs/guest", body) for _ in range(MANY)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * (MANY - 1)


async def test_one_handoff_is_redeemed_once_by_many_codes(stored: Stage) -> None:
    """Fifty tabs at the garage got a code each; one of them gets the handoff, the others invalid_grant."""
    browser = stored.browser()
    await browser.follow(await browser.get(await offered(stored, browser)))
    started = await browser.press("share")
    request = stored.garage.request(login_hint=started.query["login_hint"])
    codes = [(await browser.get(request)).query["code"] for _ in range(MANY)]
    assert len(set(codes)) == MANY
    answers = await asyncio.gather(*(stored.garage.token(code) for code in codes))
    assert sorted(answer.status for answer in answers) == [200] + [400] * (MANY - 1)
    won = next(answer for answer in answers if answer.status == 200).json
    handoff = won["authorization_details"][0]["handoff"]
    assert (await stored.garage.read(handoff, won["access_token"])).status == 200


async def test_one_artifact_is_redeemed_once(housed: Services) -> None:
    """Handoffs without an OpenID Connect client: exactly one token, all others 400 invalid_grant."""
    artifact = await housed.depot.artifact()
    answers = await asyncio.gather(*(housed.depot.redeem(artifact) for _ in range(MANY)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * (MANY - 1)
    assert {answer.json["error"] for answer in answers if answer.status == 400} == {"invalid_grant"}


async def test_one_handoff_is_redeemed_once_by_many_artifacts(housed: Services) -> None:
    """Fifty tabs confirmed: one of them brings the data, one transfer is on record."""
    browser, sent = await housed.depot.customer()
    artifacts = [await housed.depot.confirmed(browser, sent) for _ in range(MANY)]
    assert len(set(artifacts)) == MANY
    answers = await asyncio.gather(*(housed.depot.redeem(artifact) for artifact in artifacts))
    assert sorted(answer.status for answer in answers) == [200] + [400] * (MANY - 1)


async def test_one_consent_comes_of_fifty_clicks(stored: Stage) -> None:
    """A stormed button: everybody is sent to the garage, one transfer and one consent are on record."""
    browser = stored.browser()
    link = await offered(stored, browser)
    await browser.follow(await browser.get(link))
    assert browser.page is not None
    page = browser.page

    async def click() -> Answer:
        tab = browser.copy()
        tab.page = page
        return await tab.press("share", ("remember", "yes"))

    answers = await asyncio.gather(*(click() for _ in range(MANY)))
    for answer in answers:
        reached = answer if "login_hint" in answer.query else await browser.follow(answer)
        assert reached.location.startswith("http://127.0.0.1:8702/login/start"), reached.text
    shared = await browser.get("/shared")
    assert len([each for each in shared.ids if each.startswith("withdraw-")]) == 1
    customer = await stored.records.customer_of_subject("tyre-shop", (await _subject(stored, browser)))
    assert customer is not None
    await stored.broker.context.audit.flush()
    assert len(await stored.records.transfers_of(customer, 100)) == 1


async def test_different_answers_at_once_leave_one_consent(stored: Stage) -> None:
    """Two tabs, two choices: one counts, and what the other said is no consent of hers."""
    browser = stored.browser()
    await browser.follow(await browser.get(await offered(stored, browser)))
    one, two = browser.copy(), browser.copy()
    one.page = two.page = browser.page
    choices = (("field", "customer.phone"),), (("field", "customer.email"),)
    answers = await asyncio.gather(one.press("share", *choices[0]), two.press("share", *choices[1]))
    tokens = await stored.garage.exchange(await stored.arrive(browser, answers[0]))
    data = await stored.garage.read(tokens["claims"]["handoff"]["id"], tokens["access_token"])
    assert len({"phone", "email"} & set(data.json["claims"]["customer"])) == 1
    shared = await browser.get("/shared")
    assert [each for each in shared.ids if each.startswith("withdraw-")] == [f"withdraw-{data.json['consent_id']}"]


async def test_one_login_comes_of_one_callback(stored: Stage) -> None:
    """Of many callbacks with one state the provider is asked about one, and one session is opened."""
    browser = stored.browser()
    await browser.follow(await browser.get(stored.shop.request()))
    gone = await browser.press("method-bankid")
    address = f"/up/bankid/callback?state={gone.query['state']}&who=maja"
    tabs = [browser.copy() for _ in range(MANY)]
    answers = await asyncio.gather(*(tab.get(address) for tab in tabs))
    assert stored.connectors["bankid"].resumed == 1
    sessions = {line for answer in answers for line in answer.headers.get_list("set-cookie") if "session=" in line}
    assert len(sessions) == 1
    assert sum("code" in answer.query for answer in answers) == 1


async def test_two_partners_at_once_are_both_remembered(stored: Stage) -> None:
    """Two tabs are answered at the same moment: each partner's hint still means this session when it logs her out."""
    for turn in (0, 1):
        browser = stored.browser()
        page = await browser.follow(await browser.get(stored.garage.request()))
        if "method-google" in page.ids:
            page = await browser.log_in("google", "maja")
        if "share" in page.ids:
            await browser.press("share", ("field", "name"), ("remember", "yes"))
        await browser.get("/logout/confirm")
        await browser.press("log-out")
        await browser.follow(await browser.get("/shared/log-in"))
        await browser.log_in("google", "maja")
        partners = (stored.shop, stored.garage)
        answers = await asyncio.gather(*(browser.get(each.request(prompt="none")) for each in partners))
        hint = (await partners[turn].exchange(answers[turn]))["id_token"]
        assert (await browser.get(f"/logout?id_token_hint={hint}")).location.partition("?")[0].endswith("/logged-out")


async def test_an_idempotency_key_makes_one_handoff(stored: Stage) -> None:
    """Fifty creations with one key: one handoff, one 201."""
    at_shop = await stored.shop_login(stored.browser())
    headers = {"Idempotency-Key": "order-1001"}
    answers = await asyncio.gather(*(stored.offer(at_shop["claims"]["sub"], headers=headers) for _ in range(MANY)))
    assert sorted(answer.status for answer in answers) == [200] * (MANY - 1) + [201]
    assert len({answer.json["handoff_id"] for answer in answers}) == 1


async def _subject(stage: Stage, browser: Browser) -> str:
    answer = await browser.get(stage.shop.request(prompt="none"))
    return str((await stage.shop.exchange(answer))["claims"]["sub"])
