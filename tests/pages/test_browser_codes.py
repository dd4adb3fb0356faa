"""Codes and links in a real Chromium: the page's script, and links followed by people, scanners and in other browsers."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from broker.core.changing import replace
from broker.pages.render import Pages
from broker.pages.static import STATIC_DIR
from broker.pages.views import CodePage
from tests.pages.samples import views
from tests.stage import SHOP_CALLBACK
from tests.upstream.codes import MAJA, NUMBER, Post, open_post

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@dataclass
class World:
    """A broker that listens, and browsers that find it and the shop's callback."""

    post: Post
    issuer: str
    chromium: Browser

    @asynccontextmanager
    async def browser(self, *, scripts: bool = True) -> AsyncIterator[BrowserContext]:
        """A phone-sized browser of its own."""
        context = await self.chromium.new_context(
            viewport={"width": 390, "height": 844}, java_script_enabled=scripts, locale="en-GB"
        )

        async def arrive(route: Route) -> None:
            await route.fulfill(body="<title>shop</title><h1>Welcome back</h1>", content_type="text/html")

        await context.route(f"{SHOP_CALLBACK.removesuffix('/login/callback')}/**", arrive)
        yield context
        await context.close()

    async def code_page(self, context: BrowserContext, to: str = MAJA) -> Page:
        """She comes from the shop and gives her address by keyboard alone."""
        page = await context.new_page()
        await page.goto(self.issuer + self.post.stage.shop.request())
        await page.focus("#identifier")
        await page.keyboard.type(to)
        await page.keyboard.press("Enter")
        await expect(page.locator("#code")).to_be_focused()
        await self.post.idle()
        return page


@pytest_asyncio.fixture(loop_scope="session")
async def world(stage_folder: Path, chromium: Browser) -> AsyncIterator[World]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        issuer = f"http://localhost:{listener.getsockname()[1]}"
        async with open_post(stage_folder, edit={"issuer: http://localhost:8700": f"issuer: {issuer}"}) as post:
            config = uvicorn.Config(post.stage.broker.app, lifespan="off", log_config=None, access_log=False)
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            yield World(post, issuer, chromium)
            server.should_exit = True
            await serving


async def is_in(page: Page) -> None:
    """She is at the shop with a code."""
    await page.wait_for_url(re.compile(re.escape(SHOP_CALLBACK) + r"\?.*code="))


async def test_a_pasted_code_needs_no_button(world: World) -> None:
    """``123 456`` as it stands in the mail, pasted: she is in."""
    async with world.browser() as context:
        page = await world.code_page(context)
        code = world.post.mail.code
        await expect(page.locator("#code")).to_be_focused()
        await page.evaluate(
            """(code) => { const field = document.getElementById("code"); field.value = code;
            field.dispatchEvent(new InputEvent("input", {bubbles: true, inputType: "insertFromPaste"})); }""",
            f"{code[:3]} {code[3:]}",
        )
        await is_in(page)


async def test_typed_by_keyboard_alone(world: World) -> None:
    """A wrong code, the complaint that is announced, then the right one and Enter."""
    async with world.browser() as context:
        page = await world.code_page(context, NUMBER)
        await page.keyboard.type(world.post.wrong(world.post.sms))
        await page.keyboard.press("Enter")
        await expect(page.locator("#status[role=alert]")).to_contain_text("That is not the code")
        await expect(page.locator("#code")).to_be_focused()
        assert await page.get_attribute("#code", "aria-invalid") == "true"
        await page.keyboard.type(world.post.sms.code)
        await page.keyboard.press("Enter")
        await is_in(page)


async def test_without_scripts(world: World) -> None:
    """Address, another code, code: all by forms."""
    async with world.browser(scripts=False) as context:
        page = await world.code_page(context)
        await page.click("#again")
        await expect(page.locator("#status")).to_contain_text("A code was sent a moment ago")
        await expect(page.locator("#again-when")).to_contain_text("in 30 seconds")
        await page.fill("#code", world.post.mail.code)
        await page.click("#send-code")
        await is_in(page)


async def test_a_scanner_first_and_then_her_click(world: World) -> None:
    """
    A headless browser fetches the link first, runs its scripts and presses what it finds; hers then shows the button, the secret
    is gone from the address bar, and the tab that waited goes on by itself.
    """
    async with world.browser() as context, world.browser() as scanner:
        waiting = await world.code_page(context)
        link = world.post.mail.link
        bot = await scanner.new_page()
        await bot.goto(link)
        assert await bot.locator("main button, main form").count() == 0
        assert await bot.evaluate("location.pathname") == "/m"
        await bot.reload()
        await expect(bot.locator("h1")).to_have_text("Go on where you began")
        tab = await context.new_page()
        await tab.goto(link)
        assert await tab.evaluate("location.href") == waiting.url
        assert await tab.evaluate("history.length") <= 2
        async with waiting.expect_request(re.compile(r"http://127\.0\.0\.1:8701/$"), timeout=10000):
            await tab.click("#follow")
            await is_in(tab)
            await waiting.bring_to_front()


