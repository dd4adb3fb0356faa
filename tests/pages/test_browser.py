"""
The pages in a real Chromium: accessibility, keyboard, narrow windows, and the waiting page's script.

One browser for this module. Its pages are answered by the test itself with exactly what `Pages.render` gives, headers
included, so the browser obeys the real policy.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import pytest
import zxingcpp
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright
from starlette.applications import Starlette
from starlette.testclient import TestClient

from broker.core.changing import replace
from broker.pages.logo import Logos, check_logo
from broker.pages.qr import qr_svg
from broker.pages.render import LANGUAGES, Pages
from broker.pages.views import Page as View
from broker.pages.views import Phase, WaitPage
from tests.pages.samples import QR_TEXT, views
from tests.pages.test_logo import drawn

pytestmark = pytest.mark.browser

ORIGIN = "http://localhost:8700"
PAGES = Pages(broker_name="Stafett", support_uri="https://help.example/")
LOGOS = Logos({"shop": check_logo(drawn("PNG"))})
SHIPPED = TestClient(Starlette(routes=[*PAGES.routes(), *LOGOS.routes()]))

# What a partner may be called: long, unbreakable, right to left, full of markup.
LONG = (
    "Autonrengaspalveluyritysyhdistys-Przedsiębiorstwo-Wielobranżowe Konstantynopolitańczykowianeczka "
    "<b>\u202eAB</b> & Söner Däckverkstad i Örnsköldsvik Aktiebolag"
)
VIEWS = {
    **views(shop_logo=LOGOS.src("shop")),
    **{f"long-{name}": view for name, view in views(lambda text: LONG, shop_logo=LOGOS.src("shop")).items()},
}


RUN_AXE = """async (which) => {
  const found = await axe.run(document, {resultTypes: ["violations"], ...which});
  return found.violations.map((each) => each.id + ": " + each.nodes[0].html);
}"""


@dataclass
class Server:
    """
    Answers a browser page's requests.

    ``answers`` overrides paths, ``asked`` lists what was asked for, ``posted`` the forms that came, ``complaints`` what
    the browser did not like.
    """

    answers: dict[str, Callable[[Route], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    posted: list[dict[str, list[str]]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def serve(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        self.asked.append(url.path)
        if f"{url.scheme}://{url.netloc}" != ORIGIN:
            self.complaints.append(f"asked {url.netloc}")
            route.abort()
        elif url.path in self.answers:
            self.answers[url.path](route)
        elif route.request.method == "POST":
            self.posted.append(parse_qs(route.request.post_data or ""))
            answer_with(route, VIEWS["logged-out"])
        elif url.path.startswith(("/static/", "/logo/")):
            answer = SHIPPED.get(url.path)
            route.fulfill(status=answer.status_code, headers=dict(answer.headers), body=answer.content)
        elif url.path.endswith("/qr"):
            route.fulfill(body=qr_svg(QR_TEXT), content_type="image/svg+xml")
        else:
            name, _, language = url.path.strip("/").partition("/")
            answer_with(route, VIEWS[name], language or "en")


def answer_with(route: Route, view: View, language: str = "en") -> None:
    response = PAGES.render(view, language=language, reference="7KQ-4TX")
    route.fulfill(status=response.status_code, headers=dict(response.headers), body=bytes(response.body))


@pytest.fixture(scope="module")
def chromium(chromium_path: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def context(chromium: Browser, server: Server) -> Iterator[BrowserContext]:
    """A phone-sized window; whatever its pages complain about in their console fails the test."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    context.route("**/*", server.serve)
    context.on("console", lambda said: server.complaints.append(said.text) if said.type == "error" else None)
    context.on("weberror", lambda error: server.complaints.append(str(error.error)))
    yield context
    context.close()
    assert [text for text in server.complaints if "Failed to load resource" not in text] == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


# One full view of every kind of page, and of what makes its markup different.
KINDS = [
    "choose-handoff", "choose-notice", "passkey", "passkey-late", "passkey-add", "passkey-stale", "passkey-remove",
    "shared-passkeys", "shared-passkeys-hint", "welcome", "wrong-customer", "wait-choose_device", "wait-qr", "wait-launch",
    "wait-failed", "consent", "consent-login", "shared", "shared-empty", "shared-login", "handoff-already",
    "join-offer", "join-renew", "join-seen", "join-another", "join-refused", "shared-ways", "shared-ways-refused", "remove-way",
    "problem-our_fault", "problem-all-ways", "log-out", "logged-out", "index", "choose-identify",
    "choose-identify-complaint", "code-email", "code-wrong", "code-void", "link-open", "link-elsewhere", "link-disown",
    "desk", "desk-problem", "desk-closed", "desk-case", "desk-case-code", "desk-case-confirmed", "desk-case-declined",
]  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_accessible(context: BrowserContext, page: Page, language: str) -> None:
    """axe finds nothing on any page (WCAG 2.2 A and AA, and its best practices); colours have a test of their own."""
    context.add_init_script(Axe().axe_script)
    found: list[str] = []
    for name in KINDS:
        page.goto(f"{ORIGIN}/{name}/{language}")
        found += [
            f"{name} {each}" for each in page.evaluate(RUN_AXE, {"rules": {"color-contrast": {"enabled": False}}})
        ]
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(context: BrowserContext, page: Page, scheme: Literal["light", "dark"]) -> None:
    """axe finds every word legible on any page, light or dark (WCAG 1.4.3); colours are the same in every language."""
    context.add_init_script(Axe().axe_script)
    page.emulate_media(color_scheme=scheme)
    found: list[str] = []
    for name in KINDS:
        page.goto(f"{ORIGIN}/{name}/fi")
        found += [f"{name} {each}" for each in page.evaluate(RUN_AXE, {"runOnly": ["color-contrast"]})]
    assert found == []


def test_nothing_runs_over_the_edge(page: Page) -> None:
    """At 320 pixels, with endless words in every place, no page scrolls sideways (WCAG 1.4.10)."""
    page.set_viewport_size({"width": 320, "height": 700})
    for name in KINDS:
        page.goto(f"{ORIGIN}/long-{name}/fi")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, name


def test_targets_are_large_enough(page: Page) -> None:
    """Every link and button is at least 44 pixels high; a box is 24 and its label the rest."""
    for name in KINDS:
        page.goto(f"{ORIGIN}/{name}/pl")
        small = page.evaluate(
            """() => [...document.querySelectorAll("main a, main button, main label, header a, footer a")]
                .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 44 - 0.5)
                .filter((each) => !each.closest(".tall"))
                .map((each) => each.outerHTML)"""
        )
        assert small == [], name


def test_keyboard_alone_is_enough(page: Page, server: Server) -> None:
    """Consent by keyboard: everything is reached in reading order, the focus is seen, and the answer is what was meant."""
    page.goto(f"{ORIGIN}/consent")
    walked = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => { const it = document.activeElement, style = getComputedStyle(it);
                return [it.id || it.className, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2]; }"""
        )
        walked.append(focused[0])
        assert focused[1], f"focus not seen on {focused[0]}"
        if focused[0] in {"field-customer-phone", "remember"}:
            page.keyboard.press("Space")
        if focused[0] == "share":
            break
    assert walked[0] == "skip"
    assert walked[-2:] == ["remember", "share"]
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('logged out')")
    assert server.posted == [
        {
            "csrf": ["csrf-token"],
            "digest": ["d1"],
            "field": ["customer.phone", "booking.wanted_from"],
            "remember": ["yes"],
            "answer": ["share"],
        }
    ]


def test_skip_link(page: Page) -> None:
    """The first key press reaches a link that jumps over the head of the page."""
    page.goto(f"{ORIGIN}/shared")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_tick_all(page: Page) -> None:
    """One press ticks every optional field, and never "do not ask again"."""
    page.goto(f"{ORIGIN}/consent")
    page.click("#tick-all")
    expect(page.locator("#optional input:checked")).to_have_count(5)
    expect(page.locator("#remember")).not_to_be_checked()
    expect(page.locator("#tick-all")).to_be_hidden()
    page.click("#field-booking-note")
    expect(page.locator("#tick-all")).to_be_visible()


def test_without_scripts(chromium: Browser, server: Server) -> None:
    """A customer without scripts chooses a way, answers for the consent and waits, all the same."""
    context = chromium.new_context(java_script_enabled=False)
    context.route("**/*", server.serve)
    page = context.new_page()
    page.goto(f"{ORIGIN}/choose-handoff")
    page.click("#method-google")
    page.goto(f"{ORIGIN}/consent")
    assert not page.is_visible("#tick-all")
    page.click("label[for=field-booking-note]")
    page.click("#continue-guest")
    page.goto(f"{ORIGIN}/wait-choose_device")
    page.click("#device-other")
    context.close()
    assert [form.get("method") or form.get("answer") or form.get("do") for form in server.posted] == [
        ["google"],
        ["guest"],
        ["other"],
    ]
    assert "remember" not in server.posted[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_is_read_from_the_screen(page: Page, scheme: Literal["light", "dark"]) -> None:
    """What a phone's camera sees on the page is exactly what was to be drawn, also on a dark page."""
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{ORIGIN}/wait-qr")
    seen = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("L")
    assert [each.text for each in zxingcpp.read_barcodes(seen, try_invert=False)] == [QR_TEXT]


@dataclass
class Waiting:
    """The waiting page with its clock in our hand: nothing happens until `after` lets time pass."""

    page: Page
    server: Server
    view: WaitPage
    status: int = 200

    def poll(self, route: Route) -> None:
        if self.status != 200:
            route.fulfill(status=self.status, body="{}")
            return
        response = PAGES.poll_answer(self.view, language="en")
        route.fulfill(body=bytes(response.body), content_type="application/json")

    def open(self) -> None:
        self.server.answers["/j/q4Jm0T"] = lambda route: answer_with(route, self.view)
        self.server.answers["/j/q4Jm0T/poll"] = self.poll
        self.page.clock.install()
        self.page.goto(f"{ORIGIN}/j/q4Jm0T")

    def after(self, seconds: float) -> None:
        self.page.clock.run_for(int(seconds * 1000))

    @property
    def polls(self) -> int:
        return self.server.asked.count("/j/q4Jm0T/poll")


@pytest.fixture
def waiting(page: Page, server: Server) -> Waiting:
    view = VIEWS["wait-qr"]
    assert isinstance(view, WaitPage)
    return Waiting(page, server, view)


def test_code_changes_every_second(waiting: Waiting) -> None:
    """Each second the page asks once and shows the new drawing, without touching anything else."""
    waiting.open()
    for second in range(2, 5):
        waiting.view = replace(waiting.view, qr_src=f"/j/q4Jm0T/qr?n={second}")
        waiting.after(1)
        expect(waiting.page.locator("#qr")).to_have_attribute("src", f"/j/q4Jm0T/qr?n={second}")
    assert 3 <= waiting.polls <= 4


def test_phases_follow_the_app(waiting: Waiting) -> None:
    """When the app takes over, code and steps go, the heading and the words say so, and a button takes its place."""
    waiting.open()
    waiting.view = replace(waiting.view, phase=Phase.WORKING, message_key="bankid.RFA9", qr_src=None)
    waiting.after(1)
    expect(waiting.page.locator("#status")).to_have_text("Confirm in the app with your security code.")
    expect(waiting.page.locator("#qr")).to_be_hidden()
    expect(waiting.page.locator("h1")).to_contain_text("Continue in the app")
    waiting.view = replace(waiting.view, phase=Phase.FAILED, message_key="bankid.RFA6", actions=("retry", "cancel"))
    waiting.after(1)
    expect(waiting.page.locator("#retry")).to_be_visible()
    expect(waiting.page.locator("#cancel")).to_be_visible()
    before = waiting.polls
    waiting.after(30)
    assert waiting.polls == before, "a failed login is not asked about any more"


def test_focus_is_not_lost(waiting: Waiting) -> None:
    """When the focused button goes, the heading takes the focus, so that a screen reader knows where it is."""
    waiting.open()
    waiting.page.focus("#cancel")
    waiting.view = replace(waiting.view, phase=Phase.WORKING, message_key="bankid.RFA21", actions=())
    waiting.after(1)
    expect(waiting.page.locator("#cancel")).to_be_hidden()
    assert waiting.page.evaluate("document.activeElement.tagName") == "H1"


def test_it_goes_on_when_the_login_is_done(waiting: Waiting, server: Server) -> None:
    """The poll names the next step; the page replaces itself, so that "back" does not lead into a finished login."""
    waiting.open()
    over = bytes(PAGES.poll_over("/logged-out").body)
    server.answers["/j/q4Jm0T/poll"] = lambda route: route.fulfill(body=over, content_type="application/json")
    waiting.after(1)
    waiting.page.wait_for_url(f"{ORIGIN}/logged-out")


def test_a_shaky_line_is_told_and_survived(waiting: Waiting) -> None:
    """Failures are told once, asked more seldom, and forgotten as soon as an answer comes."""
    waiting.open()
    waiting.status = 503
    waiting.after(1)
    expect(waiting.page.locator("#status")).to_have_text("The connection is shaky. We keep trying.")
    before = waiting.polls
    for _ in range(20):
        waiting.after(1)
    assert waiting.polls - before <= 5
    waiting.status = 200
    waiting.after(8)
    expect(waiting.page.locator("#status")).to_have_text("Open your BankID app.")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_login_that_is_gone_shows_its_page(waiting: Waiting, status: int) -> None:
    """When the server knows better, the page asks it for the page that is right now."""
    waiting.open()
    waiting.status = status
    waiting.server.answers["/j/q4Jm0T"] = lambda route: answer_with(route, VIEWS["problem-expired"])
    waiting.after(1)
    expect(waiting.page.locator("h1")).to_have_text("It took a little too long")


def test_a_hidden_page_rests(waiting: Waiting) -> None:
    """In the background nothing is asked; back in view it asks at once, however long the phone was in the app."""
    waiting.page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => Boolean(window.away)})")
    waiting.open()
    waiting.page.evaluate("window.away = true")
    waiting.after(30)
    assert waiting.polls <= 1
    waiting.view = replace(waiting.view, phase=Phase.WORKING, message_key="bankid.RFA21", qr_src=None)
    waiting.page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(waiting.page.locator("#status")).to_have_text("Working …")


