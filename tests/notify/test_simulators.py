"""The simulated mailbox and phone are as strict as real ones, and show what they got without doing what it says."""

import base64
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiosmtplib
import httpx2
import pytest
import pytest_asyncio

from broker.demo.html_page import HtmlPage
from broker.demo.providers import mailbox, sms_gateways
from broker.demo.providers.mailbox import Mailbox
from broker.demo.providers.shown_text import code_in, links_in
from broker.demo.providers.sms_gateways import SmsGateways
from tests.notify.places import SID, Clock

TO = "+46701740605"
NASTY = "<script>alert(1)</script> https://login.example/m/abc?x=1&y=2. Kod: 123 456\n\n@login.example #123456"
HEADERS = {
    "From": "login@login.example",
    "To": "maja@example.com",
    "Subject": "Kod",
    "Date": "Sun, 22 Nov 2026 09:00:00 +0000",
    "Message-ID": "<1@login.example>",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain",
}


def mail(body: str = "x", **changed: str | None) -> bytes:
    """A mail with these headers in place of the good ones; None leaves one out. In names, ``_`` is a hyphen."""
    headers = HEADERS | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, "", body, ""]).encode()


# The mailbox


@pytest_asyncio.fixture
async def box() -> AsyncIterator[tuple[Mailbox, aiosmtplib.SMTP]]:
    opened = Mailbox(Clock(), max_bytes=5000)
    listening = await opened.listen()
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1", port=listening.port, start_tls=False, local_hostname="a.example", timeout=5
    )
    await client.connect()
    yield opened, client
    client.close()
    await listening.close()


async def answered(client: aiosmtplib.SMTP, content: bytes, to: str = "maja@example.com") -> int:
    await client.mail("login@login.example")
    await client.rcpt(to)
    try:
        return (await client.data(content)).code
    except aiosmtplib.SMTPResponseException as refused:
        return refused.code


async def test_a_good_mail_is_taken(box: tuple[Mailbox, aiosmtplib.SMTP]) -> None:
    """As it is."""
    assert await answered(box[1], mail()) == 250
    assert box[0].mails[0].text == "x\n"


@pytest.mark.parametrize(
    "content",
    [
        mail(Date=None),
        mail(Message_ID=None),
        mail(Subject=None),
        mail(From="a@a.example, b@b.example"),
        mail(To="eve@evil.example"),
        mail(To="maja@example.com, eve@evil.example"),
        mail(Date="Sun, 22 Nov 2026 09:00:00 -0000"),
        mail(Subject="Kod\r\nSubject: again"),
        mail(Content_Type="text/html"),
        mail("å"),
        mail("x" * 999),
        mail("x\r\n" * 2500),
    ],
    ids=lambda content: content[-60:].decode(errors="replace").replace("\r\n", "|"),
)
async def test_a_careless_mail_is_not(box: tuple[Mailbox, aiosmtplib.SMTP], content: bytes) -> None:
    """Headers missing or twice, another addressee, HTML alone, bytes not announced, lines and mails too long."""
    assert await answered(box[1], content) >= 500
    assert box[0].mails == []


async def opened(app: Any, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
        return await client.get(path)


async def test_the_page_shows_a_mail_and_does_nothing(box: tuple[Mailbox, aiosmtplib.SMTP]) -> None:
    """What it says is text; links can be followed; the HTML has no origin, no scripts and no forms."""
    html = "<p>Hi<script>alert(1)</script></p>"
    content = mail(
        f"--b\r\nContent-Type: text/plain\r\n\r\n{NASTY}".replace("\n\n", "\r\n\r\n")
        + f"\r\n--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n--b--",
        Content_Type='multipart/alternative; boundary="b"',
        Subject="<b>Kod</b>",
    )
    assert await answered(box[1], content) == 250
    app = mailbox.create_app(box[0])
    listed = HtmlPage((await opened(app, "/")).text)
    assert listed.ids("message-") == ["message-1"]
    assert listed.get("open-1").text() == "<b>Kod</b>"
    answer = await opened(app, listed.get("open-1").attributes["href"])
    page = HtmlPage(answer.text)
    assert page.all("script") == []
    assert "script>" in page.get("text").text()
    assert page.get("link-1").attributes["href"] == "https://login.example/m/abc?x=1&y=2"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    shown = await opened(app, page.get("html").attributes["href"])
    assert "sandbox" in shown.headers["content-security-policy"]
    assert "allow-scripts" not in shown.headers["content-security-policy"]


async def test_scripts_read_the_mailbox_as_json(box: tuple[Mailbox, aiosmtplib.SMTP]) -> None:
    """Newest first, of one addressee if asked, with links and code found."""
    await answered(box[1], mail("Kod: 111 222"))
    await answered(box[1], mail("https://login.example/m/1", To="erik@example.com"), "erik@example.com")
    app = mailbox.create_app(box[0])
    everything = (await opened(app, "/messages.json")).json()["messages"]
    assert [(each["to"], each["code"], each["links"]) for each in everything] == [
        ("erik@example.com", None, ["https://login.example/m/1"]),
        ("maja@example.com", "111222", []),
    ]
    (hers,) = (await opened(app, "/messages.json?to=Maja%40example.com")).json()["messages"]
    assert hers["id"] == 1
    assert (await opened(app, "/messages/99")).status_code == 404


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Your code is 123 456.", "123456"),
        ("Din kod: 123456", "123456"),
        ("Order 42, code 654321\n\n@login.example #654321", "654321"),
        ("See https://login.example/m/123456", None),
        ("Call +46 70 123 45 67", None),
        ("1234567", None),
    ],
)
def test_a_code_is_found_where_people_see_one(text: str, code: str | None) -> None:
    """Six digits, together or by three; not those of links and long numbers."""
    assert code_in(text) == code


