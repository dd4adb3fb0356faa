"""
The story of the demo, told once and played twice: over plain HTTP, and in a real Chromium.

A customer buys tyres, lets the shop tell the garage, comes back as a known customer, takes it back, comes as somebody
else, and shares nothing at all.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from broker.demo.driver import HttpPlayer
from broker.demo.player import Player, Stuck
from broker.demo.providers.bankid import PEOPLE
from broker.demo.run import Addresses
from broker.demo.ways import (
    NAMELESS,
    WAYS,
    Inbox,
    approve_on_phone,
    both_at_shop,
    by_mailed_code,
    mailed_code,
    unfold_ways,
)


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody at a simulated provider. ``key``: in the simulator. ``email``: empty when the provider tells the shop none."""

    key: str
    name: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class Customer:
    """
    Who plays. ``plate``: a car the shop can look up. ``email``, ``phone``: what is typed at the shop. ``reader``: where the
    newsletter goes; another one for each who plays, as an address is sent only so many codes. ``other_google``: the account at
    Google that this reader adds.
    """

    bankid: Login
    google: Login
    plate: str
    car: str
    sku: str
    tyre: str
    email: str
    phone: str
    reader: str
    other_google: str


ANDERS = Customer(
    bankid=Login("anders", "Anders Lindqvist"),
    google=Login("maja", "Maja Lindqvist", "maja.lindqvist.demo@gmail.com"),
    plate="ABC 12D",
    car="Volvo V60",
    sku="firn-stig-18",
    tyre="235/45 R18",
    email="anders.lindqvist@example.com",
    phone="070-174 06 35",
    reader="saga.nyman@example.com",
    other_google="noor",
)
ELSA = Customer(
    bankid=Login("elsa", "Elsa Bergström"),
    google=Login("erik", "Erik Sandell", "erik.sandell@sandellsakeri.example"),
    plate="RST 70E",
    car="Volkswagen Golf",
    sku="firn-klo-16",
    tyre="205/55 R16",
    email="elsa.bergstrom@example.com",
    phone="070-174 06 36",
    reader="ville.salo@example.com",
    other_google="piotr",
)

OPTIONAL = ("field-vehicle-make", "field-vehicle-model", "field-customer-phone")
"""What the customer lets the garage know beyond the necessary: ids on the consent page."""

OTHER_GARAGE = "book-fitting-tyre-workshop"
"""The link on the receipt that leads to the garage that speaks SAML."""


