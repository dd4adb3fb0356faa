"""
The ways in that the demo offers, and how a customer goes each of them: what `demo-check` logs in by, one after the other.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from broker.demo.player import Player
from broker.demo.run import Addresses


@dataclass(frozen=True, slots=True)
class Way:
    """
    One way in. ``name``: as its button is called; ``customer``: how the shop greets whoever came by it.

    ``act``: from the broker's page of ways in on, until nothing is left to do.
    """

    name: str
    method: str
    customer: str
    act: Callable[[Player, Addresses], Awaitable[None]]


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
    # The page posts by itself where scripts run.
    if player.address.startswith(at.apple) and await player.has("go-on"):
        await player.click("go-on")


WAYS = (
    Way("BankID", "bankid", "Nils Åkesson", _bankid),
    Way("Google", "google", "Aino Korhonen", _google),
    Way("Facebook", "meta", "Erik Sandell", _meta),
    Way("Apple", "apple", "Aino Korhonen", _apple),
)
"""All of them, in the order of the page."""