def test_a_reload_goes_on(waiting: Waiting) -> None:
    """Everything the page needs is in it: a reload in the middle shows the present phase and goes on asking."""
    waiting.open()
    waiting.view = replace(waiting.view, phase=Phase.WORKING, message_key="bankid.RFA9", qr_src=None)
    waiting.page.reload()
    expect(waiting.page.locator("#status")).to_have_text("Confirm in the app with your security code.")
    waiting.view = replace(waiting.view, message_key="bankid.RFA21")
    waiting.after(1)
    expect(waiting.page.locator("#status")).to_have_text("Working …")


def test_continue_page_moves_by_itself(page: Page, server: Server) -> None:
    """Without any script and without a press, the customer is on the way, and the page is not left in the history's way."""
    garage = "https://garage.example/start?iss=a&login_hint=b"
    page.route(garage, lambda route: route.fulfill(body="<title>garage</title>", content_type="text/html"))
    page.goto(f"{ORIGIN}/continue", wait_until="commit")
    page.wait_for_url(garage)


@pytest.mark.parametrize("by_script", [True, False], ids=["by-script", "by-button"])
def test_an_answer_by_form_leaves_over_redirects(chromium: Browser, server: Server, by_script: bool) -> None:
    """
    docs/adr/0014: posted once, with every member, and the partner's redirect to another host of its own is not held up: Chromium
    holds every hop after a form against ``form-action``.
    """
    context = chromium.new_context(java_script_enabled=by_script)
    said: list[str] = []
    context.on("console", lambda message: said.append(message.text))

    def serve(route: Route) -> None:
        if route.request.method == "POST":
            server.posted.append(parse_qs(route.request.post_data or ""))
            route.fulfill(status=303, headers={"location": "https://app.garage.invalid/in"})
        else:
            server.serve(route)

    context.route("**/*", serve)
    page = context.new_page()
    page.goto(f"{ORIGIN}/post", wait_until="commit")
    with page.expect_event("requestfailed", lambda request: "garage.invalid" in request.url):
        if not by_script:
            page.click("#continue")
    context.close()
    assert server.posted == [{"code": ["a"], "state": ["s"], "iss": ["https://login.example"]}]
    assert [text for text in said if "form-action" in text] == []
