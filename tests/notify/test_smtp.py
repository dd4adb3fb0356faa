"""Mail: what it says of itself, whom it is for, and what the connection is."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.demo.providers.mailbox import Fault
from broker.notify.ports import Accepted, Mail, Reason, Rejected, Unknown
from broker.notify.smtp import Mailbox as Address
from broker.notify.smtp import NoAddress
from tests.notify.places import START, Place, certificates, smtp_place, smtp_sender, smtp_settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smtp")


@pytest_asyncio.fixture
async def plain(folder: Path) -> AsyncIterator[Place]:
    async with smtp_place(folder, "none") as place:
        yield place


def rejected(reason: Reason, code: str) -> Rejected:
    return Rejected(reason, code=code)


# Headers


async def test_a_mail_says_who_it_is_from_and_that_a_machine_wrote_it(plain: Place) -> None:
    """RFC 5322 section 3.6, RFC 3834 section 5; the id is of the issuer's host and of our making."""
    await plain.send("maja@example.com", "Hej", "ref_1-x", subject="Din kod – 1")
    (mail,) = plain.simulator.mails
    assert mail.headers["From"] == "Nordic login <login@login.example>"
    assert mail.headers["To"] == "maja@example.com"
    assert mail.headers["Subject"] == "Din kod – 1"
    assert mail.headers["Message-ID"] == "<ref_1-x@login.example>"
    assert mail.headers["Date"] == "Sun, 22 Nov 2026 09:00:00 +0000"
    assert mail.headers["Auto-Submitted"] == "auto-generated"
    assert mail.headers["X-Auto-Response-Suppress"] == "All"
    assert "Reply-To" not in mail.headers
    assert (mail.sender, mail.at) == ("login@login.example", START)


async def test_names_and_answers_are_the_operators(plain: Place) -> None:
    """From and Reply-To as the config says, whatever letters they have."""
    port = plain.extra["listening"].port
    settings = smtp_settings(port, from_name='Däck & "Co", <AB>', reply_to="help@login.example")
    sender = smtp_sender(settings)
    assert isinstance(await sender.send(Mail("maja@example.com", "Kod", "Hej"), "r"), Accepted)
    await sender.close()
    (mail,) = plain.simulator.mails
    assert "Däck & " in mail.headers["From"]
    assert mail.headers["From"].endswith(" <login@login.example>")
    assert mail.headers["Reply-To"] == "help@login.example"


async def test_html_stands_beside_the_text(plain: Place) -> None:
    """Programs choose; both are complete, and no line is longer than SMTP allows."""
    html = "<!doctype html><p>Kod: <b>123456</b> " + "å" * 5000 + "</p>"
    assert isinstance(await plain.send("maja@example.com", "Kod: 123456 " + "ä" * 5000, html=html), Accepted)
    (mail,) = plain.simulator.mails
    assert (mail.text, mail.html) == ("Kod: 123456 " + "ä" * 5000 + "\n", html + "\n")
    assert mail.headers["Content-Type"].startswith("multipart/alternative")


@pytest.mark.parametrize("subject", ["a\nBcc: eve@evil.example", "a\r\nX: y", "a\x00", "a\u2028b", "a\x85b", "a" * 251])
async def test_a_subject_of_more_than_one_line_is_refused(plain: Place, subject: str) -> None:
    """It would begin a header."""
    assert await plain.send("maja@example.com", "x", subject=subject) == rejected(Reason.CONTENT, "subject")
    assert plain.simulator.connections == 0


@pytest.mark.parametrize("text", ["a\rb", "a\x00b", "a\x1bb"])
async def test_controls_in_a_text_are_refused(plain: Place, text: str) -> None:
    """Bare carriage returns are how servers are made to disagree about where a mail ends."""
    assert await plain.send("maja@example.com", text) == rejected(Reason.CONTENT, "text")
    assert await plain.send("maja@example.com", "x", html=text) == rejected(Reason.CONTENT, "text")
    assert plain.simulator.connections == 0


async def test_what_is_too_big_is_refused_before_anybody_is_asked(plain: Place) -> None:
    """A quarter of a megabyte is no letter."""
    assert await plain.send("maja@example.com", "x" * 300_000) == rejected(Reason.CONTENT, "size")
    assert plain.simulator.connections == 0


async def test_what_the_server_finds_too_big_is_refused_by_its_size(plain: Place) -> None:
    """SIZE is said with MAIL FROM (RFC 1870), so the text is not even sent."""
    plain.simulator.max_bytes = 2000
    assert await plain.send("maja@example.com", "x" * 3000) == rejected(Reason.CONTENT, "552")


