"""
``oidcc-formpost-basic-certification-test-plan``: every module of the Basic plan once more, each answer by form.

How an answer travels is checked by `tests.conformance.plan.Suite.callback`; here stands what only forms have.
"""

from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance import test_basic_op
from tests.conformance.plan import CALLBACK, Suite, open_suite

pytestmark = pytest.mark.asyncio(loop_scope="module")

globals().update({name: each for name, each in vars(test_basic_op).items() if name.startswith("test_")})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def op(prepared_stage: Path) -> AsyncIterator[Suite]:
    async with open_suite(prepared_stage, "form_post") as suite:
        yield suite


async def test_the_page_allows_what_it_needs_and_nothing_else(op: Suite) -> None:
    """Its script is a file of ours, its form goes to the client's origin and on over https; nothing is kept, framed or told."""
    answer = await op.stage.browser().get(op.request(prompt="none"))
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["form-action"] == "'self' https://suite.example https:"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    script = answer.text.partition('<script src="')[2].partition('"')[0]
    assert "submit()" in (await op.stage.client.get(script)).text


async def test_members_are_escaped(op: Suite) -> None:
    """A state is the client's text and stays one."""
    state = "\"><script>alert(1)</script>'&amp;"
    answer = await op.stage.browser().get(op.request(prompt="none", state=state))
    assert "<script>alert" not in answer.text
    assert op.callback(answer)["state"] == state
    assert unescape(answer.text).count(state) == 1


async def test_cancelling_answers_by_form_too(op: Suite) -> None:
    """access_denied, from the page that answers our own form."""
    browser = op.stage.browser()
    await browser.follow(await browser.get(op.request()))
    members = op.callback(await browser.press("cancel"))
    assert members["error"] == "access_denied"


async def test_the_button_does_what_the_script_does(op: Suite) -> None:
    """A form with one button and no field that is not part of the answer."""
    browser = op.stage.browser()
    await op.log_in(browser)
    answer = await browser.get(op.request())
    assert answer.form_post is not None
    assert answer.form_post["action"] == CALLBACK
    assert {name for name, _ in answer.form_post["fields"]} == {"code", "state", "iss"}
    assert not answer.form_post["buttons"]
