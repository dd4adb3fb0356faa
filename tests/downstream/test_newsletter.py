"""Newsletter links recognise softly: what they may do, and above all what they may not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.stage import ISSUER, Answer, Browser, Stage, open_stage

OFFER = "http://127.0.0.1:8701/winter"
READERS = ["maja@example.com", "Oskar@Example.com"]


@pytest_asyncio.fixture
async def staged(stage_folder: Path) -> AsyncIterator[Stage]:
    """The shop and the garage send newsletters."""
    edit = {
        "      consent: implied\n": f"      consent: implied\n    newsletter: {{landing_uris: [{OFFER}?c=1], lifetime: 7d}}\n",
        "      consent: ask\n": "      consent: ask\n    newsletter: {landing_uris: ['http://127.0.0.1:8702/'], lifetime: 7d}\n",
    }
    async with open_stage(stage_folder, edit=edit) as stage:
        yield stage


async def mailing(stage: Stage, **changed: Any) -> Answer:
    body = {
        "campaign": "winter-2026",
        "landing_uri": f"{OFFER}?c=1",
        "recipients": READERS,
        "language": "sv",
        **changed,
    }
    return await stage.shop.call(
        "/newsletter/links", {name: value for name, value in body.items() if value is not None}
    )


async def links(stage: Stage, **changed: Any) -> list[str]:
    made = await mailing(stage, **changed)
    assert made.status == 201, made.text
    found: list[str] = made.json["links"]
    return found


async def recognised(stage: Stage, landed: Answer) -> Answer:
    return await stage.shop.call("/newsletter/recognitions", {"recognition": landed.query["recognition"]})


async def test_a_reader_is_recognised_softly(staged: Stage) -> None:
    """The page learns a number that means something to it only, and what it wrote itself: no address, no name."""
    link, _ = await links(staged)
    assert link.startswith(f"{ISSUER}/n/")
    assert len(link) < 400
    landed = await staged.browser().get(link)
    assert (landed.status, landed.location.split("&recognition=")[0]) == (303, f"{OFFER}?c=1")
    assert landed.headers["referrer-policy"] == "no-referrer"
    assert landed.headers["cache-control"] == "no-store"
    told = await recognised(staged, landed)
    assert told.status == 200
    assert {**told.json, "recipient": "?"} == {
        "acr": "soft",
        "recipient": "?",
        "campaign": "winter-2026",
        "language": "sv",
    }
    assert "maja" not in told.text + link + landed.location


async def test_she_is_the_same_reader_in_every_campaign_of_one_partner(staged: Stage) -> None:
    """And however her address was written; another partner knows her by another number, and other readers have others."""
    numbers = []
    for campaign, reader in (("a", "maja@example.com"), ("b", "MAJA@Example.com "), ("a", "oskar@example.com")):
        (link,) = await links(staged, campaign=campaign, recipients=[reader.strip()])
        numbers.append((await recognised(staged, await staged.browser().get(link))).json["recipient"])
    assert numbers[0] == numbers[1] != numbers[2]
    body = {"campaign": "a", "landing_uri": "http://127.0.0.1:8702/", "recipients": ["maja@example.com"]}
    made = await staged.garage.call("/newsletter/links", body)
    landed = await staged.browser().get(made.json["links"][0])
    told = await staged.garage.call("/newsletter/recognitions", {"recognition": landed.query["recognition"]})
    assert told.json["recipient"] not in numbers


async def test_nobody_is_logged_in_by_a_link(staged: Stage) -> None:
    """Neither at the broker's own page nor at a partner, silently or not."""
    browser = staged.browser()
    await browser.get((await links(staged))[0])
    assert "__Host-stafett-session" not in browser.cookies
    assert (await browser.get(staged.shop.request(prompt="none"))).query["error"] == "login_required"
    shown = await browser.follow(await browser.get(staged.shop.request(acr_values="soft")))
    assert "method-google" in shown.ids
    assert "code" not in shown.query
    assert "log-in" in (await browser.get("/shared")).ids


async def test_a_forwarded_link_tells_the_next_reader_nothing(staged: Stage) -> None:
    """No part of her address stands on any page of the browser that opened it."""
    browser = staged.browser()
    await browser.get((await links(staged))[0])
    for path in ("/", "/shared", staged.shop.request()):
        page = await browser.follow(await browser.get(path))
        assert "maja" not in page.text


async def test_scanners_use_nothing_up(staged: Stage) -> None:
    """A link works however often it is fetched, by GET or HEAD."""
    link, _ = await links(staged)
    for _ in range(3):
        await staged.client.head(link)
        await staged.client.get(link)
    assert (await recognised(staged, await staged.browser().get(link))).status == 200


