"""
The ways in that the demo offers, and how a customer goes each of them: what `demo-check` logs in by, one after the other.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from broker.demo.player import Player, Stuck
from broker.demo.providers.shown_text import code_in
from broker.demo.run import Addresses

NAMELESS = "Logged in"
"""How the shop greets a customer whose way in tells no name."""


@dataclass(frozen=True, slots=True)
class Way:
    """
    One way in. ``name``: how people call it; ``element``: what of the page of ways in is for it; ``customer``: how the shop
    greets whoever came by it.

    ``act``: from the broker's page of ways in on, until nothing is left to do.
    """

    name: str
    element: str
    customer: str
    act: Callable[[Player, Addresses], Awaitable[None]]

    @property
    def who(self) -> str:
        """The customer, in words."""
        return "a customer without a name" if self.customer == NAMELESS else self.customer


async def approve_on_phone(player: Player, at: Addresses, person: str) -> None:
    """A code is on the screen of *player*; the phone of *person* reads and approves it."""
    code = await player.read_code("qr")
    phone = await player.other_device()
    try:
        await phone.open(f"{at.bankid_app}/")
        await phone.picture("app-scan")
        await phone.fill("qr-text", code)
        await phone.click("scan-submit")
        await phone.picture("app-people")
        await phone.click(f"person-{person}")
        await phone.picture("app-approve")
        await phone.click("approve")
        await phone.wait_for(element="verdict")
        await phone.picture("app-done")
    finally:
        await phone.close()


async def _bankid(player: Player, at: Addresses) -> None:
    await player.click("method-bankid")
    await player.wait_for(element="device-other")
    await player.click("device-other")
    await player.wait_for(element="qr")
    await approve_on_phone(player, at, "nils")


async def unfold_ways(player: Player) -> None:
    """Show every way in on the broker's page, also those that are behind one press more."""
    if await player.has("more-ways"):
        await player.unfold("more-ways")


async def _eid(player: Player, at: Addresses) -> None:
    await unfold_ways(player)
    await player.click("method-ftn")
    await player.wait_for(element="account-aino", address=at.eid)
    await player.picture("eid-choose")
    await player.picture("eid-choose", phone=True)
    await player.click("account-aino")


async def _eidas(player: Player, at: Addresses) -> None:
    await unfold_ways(player)
    await player.click("method-eidas")
    await player.wait_for(element="country-EL", address=at.eidas)
    await player.picture("eidas-country")
    await player.picture("eidas-country", phone=True)
    await player.click("country-EL")
    await player.wait_for(element="account-eleni")
    await player.tick("level-2")
    await player.picture("eidas-choose")
    await player.picture("eidas-choose", phone=True)
    await player.click("account-eleni")
    await _posts(player, at.eidas)


async def _google(player: Player, at: Addresses) -> None:
    await player.click("method-google")
    await player.wait_for(element="account-aino", address=at.google)
    await player.click("account-aino")


async def _meta(player: Player, at: Addresses) -> None:
    await player.click("method-meta")
    await player.wait_for(element="continue-as", address=at.meta)
    await player.tick("person-erik")
    await player.picture("facebook-dialog")
    await player.click("continue-as")


async def _apple(player: Player, at: Addresses) -> None:
    await player.click("method-apple")
    await player.wait_for(element="account-aino", address=at.apple)
    await player.picture("apple-choose")
    await player.click("account-aino")
    await _posts(player, at.apple)


async def _posts(player: Player, provider: str) -> None:
    """The page of *provider* that posts the answer does so by itself where scripts run."""
    if player.address.startswith(provider) and await player.has("go-on"):
        await player.click("go-on")


async def _mailed_code(player: Player, at: Addresses) -> None:
    await by_mailed_code(player, at, "linnea.holm@example.com")


