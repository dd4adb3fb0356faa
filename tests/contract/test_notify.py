"""What is asked of every sender of mail and text messages, proven on all of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.notify.ports import Accepted, Reason, Rejected, Unknown
from tests.notify.places import PLACES, Place, Trouble

POLISH = "Zażółć gęślą jaźń: 123456 – „kod”, 😀\n\n@login.example #123456"


@pytest.fixture(scope="session")
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notify")


@pytest_asyncio.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, certificate_folder: Path) -> AsyncIterator[Place]:
    async with PLACES[request.param](certificate_folder) as opened:
        yield opened


async def made(place: Place, trouble: Trouble) -> bool:
    """Whether this place knows that trouble; if so it has it now."""
    if trouble in place.can:
        await place.trouble(trouble)
    return trouble in place.can


async def test_what_is_sent_arrives_as_it_was(place: Place) -> None:
    """Every letter and line, and they have a name for it."""
    sent = await place.send(place.to, POLISH)
    assert isinstance(sent, Accepted)
    assert sent.id
    assert place.arrived() == [(place.to, POLISH)]


async def test_messages_keep_their_order(place: Place) -> None:
    """One after the other, over connections that are used again."""
    for number in range(3):
        assert isinstance(await place.send(place.to, f"code {number}", f"r{number}"), Accepted)
    assert [text for _, text in place.arrived()] == ["code 0", "code 1", "code 2"]


async def test_lines_of_a_text_stay_lines_of_the_text(place: Place) -> None:
    """What looks like the end of a message, a header, a field or a placeholder is text."""
    text = '.\nBcc: eve@evil.example\n..\nRSET\n&to=%2B46700000000&from=Eve\n{to}{ref}"},{\n<b>'
    assert isinstance(await place.send(place.to, text), Accepted)
    assert place.arrived() == [(place.to, text)]


async def test_nobody_there(place: Place) -> None:
    """Nobody has it, so it may be tried elsewhere."""
    if await made(place, Trouble.GONE):
        sent = await place.send(place.to, "code")
        assert isinstance(sent, Rejected)
        assert sent.reason is Reason.UNREACHABLE


@pytest.mark.parametrize("trouble", [Trouble.ACCOUNT, Trouble.BUSY])
async def test_a_refusal_is_a_value_with_its_reason(place: Place, trouble: Trouble) -> None:
    """Nothing is raised, and nothing arrives."""
    if await made(place, trouble):
        sent = await place.send(place.to, "code")
        assert isinstance(sent, Rejected)
        assert sent.reason is Reason(trouble.value)
        assert sent.code
    assert place.arrived() == []


async def test_a_refused_recipient(place: Place) -> None:
    """Of some gateways one knows only that they did not like the message."""
    if await made(place, Trouble.RECIPIENT):
        sent = await place.send(place.to, "code")
        assert isinstance(sent, Rejected)
        assert sent.reason in {Reason.RECIPIENT, Reason.CONTENT}
    assert place.arrived() == []


@pytest.mark.parametrize("trouble", [Trouble.SILENT, Trouble.BROKEN])
async def test_silence_is_neither_yes_nor_no(place: Place, trouble: Trouble) -> None:
    """It may have been sent: whoever asked must wait for the customer instead of sending another."""
    if await made(place, trouble):
        assert isinstance(await place.send(place.to, "code"), Unknown)


async def test_after_trouble_it_goes_on(place: Place) -> None:
    """No connection is left in a state where the next message fails."""
    if await made(place, Trouble.BUSY):
        await place.send(place.to, "first")
        place.simulator.switch()
    assert isinstance(await place.send(place.to, "second"), Accepted)
    assert place.arrived()[-1] == (place.to, "second")


async def test_nothing_of_a_message_is_in_a_repr_or_a_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Outcomes end in logs; addresses and codes do not."""
    caplog.set_level("DEBUG", "broker")
    told = [repr(await place.send(place.to, "code 424242"))]
    for trouble in (Trouble.RECIPIENT, Trouble.GONE):
        if await made(place, trouble):
            told.append(repr(await place.send(place.to, "code 424242")))
    everything = "\n".join(
        [
            *told,
            repr(place.sender),
            *(record.getMessage() for record in caplog.records if record.name.startswith("broker")),
        ]
    )
    assert place.to not in everything
    assert "424242" not in everything


async def test_closing_is_final_and_may_be_repeated(place: Place) -> None:
    """At the end of the process, in any state."""
    await place.send(place.to, "code")
    await place.sender.close()
    await place.sender.close()
