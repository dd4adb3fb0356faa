"""
Accounts made before their owner comes: the five variants of Sudhodanan and Paverd ("Pre-hijacked accounts", USENIX Security
2022), each as a whole story. Karl is the attacker; Maja owns maja@example.com and comes later.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.journeys.ways import (
    Way,
    answers,
    customer_behind,
    is_in,
    logs_in,
    open_ways,
    proves,
    ways_of,
    written,
)
from tests.stage import Browser, Stage

HERS = "maja@example.com"
STAYS = "      refresh_tokens: {}\n"


@pytest.fixture
async def stage(stage_folder: Path) -> AsyncIterator[Stage]:
    """The shop may keep customers logged in by refresh tokens."""
    edit = {"      client_id: nordhjul-web\n": "      client_id: nordhjul-web\n" + STAYS}
    async with open_ways(stage_folder, edit=edit) as opened:
        yield opened


def way(stage: Stage, name: str) -> Way:
    connector = stage.connectors[name]
    assert isinstance(connector, Way)
    return connector


async def offline(stage: Stage, browser: Browser, method: str, who: str) -> tuple[str, str]:
    """*who* logs in by *method* and the shop gets a refresh token: her number there, and the token."""
    answer = await proves(stage, browser, method, who, scope="openid profile email offline_access", prompt="consent")
    if "share" in answer.ids:
        answer = await browser.follow(await browser.press("share", ("field", "offline_access")))
    tokens = await stage.shop.exchange(answer)
    return str(tokens["claims"]["sub"]), str(tokens.get("refresh_token", ""))


async def lives(stage: Stage, refresh_token: str) -> bool:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return (await stage.client.post("/token", data=form, auth=stage.shop.auth)).status_code == 200


async def test_classic_federated_merge(stage: Stage) -> None:
    """
    Karl makes an account under Maja's address at a provider that checks none. Maja comes by Google, which does: she gets her own
    account, is not told of his, and neither gets into the other's, whatever each does afterwards.
    """
    way(stage, "face").addresses["karl"] = HERS
    his = await logs_in(stage, stage.browser(), "face", "karl")
    await written(stage)
    hers = await logs_in(stage, stage.browser(), "google")
    assert hers != his
    assert await ways_of(stage, his) == ["face"]
    assert await ways_of(stage, hers) == ["google"]
    await written(stage)
    # He comes back, and her account is not offered to him either: his address is still nobody's proof.
    assert await logs_in(stage, stage.browser(), "face", "karl") == his
    # And she, by another way that proves the address, is led to her own and never to his.
    browser = stage.browser()
    page = await proves(stage, browser, "mail")
    assert "join-google" in page.ids
    assert "join-face" not in page.ids


async def test_unexpired_session(stage: Stage) -> None:
    """
    Karl is in as Maja in another browser, with a session and a refresh token from a moment he had her phone. She adds a way in:
    he is out everywhere at once, and she stays in.
    """
    his_browser, browser = stage.browser(), stage.browser()
    hers, his_token = await offline(stage, his_browser, "google", "maja")
    assert his_token
    assert await lives(stage, his_token)
    _, her_token = await offline(stage, browser, "google", "maja")
    await proves(stage, browser, "eid", prompt="login")
    assert await is_in(stage, his_browser)
    tokens = await answers(stage, browser, "join")
    assert tokens["claims"]["sub"] == hers
    assert not await is_in(stage, his_browser)
    assert not await lives(stage, his_token)
    assert await is_in(stage, browser)
    assert await lives(stage, her_token)


async def test_trojan_identifier(stage: Stage) -> None:
    """
    Karl leaves his own way in, and an address of his that nobody verified, in an account that Maja is to take for hers. She is
    shown every other way in before she says yes; his address does not survive; and taking his way out puts him out for good.
    """
    way(stage, "face").addresses["karl"] = "karl@example.com"
    his_browser, browser = stage.browser(), stage.browser()
    trojan = await logs_in(stage, his_browser, "google", "karl")
    await proves(stage, his_browser, "face", "karl", prompt="login")
    await answers(stage, his_browser, "join")
    # Her browser runs in his session (he lent her the computer); she proves a way in of her own.
    browser.cookies = dict(his_browser.cookies)
    page = await proves(stage, browser, "eid", prompt="login")
    assert "other-ways" in page.ids
    assert "Google" in page.text
    assert "K•••" in page.text
    await answers(stage, browser, "join")
    await written(stage)
    customer = await stage.records.get_customer(await customer_behind(stage, trojan))
    assert customer is not None
    assert customer.profile is not None
    profile = stage.broker.context.open_profile(customer.id, customer.profile)
    assert profile.email is None or profile.email_verified
    assert not await is_in(stage, his_browser)
    # She takes his ways out; he is somebody new when he comes back.
    while "remove-way-2" in (own := await browser.get("/shared")).ids:
        names = [each.upstream for each in await stage.records.identities_of(customer.id)]
        index = next(n for n, name in enumerate(names, 1) if name != "eid")
        link = own.text.split(f'id="remove-way-{index}"')[1].split('href="')[1].split('"')[0]
        await browser.get(link)
        await browser.press("remove")
    assert await ways_of(stage, trojan) == ["eid"]
    assert await logs_in(stage, stage.browser(), "google", "karl") != trojan


async def test_unexpired_email_change(stage: Stage) -> None:
    """
    Karl leaves a question open in his browser that would add his own way to her account, and waits. Once she has changed
    anything herself, or the time is over, his yes adds nothing.
    """
    for waits_long in (False, True):
        his_browser, browser = stage.browser(), stage.browser()
        hers = await logs_in(stage, his_browser, "google")
        await proves(stage, his_browser, "face", "karl", prompt="login")
        waiting = his_browser.page
        if waits_long:
            stage.clock.forward(minutes=5)
        else:
            await logs_in(stage, browser, "google")
            await proves(stage, browser, "eid", prompt="login")
            await answers(stage, browser, "join")
        his_browser.page = waiting
        await his_browser.press("join")
        assert "face" not in await ways_of(stage, hers)


async def test_a_question_begun_without_a_session_is_void_as_well(stage: Stage) -> None:
    """The same by the other door: "have you been here before?", left open until the account has changed."""
    hers = await logs_in(stage, stage.browser(), "google")
    await written(stage)
    way(stage, "mail").addresses["karl"] = HERS  # the mailbox was his for an hour
    his_browser, browser = stage.browser(), stage.browser()
    await proves(stage, his_browser, "mail", "karl")
    gone = await his_browser.press("join-google")
    await logs_in(stage, browser, "google")
    await proves(stage, browser, "eid", prompt="login")
    await answers(stage, browser, "join")
    await his_browser.follow(await his_browser.get(f"/up/google/callback?state={gone.query['state']}&who=karl"))
    assert await ways_of(stage, hers) == ["google", "eid"]


async def test_non_verifying_provider(stage: Stage) -> None:
    """
    Karl types Maja's address into a provider that checks nothing, after she has an account: nobody asks him whether he was here
    before, and what the shop hears of him is an address nobody verified.
    """
    hers = await logs_in(stage, stage.browser(), "google")
    await written(stage)
    way(stage, "face").addresses["karl"] = HERS
    browser = stage.browser()
    answer = await proves(stage, browser, "face", "karl")
    tokens = await stage.shop.exchange(answer)
    assert tokens["claims"]["sub"] != hers
    info = (await stage.shop.userinfo(tokens["access_token"])).json
    assert info.get("email_verified") is False
    await written(stage)
    customer = await customer_behind(stage, tokens["claims"]["sub"])
    assert await stage.records.contacts_of(customer) == []


async def test_a_provider_that_lies_opens_no_account(stage: Stage) -> None:
    """Even one that says it checked: the address makes us ask for Maja's own way in, which Karl has not."""
    hers = await logs_in(stage, stage.browser(), "google")
    await written(stage)
    way(stage, "mail").addresses["karl"] = HERS
    browser = stage.browser()
    await proves(stage, browser, "mail", "karl")
    gone = await browser.press("join-google")
    done = await browser.follow(await browser.get(f"/up/google/callback?state={gone.query['state']}&who=karl"))
    assert (await stage.shop.exchange(done))["claims"]["sub"] != hers
    assert await ways_of(stage, hers) == ["google"]