async def test_the_link_in_another_browser(world: World) -> None:
    """Her mail opens on the phone, the login began on the computer: the code is typed there."""
    async with world.browser() as computer, world.browser() as phone:
        waiting = await world.code_page(computer)
        mail = await phone.new_page()
        await mail.goto(world.post.mail.link)
        await expect(mail.locator("h1")).to_have_text("Go on where you began")
        assert await phone.cookies() == []
        await waiting.fill("#code", world.post.mail.code)
        await waiting.click("#send-code")
        await is_in(waiting)


async def test_the_link_twice(world: World) -> None:
    """The second time there is no button, but a way on."""
    async with world.browser() as context:
        page = await world.code_page(context)
        await page.goto(world.post.mail.link)
        await page.click("#follow")
        await is_in(page)
        await page.goto(world.post.mail.link)
        await expect(page.locator("h1")).to_have_text("This link no longer works")
        await expect(page.locator("#go-on")).to_be_visible()


async def test_that_was_not_me(world: World) -> None:
    """Pressed wherever the mail was read, by a form without cookie; the page that waits says so by itself."""
    async with world.browser() as context, world.browser() as other:
        waiting = await world.code_page(context)
        page = await other.new_page()
        await page.goto(f"{world.post.mail.link}/no")
        assert await page.evaluate("location.pathname") == "/m"
        await page.click("#disown")
        await expect(page.locator("h1")).to_have_text("The login is stopped")
        await expect(waiting.locator(".notice")).to_contain_text("The login was stopped", timeout=8000)


async def test_another_address(world: World) -> None:
    """She mistyped: another way leads back to the field; a reload of the new page shows what is due."""
    async with world.browser() as context:
        page = await world.code_page(context, "wrong@example.com")
        await page.click("#cancel")
        await page.fill("#identifier", MAJA)
        await page.click("#identify")
        await expect(page.locator("main")).to_contain_text(MAJA)
        await world.post.idle()
        await page.reload()
        await page.fill("#code", world.post.mail.code)
        await page.click("#send-code")
        await is_in(page)


async def test_what_is_no_address_is_said_beside_the_field(world: World) -> None:
    """The text stays, the field has the focus and its description names the complaint."""
    async with world.browser() as context:
        page = await context.new_page()
        await page.goto(world.issuer + world.post.stage.shop.request())
        await page.fill("#identifier", "maja@")
        await page.keyboard.press("Enter")
        await expect(page.locator("#identify-complaint")).to_contain_text("complete e-mail address")
        await expect(page.locator("#identifier")).to_have_value("maja@")
        await expect(page.locator("#identifier")).to_be_focused()
        assert "identify-complaint" in (await page.get_attribute("#identifier", "aria-describedby") or "")


# The script by itself


@pytest_asyncio.fixture(loop_scope="session")
async def shown(chromium: Browser) -> AsyncIterator[tuple[Page, dict[str, CodePage]]]:
    """The page of the code with its clock in our hand, and under ``view`` what the server says."""
    pages, origin = Pages(broker_name="Stafett"), "http://localhost:8700"
    view = views()["code-email"]
    assert isinstance(view, CodePage)
    held = {"view": view}

    async def serve(route: Route) -> None:
        path = route.request.url.removeprefix(origin)
        if path.startswith("/static/"):
            name = re.sub(r"/static/(\w+)\.\w+\.", r"\1.", path)
            await route.fulfill(path=STATIC_DIR / name)
        elif path.endswith("/poll"):
            answer = pages.poll_answer(held["view"], language="en")
            await route.fulfill(body=bytes(answer.body), content_type="application/json")
        else:
            answer = pages.render(held["view"], language="en", reference="r")
            await route.fulfill(body=bytes(answer.body), headers=dict(answer.headers))

    page = await chromium.new_page()
    await page.route("**/*", serve)
    await page.clock.install()
    await page.goto(f"{origin}/j/q4Jm0T")
    yield page, held
    await page.close()


async def test_the_countdown(shown: tuple[Page, dict[str, CodePage]]) -> None:
    """It counts down, the button does nothing before, keeps the focus, and works after."""
    page, held = shown
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.method) if request.method == "POST" else None)
    held["view"] = replace(held["view"], again_in_s=25)
    await page.clock.run_for(3000)
    await expect(page.locator("#again-when")).to_have_text("You can ask for a new code in 25 seconds.")
    await page.focus("#again")
    await page.keyboard.press("Enter")
    assert posts == []
    held["view"] = replace(held["view"], again_in_s=0)
    await page.clock.run_for(26000)
    await expect(page.locator("#again-when")).to_be_hidden()
    await expect(page.locator("#again")).to_be_focused()
    async with page.expect_request(lambda request: request.method == "POST"):
        await page.keyboard.press("Enter")


async def test_what_became_of_the_message(shown: tuple[Page, dict[str, CodePage]]) -> None:
    """Told when it is known, as an alert; the field goes when no code can be typed any more, its focus goes to the heading."""
    page, held = shown
    await page.focus("#code")
    held["view"] = replace(
        held["view"], message_key="code.undeliverable", is_well=False, actions=("cancel",), again_in_s=None
    )
    await page.clock.run_for(3100)
    await expect(page.locator("#status[role=alert]")).to_contain_text("could not be delivered")
    await expect(page.locator("#code")).to_be_hidden()
    await expect(page.locator("h1")).to_be_focused()
