"""She sees where she is logged in, and ends it from here: one, or all others."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.downstream.receiver import Village, open_village
from tests.stage import Answer, Browser

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1"
    " Mobile/15E148 Safari/604.1"
)


@pytest.fixture
async def village(stage_folder: Path) -> AsyncIterator[Village]:
    async with open_village(stage_folder, patience_s=0.2) as opened:
        yield opened


class Device(Browser):
    """A browser that says which it is."""

    agent = ""

    def _headers(self) -> dict[str, str]:
        return {**super()._headers(), "user-agent": self.agent}


async def on(village: Village, agent: str, who: str = "maja", method: str = "bankid") -> Device:
    """*who* is logged in at the bakery on that device."""
    device = Device(village.stage)
    device.agent = agent
    await village.log_in(device, village.bakery, who=who, method=method)
    village.stage.clock.forward(minutes=1)
    return device


def names(page: Answer) -> list[str]:
    """The names of sessions the page can end."""
    return re.findall(r'name="session" value="([^"]+)"', page.text)


def token(page: Answer) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


async def test_she_sees_each_with_device_method_and_partners(village: Village) -> None:
    """In words she recognises, this browser first and marked, and with nothing that opens anything."""
    laptop, phone = await on(village, FIREFOX), await on(village, IPHONE)
    await village.log_in(phone, village.dairy)
    page = await laptop.get("/shared")
    text = re.sub(r"<[^>]+>|\s+", " ", page.text)
    text = re.sub(r" +", " ", text)
    assert text.index("Firefox on Linux") < text.index("(this browser)") < text.index("Safari on iPhone")
    assert "Logged in with BankID" in text
    assert "Bakery , Dairy" in text or "Bakery, Dairy" in text
    for cookie in (*laptop.cookies.values(), *phone.cookies.values()):
        assert cookie not in page.text


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
async def test_in_her_language(village: Village, language: str) -> None:
    """All four, with the two places where texts differ in form."""
    laptop, _ = await on(village, FIREFOX), await on(village, "nothing we know")
    page = await laptop.get(f"/shared?lang={language}")
    assert "login-2" in page.ids
    assert "logins." not in page.text


async def test_one_ends_and_its_partners_hear_of_it(village: Village) -> None:
    """The phone is logged out, the laptop and a third browser are not."""
    laptop, phone, tablet = [await on(village, agent) for agent in (FIREFOX, IPHONE, "iPad")]
    page = await laptop.get("/shared")
    assert len(names(page)) == 3  # two of them, and all others
    second = page.text.index("Safari") < page.text.index("iPad")
    done = await laptop.press("sign-out-2" if second else "sign-out-3")
    assert done.location.endswith("/shared?signed_out=1#logins-title")
    page = await laptop.get(done.location)
    assert "logins-title" in page.ids
    assert "being told" in page.text
    assert not await village.is_logged_in(phone)
    assert await village.is_logged_in(laptop)
    assert await village.is_logged_in(tablet)
    async with asyncio.timeout(2):
        while await village.waiting():
            await asyncio.sleep(0)
    assert len(village.bakery_server.calls) == 1


async def test_all_others_end(village: Village) -> None:
    """And this one stays."""
    laptop, phone, tablet = [await on(village, agent) for agent in (FIREFOX, IPHONE, "iPad")]
    await laptop.get("/shared")
    await laptop.press("sign-out-others")
    assert [await village.is_logged_in(each) for each in (laptop, phone, tablet)] == [True, False, False]
    assert names(await laptop.get("/shared")) == []
    async with asyncio.timeout(2):
        while await village.waiting():
            await asyncio.sleep(0)
    assert len(village.bakery_server.calls) == 2


async def test_somebody_elses_session_is_not_hers_to_end(village: Village) -> None:
    """The name of another customer's session is as good as none; and her own present one ends by logging out only."""
    hers, his = await on(village, FIREFOX), await on(village, IPHONE, who="karl", method="google")
    other = await on(village, "iPad", who="karl", method="google")
    (his_name,) = names(await other.get("/shared"))
    page = await hers.get("/shared")
    assert names(page) == []
    for name in (his_name, "", "A" * 32, "../../x"):
        answer = await hers.post("/shared/sign-out", {"csrf": token(page), "session": name})
        assert answer.status == 400
    assert await village.is_logged_in(his)
    assert await village.is_logged_in(other)


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"csrf": ""}, {}),
        ({"csrf": "A" * 64}, {}),
        ({}, {"origin": "https://evil.example"}),
        ({}, {"sec-fetch-site": "cross-site"}),
    ],
)
async def test_nobody_ends_them_from_elsewhere(
    village: Village, change: dict[str, str], headers: dict[str, str]
) -> None:
    """A form without its token, or sent by another site (docs/security.md C3)."""
    laptop, phone = await on(village, FIREFOX), await on(village, IPHONE)
    page = await laptop.get("/shared")
    fields = {"csrf": token(page), "session": "others", **change}
    assert (await laptop.post("/shared/sign-out", fields, **headers)).status == 403
    assert await village.is_logged_in(phone)


async def test_without_a_session_there_is_nothing_to_end(village: Village) -> None:
    """She is led to the page that asks her to log in."""
    stranger = village.stage.browser()
    answer = await stranger.post("/shared/sign-out", {"csrf": "", "session": "others"})
    assert answer.location.endswith("/shared")


async def test_what_ran_out_is_not_shown(village: Village) -> None:
    """Idle sessions leave the list by themselves, and so do those that were logged out."""
    phone = await on(village, IPHONE)
    village.stage.clock.forward(hours=7)
    laptop, tablet = await on(village, FIREFOX), await on(village, "iPad")
    assert len(names(await laptop.get("/shared"))) == 3
    village.stage.clock.forward(hours=2)
    assert len(names(await laptop.get("/shared"))) == 1
    assert not await village.is_logged_in(phone)
    await village.log_out(tablet)
    assert names(await laptop.get("/shared")) == []


async def test_logging_in_again_replaces_the_entry(village: Village) -> None:
    """One browser, one entry, however often she logs in."""
    laptop, phone = await on(village, FIREFOX), await on(village, IPHONE)
    for _ in range(3):
        village.stage.clock.forward(minutes=5)
        await phone.follow(await phone.get(village.dairy.request(prompt="login")))
        await phone.log_in("bankid", "maja")
    assert len(names(await laptop.get("/shared"))) == 1