async def test_a_refresh_token_does_not_outlive_the_way_in_it_came_by(stage: Stage) -> None:
    """
    Karl logged in by a way in that Maja takes out later. His session is long over by then, and nobody could list it: the refresh
    token it gave ends all the same, and one from another way in stays.
    """
    browser, his_browser = stage.browser(), stage.browser()
    hers, _ = await offline(stage, browser, "google", "maja")
    await proves(stage, browser, "eid", prompt="login")
    await answers(stage, browser, "join")
    _, his_token = await offline(stage, his_browser, "google", "maja")
    stage.clock.forward(hours=23)
    _, her_token = await offline(stage, browser, "eid", "maja")
    stage.clock.forward(hours=2)
    await logs_in(stage, browser, "eid", prompt="login")
    assert await lives(stage, his_token)
    own = await browser.get("/shared")
    names = await ways_of(stage, hers)
    link = own.text.split(f'id="remove-way-{names.index("google") + 1}"')[1].split('href="')[1].split('"')[0]
    await browser.get(link)
    await browser.press("remove")
    assert await ways_of(stage, hers) == ["eid"]
    assert not await lives(stage, his_token)
    assert await lives(stage, her_token)


async def test_a_lent_contact_is_not_told_after_its_way_in_is_gone(stage: Stage) -> None:
    """A refresh token from a session that had the address of another way in ends with that; one that tells none of it stays."""
    browser = stage.browser()
    hers, before = await offline(stage, browser, "eid", "maja")
    await browser.follow(await browser.get("/shared/ways/add"))
    await browser.log_in("mail", "maja")
    await browser.follow(await browser.press("join"))
    answer = await browser.follow(
        await browser.get(stage.shop.request(scope="openid email offline_access", prompt="consent"))
    )
    if "share" in answer.ids:
        answer = await browser.follow(await browser.press("share", ("field", "offline_access"), ("field", "email")))
    told = (await stage.shop.exchange(answer))["refresh_token"]
    assert await lives(stage, told)
    own = await browser.get("/shared")
    names = await ways_of(stage, hers)
    link = own.text.split(f'id="remove-way-{names.index("mail") + 1}"')[1].split('href="')[1].split('"')[0]
    await browser.get(link)
    await browser.press("remove")
    assert await ways_of(stage, hers) == ["eid"]
    assert not await lives(stage, told)
    assert before != told