async def test_a_reference_is_redeemed_once_and_by_its_partner(staged: Stage) -> None:
    """And within a minute."""
    link, _ = await links(staged)
    landed = await staged.browser().get(link)
    foreign = await staged.garage.call("/newsletter/recognitions", {"recognition": landed.query["recognition"]})
    assert (foreign.status, foreign.json["error"]) == (400, "invalid_grant")
    assert (await recognised(staged, landed)).status == 200
    assert (await recognised(staged, landed)).json["error"] == "invalid_grant"
    late = await staged.browser().get(link)
    staged.clock.forward(seconds=61)
    assert (await recognised(staged, late)).json["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "taken_back",
    [
        {"campaign": "winter-2026"},
        {"recipient": "maja@example.com"},
        {"recipient": "MAJA@example.com"},
        {"campaign": "winter-2026", "recipient": "maja@example.com"},
    ],
)
async def test_what_was_taken_back_recognises_nobody(staged: Stage, taken_back: dict[str, str]) -> None:
    """It leads to the same page, as if she had typed its address."""
    link, other = await links(staged)
    browser = staged.browser()
    await browser.get(link)
    assert (await staged.shop.call("/newsletter/revocations", taken_back)).status == 200
    landed = await staged.browser().get(link)
    assert landed.location == f"{OFFER}?c=1"
    assert "set-cookie" not in landed.headers
    is_all = "recipient" not in taken_back
    assert ("recognition" in (await staged.browser().get(other)).query) is not is_all


async def test_one_partner_takes_back_its_own_only(staged: Stage) -> None:
    """The garage's reader is not the shop's."""
    link, _ = await links(staged)
    await staged.garage.call("/newsletter/revocations", {"campaign": "winter-2026"})
    await staged.garage.call("/newsletter/revocations", {"recipient": "maja@example.com"})
    assert "recognition" in (await staged.browser().get(link)).query


async def test_an_old_link_still_leads_somewhere(staged: Stage) -> None:
    """No error for somebody who tidies up her mail."""
    link, _ = await links(staged)
    staged.clock.forward(days=8)
    landed = await staged.browser().get(link)
    assert (landed.status, landed.location) == (303, f"{OFFER}?c=1")


@pytest.mark.parametrize("spoil", [lambda t: t[:-1], lambda t: t[:-1] + "A" + t[-1], lambda t: "x", lambda t: t * 9])
async def test_a_spoiled_link_leads_to_the_first_page(staged: Stage, spoil: Any) -> None:
    """Nothing is learnt by trying."""
    link, _ = await links(staged)
    token = link.rpartition("/")[2]
    landed = await staged.browser().get(f"/n/{spoil(token)}")
    assert (landed.status, landed.headers["location"]) == (303, "/")
    assert "set-cookie" not in landed.headers


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"landing_uri": OFFER}, "invalid_request"),
        ({"landing_uri": "https://evil.example/"}, "invalid_request"),
        ({"recipients": []}, "invalid_request"),
        ({"recipients": ["maja"]}, "invalid_request"),
        ({"recipients": ["maja@"]}, "invalid_request"),
        ({"recipients": ["a\n@example.com"]}, "invalid_request"),
        ({"recipients": [7]}, "invalid_request"),
        ({"recipients": "maja@example.com"}, "invalid_request"),
        ({"recipients": ["m@e.se"] * 501}, "invalid_request"),
        ({"campaign": "a b"}, "invalid_request"),
        ({"campaign": ""}, "invalid_request"),
        ({"campaign": None}, "invalid_request"),
        ({"language": "xx"}, "invalid_request"),
        ({"subject": "x"}, "invalid_request"),
    ],
)
async def test_what_is_refused(staged: Stage, changed: dict[str, Any], error: str) -> None:
    """Each in a sentence that names the member and quotes no address."""
    answer = await mailing(staged, **changed)
    assert (answer.status, answer.json["error"]) == (400, error)
    assert "maja" not in answer.text


async def test_who_sends_no_newsletters(staged: Stage) -> None:
    """The operator allows it by partner."""
    body = {"campaign": "a", "landing_uri": OFFER, "recipients": READERS}
    hotel = await staged.client.post("/newsletter/links", json=body, auth=("hjulvila", staged.shop.auth[1]))
    assert (hotel.status_code, hotel.json()["error"]) == (400, "unauthorized_client")
    stranger = await staged.client.post("/newsletter/links", json=body, auth=("nordhjul-web", "wrong"))
    assert stranger.status_code == 401


async def test_nothing_to_take_back(staged: Stage) -> None:
    """An empty wish is a mistake, not everything."""
    assert (await staged.shop.call("/newsletter/revocations", {})).status == 400


async def test_a_browser_that_is_to_be_forgotten_forgets_the_link_too(staged: Stage) -> None:
    """Whoever has this browser forgotten sees what everybody sees: no offer to write to the newsletter's reader."""
    browser = staged.browser()
    await browser.follow(await browser.get(staged.shop.request()))
    await browser.log_in("bankid", "maja")
    browser.cookies.pop("__Host-stafett-session")
    await browser.get((await links(staged))[0])
    assert "__Host-stafett-soft" in browser.cookies
    await browser.follow(await browser.get(staged.shop.request()))
    await browser.follow(await browser.press("forget-device"))
    assert not {"__Host-stafett-soft", "__Host-stafett-device"} & set(browser.cookies)


async def test_the_cookie_opens_nothing_else(staged: Stage) -> None:
    """Given back in place of other secrets it is refused."""
    browser: Browser = staged.browser()
    link, _ = await links(staged)
    await browser.get(link)
    soft = browser.cookies["__Host-stafett-soft"]
    assert "maja" not in soft
    assert (await staged.shop.call("/newsletter/recognitions", {"recognition": soft})).json["error"] == "invalid_grant"
    assert (await staged.shop.token(soft)).json["error"] == "invalid_grant"
    browser.cookies["__Host-stafett-session"] = soft[:60]
    assert (await browser.get(staged.shop.request(prompt="none"))).query["error"] == "login_required"