def test_links_end_where_sentences_do() -> None:
    """The full stop is not theirs."""
    assert links_in("(see https://a.example/x.) or http://b.example:80/?q=1, not ftp://c.example") == [
        "https://a.example/x",
        "http://b.example:80/?q=1",
    ]


# The gateways

ELKS = {"from": "Nordhjul", "to": TO, "message": "x"}
TWILIO = {"From": "Nordhjul", "To": TO, "Body": "x"}


@pytest.fixture
def gateways() -> SmsGateways:
    return SmsGateways(Clock(), elks={"u1": "right"}, twilio={SID: "right"}, bearer="right")


async def posted(
    gateways: SmsGateways,
    path: str,
    form: dict[str, str] | str,
    user: str = "u1",
    password: str = "right",
    **headers: str,
) -> httpx2.Response:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    sent = {
        "content-type": "application/x-www-form-urlencoded",
        "authorization": f"Basic {credentials}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    body = form if isinstance(form, str) else urlencode(form)
    app = sms_gateways.create_app(gateways)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
        return await client.post(path, content=body, headers=sent)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (ELKS, 200),
        ({"from": "Nordhjul", "to": TO}, 400),
        (ELKS | {"from": "NordhjulVerkstan"}, 400),
        (ELKS | {"from": "4Nordhjul"}, 400),
        (ELKS | {"to": "0701740605"}, 400),
        (ELKS | {"to": "+46 70 174 06 05"}, 400),
        (ELKS | {"dontlog": "yes"}, 400),
        (ELKS | {"whendelivered": "/relative"}, 400),
        (ELKS | {"unknown": "1"}, 400),
        (f"{urlencode(ELKS)}&to=%2B46700000000", 400),
    ],
)
async def test_46elks_wants_its_fields(gateways: SmsGateways, form: dict[str, str] | str, status: int) -> None:
    """Each as documented; errors are sentences."""
    answer = await posted(gateways, "/a1/sms", form)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/json" if status == 200 else "text/plain")
    assert len(gateways.texts) == (status == 200)


@pytest.mark.parametrize(("user", "password"), [("u1", "wrong"), ("u2", "right"), ("", ""), ("u1", "")])
async def test_strangers_send_nothing(gateways: SmsGateways, user: str, password: str) -> None:
    """401, as each of them says it."""
    path = f"/2010-04-01/Accounts/{SID}/Messages.json"
    assert (await posted(gateways, "/a1/sms", ELKS, user, password)).status_code == 401
    answer = await posted(gateways, path, TWILIO, user, password)
    assert (answer.status_code, answer.json()["code"]) == (401, 20003)
    assert (await posted(gateways, "/send", {"to": TO, "text": "x", "from": "N"}, user, password)).status_code == 401
    assert gateways.texts == []


async def test_an_account_is_not_another(gateways: SmsGateways) -> None:
    """The SID of the address and that of the credentials are one."""
    other = "AC" + "f" * 32
    gateways.twilio = {SID: "right", other: "right"}
    answer = await posted(gateways, f"/2010-04-01/Accounts/{other}/Messages.json", TWILIO, SID)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"From": "Nordhjul", "Body": "x"}, 21604),
        ({"To": TO, "Body": "x"}, 21603),
        ({"From": "Nordhjul", "To": TO}, 21602),
        (TWILIO | {"To": "0701740605"}, 21211),
        (TWILIO | {"From": "NordhjulVerkstan"}, 21212),
        (TWILIO | {"Body": "x" * 1601}, 21617),
    ],
)
async def test_twilio_wants_its_fields(gateways: SmsGateways, form: dict[str, str], code: int) -> None:
    """Errors are numbers."""
    answer = await posted(gateways, f"/2010-04-01/Accounts/{SID}/Messages.json", form, SID)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert gateways.texts == []


async def test_forms_are_forms(gateways: SmsGateways) -> None:
    """JSON is none."""
    assert (await posted(gateways, "/a1/sms", "{}", content_type="application/json")).status_code == 415


async def test_the_phone_shows_texts_and_does_nothing(gateways: SmsGateways) -> None:
    """Newest first, links that can be followed, the code for scripts."""
    await posted(gateways, "/a1/sms", ELKS)
    await posted(gateways, "/a1/sms", ELKS | {"message": NASTY, "to": "+46701740606"})
    app = sms_gateways.create_app(gateways)
    page = HtmlPage((await opened(app, "/")).text)
    assert page.ids("message-") == ["message-2", "message-1"]
    assert page.get("message-2").attributes["data-code"] == "123456"
    assert page.get("link-2-1").attributes["href"] == "https://login.example/m/abc?x=1&y=2"
    assert page.all("script") == []
    for asked in ("%2B46701740606", "+46701740606", "46701740606"):
        (text,) = (await opened(app, f"/messages.json?to={asked}")).json()["messages"]
        assert (text["id"], text["code"], text["by"]) == (2, "123456", "46elks")