@pytest.mark.parametrize("ref", ["", "a b", "a>b", "a\r\nX: y", "å", "a" * 65])
async def test_a_ref_that_is_none_is_our_own_mistake(plain: Place, ref: str) -> None:
    """It becomes part of a header."""
    with pytest.raises(ValueError, match="ref"):
        await plain.send("maja@example.com", "x", ref)


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "",
        "maja",
        "@example.com",
        "maja@",
        "maja@localhost",
        "maja@example.com.",
        "maja@.example.com",
        "maja@exa mple.com",
        "maja@[127.0.0.1]",
        "maja@-example.com",
        "maja@exam_ple.com",
        "maja@example.com, eve@evil.example",
        "maja@example.com,eve@evil.example",
        "eve@evil.example;maja@example.com",
        "Maja <maja@example.com>",
        "<maja@example.com>",
        "maja@example.com\nBcc: eve@evil.example",
        "maja@example.com\r\nRCPT TO:<eve@evil.example>",
        "maja\r\n@example.com",
        "maja @example.com",
        '"maja"@example.com',
        '"a@b"@example.com',
        "a@b@example.com",
        "(x)maja@example.com",
        "maja..lind@example.com",
        ".maja@example.com",
        "maja.@example.com",
        "maja\x00@example.com",
        "maja\x7f@example.com",
        "maja\u2028@example.com",
        "a" * 65 + "@example.com",
        "ö" * 33 + "@example.com",
        "maja@" + "a" * 64 + ".example",
        "maja@" + ".".join(["a" * 60] * 5),
        "maja@xn--zz--.example",
    ],
)
async def test_what_is_not_one_plain_address_gets_no_mail(plain: Place, address: str) -> None:
    """No second addressee, no header, no command, no comment, no name: refused before anybody is asked."""
    assert await plain.send(address, "x") == rejected(Reason.RECIPIENT, "syntax")
    assert plain.simulator.connections == 0


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("maja@räksmörgås.example", "maja@xn--rksmrgs-5wao1o.example"),
        ("maja@EXAMPLE.com", "maja@example.com"),
        ("Maja.Lind+login@example.com", "Maja.Lind+login@example.com"),
        ("o'brien/x=y@example.com", "o'brien/x=y@example.com"),
        ("maja@straße.example", "maja@xn--strae-oqa.example"),
    ],
)
async def test_domains_of_any_script_are_sent_as_idna(plain: Place, address: str, sent: str) -> None:
    """IDNA 2008: ß is a letter of its own; what stands before the @ is the mailbox's own business and stays."""
    assert isinstance(await plain.send(address, "x"), Accepted)
    assert plain.simulator.mails[0].to == sent


async def test_letters_before_the_at_sign_need_a_server_that_takes_them(plain: Place) -> None:
    """SMTPUTF8 (RFC 6531), where it is offered; elsewhere the address is refused, not bent into another."""
    assert isinstance(await plain.send("måns@räka.example", "Hej å"), Accepted)
    assert plain.simulator.mails[0].to == "måns@xn--rka-qla.example"
    await plain.sender.close()
    plain.simulator.accepts_utf8 = False
    assert await plain.send("måns@räka.example", "x") == rejected(Reason.RECIPIENT, "smtputf8")


def test_an_address_does_not_show_itself() -> None:
    """Not in a repr, not in the error."""
    assert "maja" not in repr(Address.of("maja@example.com"))
    with pytest.raises(NoAddress) as refused:
        Address.of("maja@nowhere")
    assert "maja" not in str(refused.value)


# Answers


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.OVERLOADED, rejected(Reason.BUSY, "421")),
        (Fault.GREYLIST, rejected(Reason.BUSY, "451")),
        (Fault.UNKNOWN_RECIPIENT, rejected(Reason.RECIPIENT, "550")),
        (Fault.SENDER_REFUSED, rejected(Reason.ACCOUNT, "553")),
        (Fault.CONTENT_REFUSED, rejected(Reason.CONTENT, "554")),
        (Fault.HANGS_UP_EARLY, rejected(Reason.UNREACHABLE, "SMTPServerDisconnected")),
        (Fault.HANGS_UP_LATE, Unknown(code="SMTPServerDisconnected")),
        (Fault.SLOW, Unknown(code="timeout")),
    ],
)
async def test_what_an_answer_means_depends_on_when_it_comes(plain: Place, fault: Fault, expected: object) -> None:
    """Before the text is handed over nobody has it; afterwards silence may be a yes."""
    plain.simulator.switch(fault)
    assert await plain.send("maja@example.com", "x") == expected


# Connections


async def test_a_connection_is_used_again(plain: Place) -> None:
    """Setting one up takes longer than the mail."""
    for number in range(3):
        await plain.send("maja@example.com", "x", f"r{number}")
    assert (len(plain.simulator.mails), plain.simulator.connections) == (3, 1)