async def by_mailed_code(player: Player, at: Addresses, address: str) -> None:
    """She types *address*, reads the mail on another device, and types the code from it."""
    async with Inbox(player, f"{at.mail}/", "open-") as inbox:
        await _identify(player, address)
        await inbox.reader.click(await inbox.newest())
        await inbox.reader.picture("mail")
        code = code_in(await inbox.reader.text("text")) or ""
    await player.fill("code", code)
    await player.click("send-code")


async def mailed_code(inbox: "Inbox") -> str:
    """The code in the mail that has come to *inbox*, or comes soon."""
    await inbox.reader.click(await inbox.newest())
    return code_in(await inbox.reader.text("text")) or ""


async def _mailed_link(player: Player, at: Addresses) -> None:
    async with Inbox(player, f"{at.mail}/", "open-") as inbox:
        await _identify(player, "mikko.laine@example.com")
        await inbox.reader.click(await inbox.newest())
        links = [await inbox.reader.attribute(each, "href") for each in await inbox.reader.elements("link-")]
    # There is a link too for whoever did not ask for that mail.
    link = next((each for each in links if each.startswith(f"{at.broker}/m/") and not each.endswith("/no")), "")
    tab = await player.new_tab()
    try:
        await tab.open(link)
        await tab.picture("broker-mailed-link")
        await tab.click("follow")
        await both_at_shop(tab, player, at)
    finally:
        await tab.close()
    await player.open(f"{at.shop}/")


async def both_at_shop(tab: Player, other: Player, at: Addresses) -> None:
    """
    A login goes on in two tabs of one browser; wait until it is over in both.

    Either may be the one that is led on with the answer. The other is led to the shop too, and may be there first, before
    the customer is logged in: look anew.
    """
    await tab.wait_for(address=at.shop)
    await other.wait_for(address=at.shop)


async def _texted_code(player: Player, at: Addresses) -> None:
    async with Inbox(player, f"{at.sms}/", "message-") as inbox:
        await _identify(player, "070-174 06 05")
        message = await inbox.newest()
        await inbox.reader.picture("phone-sms")
        code = await inbox.reader.attribute(message, "data-code")
    await player.fill("code", code)
    await player.click("send-code")


async def _identify(player: Player, who: str) -> None:
    await player.fill("identifier", who)
    await player.click("identify")
    await player.wait_for(element="send-code")
    await player.picture("broker-code", phone=True)


class Inbox:
    """A page of messages, newest first, that is looked at on a device of its own. What is there beforehand is old."""

    def __init__(self, player: Player, address: str, prefix: str) -> None:
        self._player, self._address, self._prefix = player, address, prefix
        self._old: frozenset[str] = frozenset()

    async def __aenter__(self) -> "Inbox":
        self.reader = await self._player.other_device()
        await self.reader.open(self._address)
        self._old = frozenset(await self.reader.elements(self._prefix))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reader.close()

    async def newest(self) -> str:
        """The id of the message that has come since the last one that was asked for; waits for one. Raises: Stuck."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            await self.reader.open(self._address)
            there = await self.reader.elements(self._prefix)
            if new := [each for each in there if each not in self._old]:
                self._old = frozenset(there)
                return new[0]
            await asyncio.sleep(0.1)
        raise Stuck(f"no message has come to {self._address}")


_PATIENCE_S = 15.0

WAYS = (
    Way("BankID", "method-bankid", "Nils Åkesson", _bankid),
    Way("Finnish eID", "method-ftn", "Aino Korhonen", _eid),
    Way("eID from another EU country", "method-eidas", "Eleni Onasi", _eidas),
    Way("Google", "method-google", "Aino Korhonen", _google),
    Way("Facebook", "method-meta", "Erik Sandell", _meta),
    Way("Apple", "method-apple", "Aino Korhonen", _apple),
    Way("A code by e-mail", "identify", NAMELESS, _mailed_code),
    Way("A link by e-mail", "identify", NAMELESS, _mailed_link),
    Way("A code by text message", "identify", NAMELESS, _texted_code),
)
"""All of them, in the order of the page."""