async def test_a_code_from_before_is_not_redeemed_after_a_link(stage: Stage) -> None:
    """Karl holds a code back while Maja adds a way in: it gives him no refresh token a moment later."""
    his_browser, browser = stage.browser(), stage.browser()
    await logs_in(stage, browser, "google")
    scope = "openid profile email offline_access"
    answer = await proves(stage, his_browser, "google", scope=scope, prompt="consent")
    if "share" in answer.ids:
        answer = await his_browser.follow(await his_browser.press("share", ("field", "offline_access")))
    await proves(stage, browser, "eid", prompt="login")
    await answers(stage, browser, "join")
    late = await stage.shop.token(answer.query["code"])
    assert (late.status, late.json["error"]) == (400, "invalid_grant")


async def test_nobody_stays_in_by_a_session_too_many(stage: Stage) -> None:
    """Karl logs in until his first session is off the list of her sessions: it ends then, for a link could not end it later."""
    first, last = stage.browser(), stage.browser()
    await logs_in(stage, first, "google")
    for _ in range(50):
        last = stage.browser()
        await logs_in(stage, last, "google")
    assert not await is_in(stage, first)
    assert await is_in(stage, last)
    browser = stage.browser()
    await logs_in(stage, browser, "google")
    await proves(stage, browser, "eid", prompt="login")
    await answers(stage, browser, "join")
    assert not await is_in(stage, first)
    assert not await is_in(stage, last)