async def test_one_that_was_idle_for_long_is_not(plain: Place) -> None:
    """The server has hung up on it, or soon will."""
    await plain.send("maja@example.com", "x")
    plain.extra["clock"].forward(seconds=30)
    await plain.send("maja@example.com", "x")
    assert (len(plain.simulator.mails), plain.simulator.connections) == (2, 2)


async def test_one_the_server_left_is_replaced_without_a_word(plain: Place) -> None:
    """It restarted meanwhile; nobody's mail is lost to that."""
    await plain.send("maja@example.com", "x")
    listening = plain.extra["listening"]
    await listening.close()
    again = await plain.simulator.listen(port=listening.port)
    assert isinstance(await plain.send("maja@example.com", "x"), Accepted)
    await again.close()


async def test_one_that_fell_silent_is_given_up_in_time(plain: Place) -> None:
    """A firewall forgot it: there is time left for a new one."""
    await plain.send("maja@example.com", "x")
    plain.simulator.switch(Fault.FORGETS)
    assert isinstance(await plain.send("maja@example.com", "x"), Accepted)
    assert (len(plain.simulator.mails), plain.simulator.connections) == (2, 2)


async def test_after_a_refusal_the_connection_is_not_used_again(plain: Place) -> None:
    """Nobody knows what the server waits for."""
    plain.simulator.switch(Fault.UNKNOWN_RECIPIENT)
    await plain.send("maja@example.com", "x")
    plain.simulator.switch()
    await plain.send("maja@example.com", "x")
    assert plain.simulator.connections == 2


async def test_no_more_connections_than_allowed(plain: Place) -> None:
    """A campaign waits in line; servers that see too many refuse them all."""
    sender = smtp_sender(smtp_settings(plain.extra["listening"].port, connections=2), timeout_s=5)
    mails = [sender.send(Mail(f"m{number}@example.com", "Kod", "x"), f"r{number}") for number in range(12)]
    assert all(isinstance(sent, Accepted) for sent in await asyncio.gather(*mails))
    await sender.close()
    assert len({mail.to for mail in plain.simulator.mails}) == 12
    assert plain.simulator.connections <= 2


# TLS and AUTH


async def test_without_the_offer_of_tls_nothing_is_said(folder: Path, plain: Place) -> None:
    """Somebody on the way may have taken the offer out; no password and no code for them."""
    settings = smtp_settings(plain.extra["listening"].port, tls="starttls")
    sent = await smtp_sender(settings, tls=certificates(folder)[1]).send(Mail("maja@example.com", "Kod", "x"), "r")
    assert isinstance(sent, Rejected)
    assert sent.reason is Reason.UNREACHABLE
    assert plain.simulator.mails == []


@pytest.mark.parametrize("how", ["starttls", "implicit"])
async def test_a_certificate_of_nobody_we_know_is_not_believed(folder: Path, how: str) -> None:
    """Whoever answers with one is not the server."""
    async with smtp_place(folder, how) as place:
        settings = smtp_settings(place.extra["listening"].port, tls=how)
        sent = await smtp_sender(settings, timeout_s=2).send(Mail("maja@example.com", "Kod", "x"), "r")
        assert isinstance(sent, Rejected)
        assert sent.reason is Reason.UNREACHABLE
        assert place.simulator.mails == []


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_a_wrong_password_is_the_operators_matter(folder: Path, password: str) -> None:
    """Told as such, so that an alarm can tell it from customers' mistakes."""
    async with smtp_place(folder, "starttls") as place:
        settings = smtp_settings(place.extra["listening"].port, tls="starttls", username="login", password="env:P")
        sender = smtp_sender(settings, tls=certificates(folder)[1], password=password, timeout_s=2)
        assert await sender.send(Mail("maja@example.com", "Kod", "x"), "r") == rejected(Reason.ACCOUNT, "535")


async def test_a_server_that_wants_a_password_gets_no_mail_without(folder: Path) -> None:
    """530 at MAIL FROM."""
    async with smtp_place(folder, "implicit") as place:
        settings = smtp_settings(place.extra["listening"].port, tls="implicit")
        sender = smtp_sender(settings, tls=certificates(folder)[1], timeout_s=2)
        assert await sender.send(Mail("maja@example.com", "Kod", "x"), "r") == rejected(Reason.ACCOUNT, "530")


async def test_what_answers_is_no_mail_server() -> None:
    """A web server behind the wrong port, say."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sender = smtp_sender(smtp_settings(server.sockets[0].getsockname()[1]))
    sent = await sender.send(Mail("maja@example.com", "Kod", "x"), "r")
    server.close()
    assert isinstance(sent, Rejected)