class Report:
    """Says what is being played and how long each step took; remembers what failed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.failed: str | None = None
        self._steps = 0

    def chapter(self, title: str) -> None:
        """A new part begins."""
        self._say(f"\n  {title}")

    @contextlib.asynccontextmanager
    async def step(self, what: str, player: Player | None = None) -> AsyncIterator[None]:
        """One step of the story; when it fails, what it was, why, and where *player* stood is said, and the story ends."""
        self._steps += 1
        begun = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.failed = what
            self._say(f"  {self._steps:3}  FAILED  {what}")
            self._say(f"       {_words(error)}")
            if player is not None:
                await self._describe(player)
            raise StoryEnded from error
        self._say(f"  {self._steps:3}  {(time.perf_counter() - begun) * 1000:6.0f} ms  {what}")

    async def _describe(self, player: Player) -> None:
        self._say(f"       at {player.address}")
        # What went wrong may keep the page from being looked at, too; the step's own reason matters more.
        with contextlib.suppress(Exception):
            await player.picture("failed")
            if await player.has("reference"):
                self._say(f"       the page shows the reference {await player.text('reference')}")

    def verdict(self, seconds: float) -> None:
        """The last line."""
        verdict = f"FAILED: {self.failed}" if self.failed else f"All {self._steps} steps passed"
        self._say(f"\n  {verdict} ({seconds:.1f} s).")


class StoryEnded(Exception):
    """A step failed; the report has said which."""


async def play_all(at: Addresses, report: Report, *, pictures: Path | None, browser: bool = True) -> bool:
    """
    Play the whole story over HTTP and then, with *browser*, in Chromium.

    Args:
        pictures: a folder for screenshots; None for none.
    Returns: whether every step passed.
    """
    begun = time.perf_counter()
    with contextlib.suppress(StoryEnded):
        await play_over_http(at, report)
        if browser:
            await play_in_chromium(at, report, pictures)
    report.verdict(time.perf_counter() - begun)
    return report.failed is None


async def play_over_http(at: Addresses, report: Report) -> None:
    """The story as Anders and Maja, without scripts. Raises StoryEnded."""
    report.chapter("Over HTTP, as a browser without scripts")
    player = HttpPlayer.started(at.broker)
    try:
        await Story(at, player, ANDERS, report).play()
    finally:
        await player.close()


async def play_in_chromium(at: Addresses, report: Report, pictures: Path | None) -> None:
    """The story as Elsa and Erik, in a headless Chromium. Raises StoryEnded."""
    report.chapter("In Chromium")
    async with contextlib.AsyncExitStack() as stack:
        async with report.step("Chromium starts"):
            try:
                from broker.demo.chromium import Chromium
            except ImportError as missing:
                raise Stuck(f"the Python package {missing.name} is missing: pip install playwright") from None
            browser = await stack.enter_async_context(Chromium(pictures))
            player = await browser.player()
        await Story(at, player, ELSA, report).play()


class Story:
    """The story in one browser. Each chapter leaves off where the next begins."""

    def __init__(self, at: Addresses, player: Player, customer: Customer, report: Report) -> None:
        self._at = at
        self._player = player
        self._customer = customer
        self._report = report
        self._login = customer.bankid
        self._link = ""
        self._order = ""

    async def play(self) -> None:
        """All chapters."""
        await self.buys_and_logs_in_with_a_code()
        await self.shares_for_good()
        await self.comes_again()
        await self.takes_it_back()
        await self.is_asked_again_and_cancels()
        await self.stores_the_summer_tyres()
        await self.logs_in_on_the_same_device()
        await self.comes_with_google()
        await self.shares_nothing()
        await self.goes_to_the_other_garage()
        await self.comes_by_every_way()
        await self.reads_a_newsletter()
        await self.keeps_a_passkey()
        await self.calls_customer_service()

    # -- chapters ----------------------------------------------------------------------------------------

    async def buys_and_logs_in_with_a_code(self) -> None:
        """BankID on another device: the phone reads the code that is drawn on the screen."""
        player, who = self._player, self._customer
        async with self._step("the tyre shop shows its tyres"):
            await player.open(f"{self._at.shop}/")
            await player.picture("shop-start")
            await player.picture("shop-start", phone=True)
        async with self._step("the shop looks up the car by its plate"):
            await player.fill("plate", who.plate)
            await player.click("find-car")
            _must(who.car in await player.source(), f"the shop does not know {who.plate}")
        async with self._step("four tyres go into the basket"):
            await player.click(f"buy-{who.sku}")
            await player.picture("shop-basket")
        async with self._step("logging in leads to the broker, which offers every way in"):
            await player.click("login")
            await player.wait_for(element="method-bankid", address=f"{self._at.broker}/j/")
            await unfold_ways(player)
            for way in WAYS:
                _must(await player.has(way.element), f"{way.name} is not offered")
            await player.picture("broker-choose")
            await player.picture("broker-choose", phone=True)
        async with self._step("BankID on another device shows a code"):
            await player.click("method-bankid")
            await player.wait_for(element="device-other")
            await player.picture("broker-bankid-device")
            await player.click("device-other")
            await player.wait_for(element="qr")
            await player.picture("broker-bankid-code")
            await player.picture("broker-bankid-code", phone=True)
        async with self._step("the phone reads the drawn code and approves"):
            await approve_on_phone(player, self._at, self._login.key)
        async with self._step("the customer is logged in at the shop"):
            await player.wait_for(element="user-name", address=self._at.shop)
            _equal(await player.text("user-name"), self._login.name)
            await player.picture("shop-logged-in")

    async def shares_for_good(self) -> None:
        """The first handoff: consent with the real values, once, with "do not ask again"."""
        player, who = self._player, self._customer
        await self._buys(put_in_basket=False)
        async with self._step("the link on the receipt leads to the consent page, with the real values"):
            await self._follow_link()
            await player.wait_for(element="share", address=f"{self._at.broker}/j/")
            _must(who.plate in await player.text("field-vehicle-registration_number"), "the plate is not shown")
            _must(self._login.name in await player.text("field-customer-name"), "the name is not shown")
            _must(not await player.is_ticked("remember"), '"do not ask again" is ticked beforehand')
            for optional in OPTIONAL:
                _must(not await player.is_ticked(optional), f"{optional} is ticked beforehand")
            await player.picture("broker-consent")
            await player.picture("broker-consent", phone=True)
        async with self._step("the same page in Swedish, Finnish, Polish and English"):
            for language in ("sv", "fi", "pl", "en"):
                await player.click(f"language-{language}")
                await player.wait_for(element="share", address=f"{self._at.broker}/j/")
                if language != "en":
                    await player.picture(f"broker-consent-{language}")
        async with self._step('the customer ticks "do not ask again" and shares'):
            await self._tick_optional()
            await player.tick("remember")
            await player.picture("broker-consent-ticked")
            await player.click("share")
            await player.wait_for(element="vehicle-registration", address=f"{self._at.garage}/booking")
        async with self._step("she stands logged in at the garage, car and tyres filled in"):
            await self._check_arrival()
            await player.picture("garage-booking")
            await player.picture("garage-booking", phone=True)
        async with self._step("she books a time"):
            await self._book()
            await player.picture("garage-booked")
            await player.picture("garage-booked", phone=True)
        async with self._step('the used link leads to the garage, which says "already transferred"'):
            await player.open(self._link)
            await player.wait_for(address=f"{self._at.garage}/?handoff=already")
            await player.picture("garage-already")
        async with self._step("the shop sees that the fitting is booked"):
            await player.open(f"{self._at.shop}/orders")
            _must('class="progress booked"' in await player.source(), "the order is not shown as booked")
            await player.picture("shop-orders")

    async def comes_again(self) -> None:
        """A remembered consent: from the shop to the garage without a page of the broker."""
        player = self._player
        await self._buys()
        async with self._step("the link leads straight to the garage: no login page, no consent page"):
            before = len(player.shown)
            await self._follow_link()
            await player.wait_for(element="vehicle-registration", address=f"{self._at.garage}/booking")
            asked = [page for page in player.shown[before:] if page.startswith(self._at.broker)]
            _must(not asked, f"the broker showed {asked}")
            await self._check_arrival()
            await player.picture("garage-second-time")

    async def takes_it_back(self) -> None:
        """Withdrawal on "What I share" holds at once."""
        player = self._player
        async with self._step('"What I share" lists what the garage may have'):
            await player.open(f"{self._at.broker}/shared")
            await player.wait_for(element="customer")
            _must(bool(await player.elements("withdraw-")), "no live consent is listed")
            await player.picture("broker-what-i-share")
            await player.picture("broker-what-i-share", phone=True)
        async with self._step("one click each withdraws"):
            while waiting := await player.elements("withdraw-"):
                await player.click(waiting[0])
                await player.wait_for(element="customer", address=f"{self._at.broker}/shared?withdrawn=garage")
            _must(await player.has("nothing-shared"), "something is still shared")
            await player.picture("broker-withdrawn")
        async with self._step("the garage gets the data no more"):
            await player.open(f"{self._at.garage}/booking")
            source = await player.source()
            _must(self._customer.plate not in source, "the garage still shows the plate")
            await player.picture("garage-withdrawn")

    async def is_asked_again_and_cancels(self) -> None:
        """After withdrawing, consent is asked again; cancelling leads back to the shop."""
        player = self._player
        await self._buys()
        async with self._step("after withdrawing, the consent page is shown again"):
            await self._follow_link()
            await player.wait_for(element="share", address=f"{self._at.broker}/j/")
        async with self._step("cancelling leads back to the shop"):
            await player.click("cancel")
            await player.wait_for(element="link-again", address=f"{self._at.shop}/orders/")
            await player.picture("shop-cancelled")
        async with self._step("a new link is asked about too; this time she shares once, and less"):
            await player.click("link-again")
            await player.wait_for(element="book-fitting")
            await self._follow_link()
            await player.wait_for(element="share", address=f"{self._at.broker}/j/")
            await player.click("share")
            await player.wait_for(element="vehicle-registration", address=f"{self._at.garage}/booking")
            _equal(await player.text("vehicle-model"), "")
            await player.picture("garage-less-shared")

    async def stores_the_summer_tyres(self) -> None:
        """A partner without OpenID Connect: the account is named before she arrives there."""
        player, who = self._player, self._customer
        async with self._step("the receipt offers to store the summer tyres, and the broker asks what for"):
            await player.open(f"{self._at.shop}/orders/{self._order}")
            await player.picture("shop-store-tyres")
            self._link = await player.attribute("store-tyres", "href")
            await player.click("store-tyres")
            await player.wait_for(element="share", address=f"{self._at.broker}/j/")
            await player.tick("field-vehicle-model")
            await player.picture("broker-consent-storage")
        async with self._step("before she arrives, the broker names the account, and not in full"):
            await player.click("share")
            await player.wait_for(element="arrive", address=f"{self._at.broker}/j/")
            _must(self._login.name not in await player.source(), "the whole name is shown")
            await player.picture("broker-arrive")
            await player.picture("broker-arrive", phone=True)
        async with self._step("she confirms, and stands at the tyre hotel, car and tyres filled in"):
            await player.click("arrive")
            await player.wait_for(element="reserve", address=f"{self._at.hotel}/shelf")
            _equal(await player.text("user-name"), self._login.name)
            _equal(await player.text("vehicle-registration"), who.plate)
            _equal(await player.text("vehicle-model"), who.car)
            _must(who.tyre in await player.text("tyres"), "the tyres are not filled in")
            await player.picture("hotel-shelf")
            await player.picture("hotel-shelf", phone=True)
        async with self._step("she takes the shelf"):
            await player.click("reserve")
            await player.wait_for(element="shelf-number", address=f"{self._at.hotel}/shelf")
            await player.picture("hotel-done")
        async with self._step('the used link leads to the hotel, which says "already arrived"'):
            await player.open(f"{self._at.shop}{self._link}")
            await player.wait_for(address=f"{self._at.hotel}/?handoff=already")
            await player.picture("hotel-already")

    async def logs_in_on_the_same_device(self) -> None:
        """BankID on this device: the app opens, and comes back in a new tab."""
        player = self._player
        await self._logs_out(also_at_garage=True)
        async with self._step("BankID on this device opens the app in another tab"):
            await self._starts_login()
            await player.click("method-bankid")
            await player.wait_for(element="device-same")
            await player.click("device-same")
            await player.wait_for(element="launch")
            await player.picture("broker-bankid-launch")
            tab = await player.new_tab()
            await tab.open(await player.attribute("launch", "href"))
            await tab.click(f"person-{self._login.key}")
            await tab.picture("app-same-device")
        async with self._step("the new tab goes on and ends at the shop, and the old one is led on too"):
            await tab.click("approve")
            await both_at_shop(tab, player, self._at)
            await tab.close()
        async with self._step("the customer is logged in at the shop"):
            await player.open(f"{self._at.shop}/")
            _equal(await player.text("user-name"), self._login.name)

    async def comes_with_google(self) -> None:
        """Another customer in the same browser, with Google upstream."""
        player = self._player
        await self._logs_out()
        self._login = self._customer.google
        async with self._step("Google asks which account"):
            await self._starts_login()
            await player.click("method-google")
            await player.wait_for(element=f"account-{self._login.key}", address=self._at.google)
            await player.picture("google-choose")
        async with self._step("the Google customer is logged in at the shop"):
            await player.click(f"account-{self._login.key}")
            if await player.has("allow"):
                await player.click("allow")
            await player.wait_for(element="user-name", address=self._at.shop)
            _equal(await player.text("user-name"), self._login.name)
        await self._buys()
        async with self._step("she is asked, shares, and stands logged in at the garage"):
            await self._follow_link()
            await player.wait_for(element="share", address=f"{self._at.broker}/j/")
            await player.picture("broker-consent-google")
            await self._tick_optional()
            await player.click("share")
            await player.wait_for(element="vehicle-registration", address=f"{self._at.garage}/booking")
            await self._check_arrival()

    async def shares_nothing(self) -> None:
        """Continue without sharing: a guest with product data only."""
        player, who = self._player, self._customer
        await self._buys()
        async with self._step("she goes on without sharing"):
            await self._follow_link()
            await player.wait_for(element="continue-guest", address=f"{self._at.broker}/j/")
            await player.click("continue-guest")
            await player.wait_for(element="guest-form", address=f"{self._at.garage}/booking/guest")
        async with self._step("the garage knows the tyres, and neither plate, name, address nor order number"):
            _must(who.tyre in await player.text("tyres"), "the tyres are not shown")
            source = await player.source()
            for what, secret in {
                "the plate": who.plate,
                "the name": self._login.name,
                "the mail address": self._login.email,
                "the order number": self._order,
            }.items():
                _must(secret not in source, f"the guest page shows {what}")
            for field in ("name", "contact", "registration-number"):
                _equal(await player.value(field), "")
            await player.picture("garage-guest")
            await player.picture("garage-guest", phone=True)
        async with self._step("the guest books"):
            await player.fill("name", "Gäst Gästsson")
            await player.fill("contact", "070-174 06 37")
            await player.fill("registration-number", "UXN 93B")
            await self._book()

    async def goes_to_the_other_garage(self) -> None:
        """A partner that speaks SAML: as a guest, with consent, and then without being asked."""
        player, who = self._player, self._customer
        await self._buys()
        async with self._step("the receipt offers another garage, which speaks SAML; there she shares nothing"):
            await self._follow_link(OTHER_GARAGE)
            await player.wait_for(element="continue-guest", address=f"{self._at.broker}/j/")
            await player.picture("broker-consent-workshop")
            await player.click("continue-guest")
            await player.wait_for(element="guest-form", address=f"{self._at.workshop}/booking")
            _must(who.tyre in await player.text("tyres"), "the tyres are not shown")
            source = await player.source()
            _must(who.plate not in source and self._login.name not in source, "the guest page shows who she is")
            await player.picture("workshop-guest")
        await self._buys()
        async with self._step("she shares with it for good, and stands there logged in, car and tyres filled in"):
            await self._follow_link(OTHER_GARAGE)
            await player.wait_for(element="share", address=f"{self._at.broker}/j/")
            for optional in ("field-vehicle-make", "field-vehicle-model", "field-order-reference", "remember"):
                await player.tick(optional)
            await player.click("share")
            await self._check_workshop()
            await player.picture("workshop-booking")
            await player.picture("workshop-booking", phone=True)
        async with self._step("she books a time there, and the shop sees it"):
            await player.tick(await self._free_time())
            await player.click("book")
            await player.wait_for(element="booking-reference")
            await player.picture("workshop-booked")
            await player.open(f"{self._at.shop}/orders")
            _must('class="progress booked"' in await player.source(), "the order is not shown as booked")
        await self._buys()
        async with self._step("the next time nobody asks her anything"):
            before = len(player.shown)
            await self._follow_link(OTHER_GARAGE)
            await self._check_workshop()
            asked = [page for page in player.shown[before:] if page.startswith(f"{self._at.broker}/j/")]
            _must(not asked, f"the broker asked at {asked}")
        await self._logs_out_everywhere()

    async def _check_workshop(self) -> None:
        player, who = self._player, self._customer
        await player.wait_for(element="vehicle-registration", address=f"{self._at.workshop}/booking")
        _equal(await player.text("vehicle-registration"), who.plate)
        _equal(await player.text("vehicle-model"), who.car)
        _must(who.tyre in await player.text("tyres"), "the tyres are not filled in")
        _equal(await player.text("order-reference"), self._order)
        _equal(await player.text("user-name"), self._login.name)

    async def _logs_out_everywhere(self) -> None:
        player = self._player
        async with self._step(
            "logging out at the shop, she reads that the SAML garage may not know, and logs out there"
        ):
            await player.open(f"{self._at.shop}/")
            await player.click("logout")
            await player.wait_for(element="still", address=f"{self._at.broker}/")
            await player.picture("broker-logged-out-still")
            await player.click("still-tyre-workshop")
            # The broker's page says that this is done now, and goes on by itself.
            await player.wait_for(address=f"{self._at.shop}/logged-out")
            await player.open(f"{self._at.workshop}/")
            _must(await player.has("login"), "the workshop still knows the customer")
            await player.picture("workshop-start")
            await player.open(f"{self._at.shop}/")
            _must(not await player.has("logout"), "the shop still knows the customer")

    async def comes_by_every_way(self) -> None:
        """Each way in that is offered, and out again."""
        player = self._player
        for way in WAYS:
            async with self._step(f"{way.name} logs in {way.who}, and she logs out again"):
                await self._starts_login()
                await way.act(player, self._at)
                await player.wait_for(element="user-name", address=self._at.shop)
                _equal(await player.text("user-name"), way.customer)
                await player.click("logout")
                await player.wait_for(address=f"{self._at.shop}/logged-out")
        async with self._step("the page with every way in, in Swedish, Finnish, Polish and English"):
            await self._starts_login()
            for language in ("sv", "fi", "pl", "en"):
                await player.click(f"language-{language}")
                await player.wait_for(element="method-bankid", address=f"{self._at.broker}/j/")
                await unfold_ways(player)
                await player.picture(f"broker-choose-{language}", phone=True)

    async def reads_a_newsletter(self) -> None:
        """A link that recognises softly, and a code to the address it was mailed to."""
        player, reader = self._player, self._customer.reader
        async with Inbox(player, f"{self._at.mail}/", "open-") as inbox:
            async with self._step("the shop sends its newsletter, and it lands in the mailbox"):
                await player.open(f"{self._at.shop}/")
                await player.fill("letter-email", reader)
                await player.click("subscribe")
                await inbox.reader.click(await inbox.newest())
                link = await inbox.reader.attribute("link-1", "href")
                await inbox.reader.click("html")
                await inbox.reader.picture("mail-newsletter")
            async with self._step("its link leads to a page that greets a reader, and shows nothing of hers"):
                await player.open(link)
                await player.wait_for(element="reader", address=f"{self._at.shop}/winter")
                _must(await player.has("login"), "the link logged somebody in")
                _must(reader not in await player.source(), "the page shows her address")
                await player.picture("shop-newsletter")
                await player.picture("shop-newsletter", phone=True)
            async with self._step("a code to the address of the newsletter logs her in; the address is not shown"):
                await player.click("collect")
                await player.wait_for(element="newsletter", address=f"{self._at.broker}/j/")
                _must(reader not in await player.source(), "the broker shows her address")
                await player.picture("broker-choose-newsletter")
                await player.picture("broker-choose-newsletter", phone=True)
                await player.click("newsletter")
                await player.wait_for(element="send-code")
                await player.fill("code", await mailed_code(inbox))
                await player.click("send-code")
                await player.wait_for(element="gift", address=f"{self._at.shop}/winter")
                await player.picture("shop-newsletter-done")
        await self._adds_a_way_in()

    async def _adds_a_way_in(self) -> None:
        player = self._player
        async with self._step("on her own page she adds Google, is asked whether that is she, and says yes"):
            await player.open(f"{self._at.broker}/shared")
            await player.click("add-way")
            await player.wait_for(element="method-google", address=f"{self._at.broker}/j/")
            await player.click("method-google")
            await player.wait_for(element=f"account-{self._customer.other_google}", address=self._at.google)
            await player.click(f"account-{self._customer.other_google}")
            await player.wait_for(element="join", address=f"{self._at.broker}/j/")
            await player.picture("broker-join")
            await player.picture("broker-join", phone=True)
            await player.click("join")
            await player.wait_for(element="way-2", address=f"{self._at.broker}/shared")
            await player.picture("broker-ways-in")
            await player.picture("broker-ways-in", phone=True)
        async with self._step("she logs out, at the shop and there"):
            await player.open(f"{self._at.shop}/")
            await player.click("logout")
            await player.wait_for(address=f"{self._at.shop}/logged-out")

    async def keeps_a_passkey(self) -> None:
        """On another device, if it can: a passkey is added after a login by a mailed code, and is enough from then on."""
        device = await self._player.other_device()
        try:
            if await device.keep_passkeys():
                await self._adds_and_uses_a_passkey(device)
        finally:
            await device.close()

    async def _adds_and_uses_a_passkey(self, device: Player) -> None:
        async with self._report.step("on her phone, a customer logs in by a mailed code and adds a passkey", device):
            await device.open(f"{self._at.broker}/shared/log-in")
            await by_mailed_code(device, self._at, "oskari.virta@example.com")
            await device.wait_for(element="add-passkey", address=f"{self._at.broker}/shared")
            await device.click("add-passkey")
            await device.picture("broker-passkey-add")
            await device.click("make-passkey")
            await device.wait_for(address=f"{self._at.broker}/shared?passkey=added")
            await device.picture("broker-passkey-added", phone=True)
            await device.click("log-out")
        async with self._report.step("the passkey logs her in at the shop, and she logs out again", device):
            await device.open(f"{self._at.shop}/")
            await device.click("login")
            await device.wait_for(element="method-passkey", address=f"{self._at.broker}/j/")
            await device.picture("broker-choose-passkey")
            await device.click("method-passkey")
            await device.wait_for(element="user-name", address=self._at.shop)
            _equal(await device.text("user-name"), NAMELESS)
            await device.click("logout")
            await device.wait_for(address=f"{self._at.shop}/logged-out")

    async def calls_customer_service(self) -> None:
        """An agent asks two callers who they are, one by the app on her phone and one by a code to the contact on file."""
        agent = await self._player.other_device(phone=False)
        try:
            async with self._report.step("staff log in by the company's own way in", agent):
                await self._log_in_staff(agent, "karin")
                await agent.wait_for(element="ask", address=f"{self._at.broker}/staff")
                await agent.picture("broker-staff")
            async with self._report.step("a caller confirms in the BankID app, and the agent sees that she did", agent):
                await self._ask_caller(agent, "bankid", PEOPLE[self._customer.bankid.key].personal_number)
                await agent.wait_for(element="cancel")
                await agent.picture("broker-staff-waiting")
                await self._confirm_call()
                await self._check_outcome(agent)
            async with self._report.step("another one reads out the code that went to the contact on file", agent):
                await agent.click("back")
                async with Inbox(agent, f"{self._at.mail}/", "open-") as inbox:
                    await self._ask_caller(agent, "email", self._customer.reader)
                    await agent.wait_for(element="send-code")
                    await agent.picture("broker-staff-code")
                    await agent.fill("code", await mailed_code(inbox))
                await agent.click("send-code")
                await self._check_outcome(agent)
                await agent.click("back")
                await agent.picture("broker-staff-cases")
        finally:
            await agent.close()
        await self._refuses_other_staff()

    async def _refuses_other_staff(self) -> None:
        colleague = await self._player.other_device(phone=False)
        try:
            async with self._report.step("a colleague without the role sees nothing of it", colleague):
                await self._log_in_staff(colleague, "johan")
                await colleague.wait_for(element="reference", address=f"{self._at.broker}/")
                _must(not await colleague.has("ask"), "somebody without the role may ask callers")
        finally:
            await colleague.close()

    async def _log_in_staff(self, staff: Player, who: str) -> None:
        await staff.open(f"{self._at.broker}/staff")
        await staff.wait_for(element=f"account-{who}", address=self._at.staff)
        await staff.picture("staff-login")
        await staff.click(f"account-{who}")

    async def _ask_caller(self, agent: Player, method: str, identifier: str) -> None:
        await agent.tick(f"method-{method}")
        await agent.fill("identifier", identifier)
        await agent.fill("reference-of", self._order)
        await agent.click("ask")
        await agent.wait_for(address=f"{self._at.broker}/staff/cases/")

    async def _confirm_call(self) -> None:
        """The phone of whoever calls shows by itself that somebody asks."""
        phone = await self._player.other_device()
        try:
            await phone.open(f"{self._at.bankid_app}/")
            await phone.click(f"call-{self._customer.bankid.key}")
            await phone.picture("app-call")
            await phone.click("call-yes")
            await phone.click("approve")
            await phone.wait_for(element="verdict")
        finally:
            await phone.close()

    async def _check_outcome(self, agent: Player) -> None:
        await agent.wait_for(element="back")
        _equal(await agent.attribute("standing", "data-standing"), "confirmed")
        _must(await agent.has("known"), "the agent is not told that it is a customer")
        _must(self._customer.bankid.name not in await agent.source(), "the agent is told a name")
        await agent.picture("broker-staff-confirmed")

    # -- what happens more than once ---------------------------------------------------------------------

    async def _buys(self, *, put_in_basket: bool = True) -> None:
        """Buy four tyres and stop at the receipt with its link."""
        player, who = self._player, self._customer
        async with self._step("tyres are bought, and the receipt offers to book the fitting"):
            if put_in_basket:
                await player.open(f"{self._at.shop}/tyres/{who.sku}")
                await player.click(f"buy-{who.sku}")
            await player.open(f"{self._at.shop}/checkout")
            await self._fill_checkout()
            if not put_in_basket:
                await player.picture("shop-checkout")
            await player.click("pay")
            await player.wait_for(element="book-fitting", address=f"{self._at.shop}/orders/")
            self._order = await player.text("order-reference")
            if not put_in_basket:
                await player.picture("shop-receipt")
                await player.picture("shop-receipt", phone=True)

    async def _fill_checkout(self) -> None:
        """The name comes from the login, and so does the address where the provider tells it."""
        player, who = self._player, self._customer
        _equal(await player.value("name"), self._login.name)
        if self._login.email:
            _equal(await player.value("email"), self._login.email)
        else:
            await player.fill("email", who.email)
        await player.fill("phone", who.phone)
        if not await player.elements("car-"):
            await player.fill("registration-number", who.plate)

    async def _follow_link(self, link: str = "book-fitting") -> None:
        self._link = await self._player.attribute(link, "href")
        await self._player.click(link)

    async def _tick_optional(self) -> None:
        for optional in OPTIONAL:
            await self._player.tick(optional)

    async def _check_arrival(self) -> None:
        player, who = self._player, self._customer
        _equal(await player.text("vehicle-registration"), who.plate)
        _equal(await player.text("vehicle-model"), who.car)
        _must(who.tyre in await player.text("tyres"), "the tyres are not filled in")
        _equal(await player.text("order-reference"), self._order)
        _equal(await player.text("user-name"), self._login.name)

    async def _book(self) -> None:
        player = self._player
        await player.tick(await self._free_time())
        await player.click("book")
        await player.wait_for(element="booking-reference", address=f"{self._at.garage}/bookings/")

    async def _free_time(self) -> str:
        times = [each for each in await self._player.elements("slot-") if each != "slot-missing"]
        if not times:
            raise Stuck("the garage has no free time")
        return times[0]

    async def _starts_login(self) -> None:
        await self._player.open(f"{self._at.shop}/")
        await self._player.click("login")
        await self._player.wait_for(element="method-bankid", address=f"{self._at.broker}/j/")

    async def _logs_out(self, *, also_at_garage: bool = False) -> None:
        """*also_at_garage*: she must stand logged in there beforehand, too."""
        player = self._player
        async with self._step("logging out at the shop logs out at the broker and at the garage too"):
            await player.open(f"{self._at.garage}/")
            _must(not also_at_garage or await player.has("logout"), "she is not logged in at the garage beforehand")
            await player.open(f"{self._at.shop}/")
            await player.click("logout")
            await player.wait_for(address=f"{self._at.shop}/logged-out")
            await player.picture("shop-logged-out")
            await player.open(f"{self._at.broker}/shared")
            _must(await player.has("log-in"), "the broker still knows the customer")
            await player.open(f"{self._at.garage}/")
            _must(not await player.has("logout"), "the garage still knows the customer")

    def _step(self, what: str) -> contextlib.AbstractAsyncContextManager[None]:
        return self._report.step(what, self._player)


def _must(holds: bool, complaint: str) -> None:
    if not holds:
        raise Stuck(complaint)


def _equal(found: str, expected: str) -> None:
    if found != expected:
        raise Stuck(f"found {found!r} where {expected!r} belongs")


def _words(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0] if isinstance(error, Stuck) else f"{type(error).__name__}: {text.splitlines()[0]}"
