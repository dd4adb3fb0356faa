"""Login, consent and logout by forms and links alone, in every language of the pages, by the element ids that are promised."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.downstream.crowd import LIBRARY_CALLBACK, Crowd, open_crowd
from tests.stage import ISSUER, Answer, Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(prepared_stage: Path) -> AsyncIterator[Crowd]:
    async with open_crowd(prepared_stage) as opened:
        yield opened


def plain(page: Answer) -> Answer:
    """The page does nothing by script that it could not do without: no inline code, no button without a form."""
    assert page.headers["content-type"].startswith("text/html")
    assert "javascript:" not in page.text
    outside = re.sub(r"<form.*?</form>", "", page.text, flags=re.DOTALL)
    assert "<button" not in outside
    return page


async def log_in(crowd: Crowd, browser: Browser, language: str) -> Answer:
    """As far as the consent page."""
    request = crowd.library.request(ui_locales=language)
    choose = plain(await browser.follow(await browser.get(request)))
    assert f'<html lang="{language}"' in choose.text
    assert {"method-google", "method-bankid", "cancel"} <= choose.ids
    return plain(await browser.log_in("google", "maja"))


@pytest.mark.parametrize("language", ["sv", "fi", "pl", "en"])
async def test_login_consent_and_logout(crowd: Crowd, language: str) -> None:
    """Choice, consent, the page that goes on, the question whether to log out, the page afterwards."""
    browser = crowd.stage.browser()
    consent = await log_in(crowd, browser, language)
    assert {"share", "cancel", "remember", "field-name", "field-email"} <= consent.ids
    going = plain(await browser.press("share", ("field", "name")))
    assert going.location.startswith(f"{LIBRARY_CALLBACK}?code=")
    assert "continue" in going.ids
    asked = plain(await browser.follow(await browser.get("/logout")))
    assert {"log-out", "stay"} <= asked.ids
    done = plain(await browser.follow(await browser.press("log-out")))
    assert "main" in done.ids
    silent = await browser.get(crowd.library.request(prompt="none"))
    assert silent.query["error"] == "login_required"


async def test_saying_no(crowd: Crowd) -> None:
    """Cancelling is a button of the same form."""
    browser = crowd.stage.browser()
    await log_in(crowd, browser, "en")
    refused = plain(await browser.press("cancel"))
    assert refused.query["error"] == "access_denied"
    assert refused.query["iss"] == ISSUER


async def test_an_answer_by_form_has_its_button(crowd: Crowd) -> None:
    """The script is a convenience."""
    browser = crowd.stage.browser()
    page = plain(await browser.get(crowd.library.request(prompt="none", response_mode="form_post")))
    assert page.form_post is not None
    assert {"response", "continue"} <= page.ids


async def test_an_error_has_its_reference(crowd: Crowd) -> None:
    """For whoever looks for it in the log."""
    page = plain(await crowd.stage.browser().get("/authorize?client_id=unknown"))
    assert "reference" in page.ids
