"""The shop's newsletter: sent when it can be, and a page that greets a reader without knowing her."""

import pytest

from .fake_broker import ISSUER
from .sites import SHOP, World, build

ADDRESS = "anna@example.se"


@pytest.fixture
def world() -> World:
    return build()


async def followed(world: World) -> str:
    """She asks for the letter and follows its link; where that ends."""
    await world.post(f"{SHOP}/newsletter", email=ADDRESS)
    text = world.letters[-1].get_body(("plain",))
    assert text is not None
    link = next(word for word in text.get_content().split() if word.startswith(f"{ISSUER}/n/"))
    landed = await world.get(link)
    world.last = landed
    return str(landed.url)


async def test_the_letter_goes_to_whoever_asked(world: World) -> None:
    """In her language, with the broker's link in its text and in its HTML, and a reason why she gets it."""
    page = await world.post(f"{SHOP}/newsletter", email=f" {ADDRESS} ")
    assert page.status == 200
    (mail,) = world.letters
    assert (mail["To"], mail["Content-Language"]) == (ADDRESS, "sv")
    (asked,) = world.broker.mailings
    assert asked == {
        "campaign": "winter-letter",
        "landing_uri": f"{SHOP}/winter",
        "language": "sv",
        "recipients": [ADDRESS],
    }
    for kind in ("plain", "html"):
        body = mail.get_body((kind,))
        assert body is not None
        assert f"{ISSUER}/n/" in body.get_content()
        assert "bad om det" in body.get_content()


async def test_the_link_greets_a_reader_and_leaves_no_trace_in_the_address(world: World) -> None:
    """What the broker added is used up at its back; nobody is logged in, and nothing of hers is on the page."""
    assert await followed(world) == f"{SHOP}/winter"
    assert "reader" in world.last
    assert "login" in world.last
    assert "user-name" not in world.last
    assert "anna" not in world.last.words.lower()


async def test_a_reader_who_logs_in_gets_what_the_letter_was_about(world: World) -> None:
    """Both are needed: the link, and a login."""
    await followed(world)
    assert "gift" in await world.get(f"{SHOP}/login?next=/winter")


async def test_a_login_alone_is_no_reader(world: World) -> None:
    """Whoever comes without the letter is told how to get it."""
    page = await world.get(f"{SHOP}/login?next=/winter")
    assert "stranger" in page
    assert "gift" not in page


@pytest.mark.parametrize("recognition", ["", "made-up", "used"])
async def test_a_reference_that_does_not_count_recognises_nobody(world: World, recognition: str) -> None:
    """Neither an invented one nor the same one again, in another browser."""
    if recognition == "used":
        await followed(world)
        world.browser = world.network.browser()
        recognition = "reference-1"
    page = await world.get(f"{SHOP}/winter?recognition={recognition}")
    assert str(page.url) == f"{SHOP}/winter"
    assert "stranger" in page


async def test_the_page_opens_while_the_broker_is_down(world: World) -> None:
    """A reader is a stranger then, and sees a page all the same."""
    world.network.down.add(ISSUER)
    page = await world.get(f"{SHOP}/winter?recognition=reference-1")
    assert (page.status, "stranger" in page) == (200, True)


@pytest.mark.parametrize(
    "typed", ["", "anna", "anna@", "@example.se", "a b@example.se", "anna@example", "a@b.se\nBcc: c@d.se"]
)
async def test_what_is_no_address_gets_no_letter(world: World, typed: str) -> None:
    """Nor may it add lines to the mail."""
    assert (await world.post(f"{SHOP}/newsletter", email=typed)).status == 422
    assert (world.letters, world.broker.mailings) == ([], [])


@pytest.mark.parametrize("ill", ["broker", "mail"])
async def test_a_letter_that_cannot_be_sent_is_no_crash(world: World, ill: str) -> None:
    """She reads that it has to wait."""
    if ill == "broker":
        world.network.down.add(ISSUER)
    else:
        world.mail_is_down = True
    assert (await world.post(f"{SHOP}/newsletter", email=ADDRESS)).status == 503
    assert world.letters == []
