"""Inside a session only the missing step is asked for, and she is told why."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.core.assurance import Assurance
from broker.core.identity import ContactKind
from tests.stage import WAYS_IN, Browser, Clock, PlayedConnector, Stage, open_stage


class PlayedCode(PlayedConnector):
    """A way in that begins with an address she types, as far as the page can tell."""

    takes = ContactKind.EMAIL


def cast(clock: Clock) -> dict[str, PlayedConnector]:
    """Google proves no address in this house; a code to an address does."""
    return {
        "google": PlayedConnector("google", Assurance.SELF_ASSERTED, clock),
        "email": PlayedCode("email", Assurance.CONTACT, clock),
    }


@pytest_asyncio.fixture
async def house(stage_folder: Path) -> AsyncIterator[Stage]:
    about_person = "nothing about the person.\n    ceiling: "
    edit = {f"{about_person}contact": f"{about_person}self-asserted"}
    async with open_stage(stage_folder, edit=edit, cast=cast) as stage:
        yield stage


async def at_shop(stage: Stage, method: str, who: str = "maja") -> Browser:
    """A browser with a session at the shop."""
    browser = stage.browser()
    await browser.follow(await browser.get(stage.shop.request()))
    await stage.shop.exchange(await browser.log_in(method, who))
    return browser


async def test_a_missing_address_is_asked_for_and_no_whole_login(house: Stage) -> None:
    """The field stands there with the reason; other ways that would do as well are one press away."""
    browser = await at_shop(house, "google")
    page = await browser.follow(await browser.get(house.shop.request(acr_values="contact", ui_locales="en")))
    assert "needs to know that your e-mail address is yours." in page.text
    seen, _, folded = page.text.partition('id="more-ways"')
    assert 'id="identify"' in seen
    assert 'class="method"' not in seen
    assert 'id="method-bankid"' in folded


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("sv", "behöver veta att e-postadressen är din."),
        ("fi", "haluaa tietää, että sähköpostiosoitteesi on sinun."),
        ("pl", "musi wiedzieć, że ten adres e-mail należy do Ciebie."),
    ],
)
async def test_she_is_told_why_in_her_language(house: Stage, language: str, words: str) -> None:
    """Nobody is asked for more without a reason she can read."""
    browser = await at_shop(house, "google")
    page = await browser.follow(await browser.get(house.shop.request(acr_values="contact", ui_locales=language)))
    assert words in page.text


async def test_without_a_session_it_is_a_login_like_any_other(house: Stage) -> None:
    """Nothing lacks but everything: the ways stand beside the field."""
    browser = house.browser()
    page = await browser.follow(await browser.get(house.shop.request(acr_values="contact")))
    assert {"identify", "method-bankid"} <= page.ids
    assert "more-ways" not in page.ids


@pytest.mark.parametrize(
    ("ways", "only", "asked", "words"),
    [
        ("google, bankid", "bankid", {"acr_values": "substantial"}, "needs to be a little surer that it is you."),
        ("google", "google", {"prompt": "login"}, "would like to know that it is still you."),
        ("google", "google", {"max_age": "1"}, "would like to know that it is still you."),
    ],
    ids=["stronger", "anew", "too-old"],
)
async def test_one_way_only_and_still_she_is_told_why(
    stage_folder: Path, ways: str, only: str, asked: dict[str, str], words: str
) -> None:
    """Whoever is logged in reads why, on a page with one button; whoever is not goes straight there."""
    async with open_stage(stage_folder, edit={f"      {WAYS_IN}": f"      upstreams: [{ways}]"}) as stage:
        straight = await stage.browser().get(stage.shop.request(**asked))
        assert straight.location.startswith(f"https://{only}.test/")
        browser = stage.browser()
        begun = await browser.follow(await browser.get(stage.shop.request()))
        if "method-google" in begun.ids:
            done = await browser.log_in("google", "maja")
        else:
            state = begun.query["state"]
            done = await browser.follow(await browser.get(f"/up/google/callback?state={state}&who=maja"))
        await stage.shop.exchange(done)
        stage.clock.forward(seconds=2)
        page = await browser.follow(await browser.get(stage.shop.request(ui_locales="en", **asked)))
        assert words in page.text
        assert {each for each in page.ids if each.startswith("method-")} == {f"method-{only}"}
        assert "code" in (await browser.log_in(only, "maja")).query


async def test_the_step_is_where_the_code_is_down_a_whole_login(house: Stage) -> None:
    """She is not held up by a mail server: another way that does, and what does not work is shown."""
    browser = await at_shop(house, "google")
    house.connectors["email"].is_down = True
    for _ in range(3):
        await browser.follow(await browser.get(house.shop.request(acr_values="contact")))
        page = await browser.follow(await browser.press("identify", ("identifier", "maja@example.com")))
    assert {"method-bankid", "ill-email"} <= page.ids
    assert "identify" not in page.ids


async def test_a_proof_that_is_too_old_is_made_anew_and_told_anew(house: Stage) -> None:
    """After twelve hours BankID counts no more as substantial; until she shows it once more nobody is told so."""
    browser = await at_shop(house, "bankid")
    for _ in range(2):
        house.clock.forward(hours=6)
        answer = await browser.get(house.shop.request())
    told = (await house.shop.exchange(answer))["claims"]
    assert told["acr"] == "http://eidas.europa.eu/LoA/low"
    await browser.follow(await browser.get(house.shop.request(acr_values="substantial")))
    answer = await browser.log_in("bankid", "maja")
    assert house.connectors["bankid"].asks[-1].fresh
    assert (await house.shop.exchange(answer))["claims"]["acr"] == "http://eidas.europa.eu/LoA/substantial"


async def test_what_was_chosen_and_what_was_not_is_in_the_log(house: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Support sees what was offered, why, and why the others were not; nothing of the customer."""
    browser = await at_shop(house, "google")
    await browser.follow(await browser.get(house.shop.request(acr_values="contact")))
    capsys.readouterr()
    await browser.press("identify", ("identifier", "maja@example.com"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "login.chosen" in line]
    for fact in ("too_weak", "email adds:email", "bankid sufficient:substantial", "google too_weak", "upstream=email"):
        assert fact in line, line
    assert "maja" not in line
