"""What the tests of codes by e-mail and SMS share: a broker with both, senders that do as they are told, and what was sent."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.flows.limits import CodeLimits, SmsLimits
from broker.notify import ports
from broker.notify.phone import PhoneRules
from broker.notify.ports import Accepted, Mail, Messages, Reason, Rejected, Sms, Unknown
from broker.stores.ports import StateStore
from broker.upstream.email_code import EmailCodeConnect, EmailCodeConnector
from broker.upstream.one_time_code import CodeConnector
from broker.upstream.sms_code import SmsCodeConnect, SmsCodeConnector
from tests.changing import replace
from tests.stage import BASE, Answer, Browser, Stage, open_stage
from tests.upstream.cases import Play, Said, Sent

MAJA = "maja@example.com"
NUMBER = "070-174 06 05"
E164 = "+46701740605"

_SHOPS = re.search(r"^      upstreams: \[(.+)\]\n", BASE, re.MULTILINE)
assert _SHOPS is not None

WITHOUT_LINK = {"      link: true\n": "      link: false\n"}


def offering_only(kept: str, other: str) -> dict[str, str]:
    """The edit that leaves *other* out of what the shop offers."""
    assert kept in _SHOPS[0]
    return {_SHOPS[0]: _SHOPS[0].replace(f", {other}", "")}


@dataclass
class PlayedSender:
    """A `MailSender` and `SmsSender` whose answer is ``answer``. ``sent``: what it was given."""

    answer: ports.Sent | Exception = field(default_factory=lambda: Accepted("theirs"))
    sent: list[Any] = field(default_factory=list)

    async def send(self, message: Mail | Sms, ref: str) -> ports.Sent:
        self.sent.append(message)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        pass

    @property
    def text(self) -> str:
        """The newest message."""
        return str(self.sent[-1].text)

    @property
    def code(self) -> str:
        """The code in it, as digits."""
        found = re.search(r"\b([0-9]{3}) ([0-9]{3})$|^([0-9]{6}) ", self.text, re.MULTILINE)
        assert found is not None, self.text
        return "".join(part for part in found.groups() if part)

    @property
    def link(self) -> str:
        """The link in it that logs in."""
        found = re.search(r"http\S+/m/[\w.-]+$", self.text, re.MULTILINE)
        assert found is not None, self.text
        return found[0]


@dataclass
class Post:
    """The stage, and what its customers get."""

    stage: Stage
    mail: PlayedSender
    sms: PlayedSender
    connectors: Mapping[str, CodeConnector]

    async def arrived(self, browser: Browser, to: str = MAJA) -> Answer:
        """She comes from the shop and gives her address; the page she is on then. All messages have gone out."""
        await browser.follow(await browser.get(self.stage.shop.request()))
        return await self.given(browser, to)

    async def given(self, browser: Browser, to: str = MAJA) -> Answer:
        """She gives her address on the page she sees."""
        answer = await browser.follow(await browser.press("identify", ("identifier", to)))
        await self.idle()
        return answer

    async def typed(self, browser: Browser, code: str) -> Answer:
        """She types a code in."""
        return await browser.follow(await browser.press("send-code", ("code", code)))

    async def again(self, browser: Browser) -> Answer:
        """She asks for another one."""
        answer = await browser.follow(await browser.press("again"))
        await self.idle()
        return answer

    async def idle(self) -> None:
        """All messages have gone out."""
        for connector in self.connectors.values():
            await connector.lookups.idle()
            await connector.courier.idle()

    def wrong(self, sender: PlayedSender) -> str:
        """A code that is not the one sent last."""
        return f"{(int(sender.code) + 1) % 10**6:06}"


@asynccontextmanager
async def open_post(
    folder: Path, *, edit: Mapping[str, str] | None = None, state: StateStore | None = None
) -> AsyncIterator[Post]:
    """A broker that writes to its customers; `Post` reads their mail."""
    mail, sms = PlayedSender(), PlayedSender()
    messages = Messages(mail, sms, PhoneRules(["SE", "FI"], "SE"))
    async with open_stage(folder, edit=edit, state=state, is_played=False, messages=messages) as stage:
        built: Any = stage.broker.connectors
        yield Post(stage, mail, sms, {name: built[name] for name in ("email", "sms")})


def said(answer: Answer) -> str:
    """What the page says about how it stands: the text of its status, without markup."""
    found = re.search(r'id="status"[^>]*>.*?<span>(.*?)</span>', answer.text, re.DOTALL)
    if found is None:
        found = re.search(r'class="(?:notice|complaint)"[^>]*>.*?<span>(.*?)</span>', answer.text, re.DOTALL)
    assert found is not None, answer.text
    return re.sub(r"<[^>]+>", "", found[1])


class CodePlay(Play):
    """
    Codes in the contract suite. The provider is whoever carries the messages; the code itself is compared by us.

    So when that one is away or slow in between, she misses her message: she asks for another, and what comes of that is what
    happens.
    """

    proof = "code"
    bound = None
    sender: PlayedSender
    to: str
    calls = 0

    async def chosen(self, browser: Browser) -> Answer:
        """She gives her address; where no field asks for one any more, the page as it is."""
        if browser.page is None or "identify" not in browser.page.ids:
            return browser.page or await browser.get(self.where)
        answer = await browser.follow(await browser.press("identify", ("identifier", self.to)))
        return await self.news(browser, answer)

    async def answered(self, browser: Browser, gone: Answer, said: Said = Said.YES) -> Sent | None:
        if said is Said.REFUSED:
            self.sender.answer = Rejected(Reason.RECIPIENT)
            await self.again(browser)
        if said is not Said.YES:
            await browser.follow(await browser.press("cancel"))
            return None
        assert browser.page is not None
        csrf = browser.page.text.split('name="csrf" value="')[1].split('"')[0]
        return Sent("POST", f"{browser.page.url}/wait", {"csrf": csrf, "do": "code", "code": self.sender.code})

    async def send(self, browser: Browser, sent: Sent) -> Answer:
        if isinstance(self.sender.answer, Accepted):
            return await super().send(browser, sent)
        page = await self.again(browser)
        return page if self.offers(page) else await browser.follow(await browser.press("cancel"))

    async def again(self, browser: Browser) -> Answer:
        """She asks for another code, half a minute later."""
        self.forward(31)
        return await self.news(browser, await browser.follow(await browser.press("again")))

    async def news(self, browser: Browser, answer: Answer) -> Answer:
        """*answer*, or her page a moment later, when it is known what became of the message."""
        connector: Any = self.connector
        await connector.courier.idle()
        self.forward(2)
        return answer if self.offers(answer) else await browser.follow(await browser.get(answer.url))

    def misdirected(self, sent: Sent) -> Sent:
        """To another login's page."""
        journey = sent.url.split("/")[-2]
        return replace(sent, url=sent.url.replace(journey, journey[::-1]))

    def lie(self, lie: str) -> None:
        raise AssertionError("whoever carries messages says nothing about anybody")

    def fail(self) -> None:
        self.sender.answer = Rejected(Reason.UNREACHABLE)

    def stall(self) -> None:
        self.sender.answer = Unknown(code="timeout")

    def heal(self) -> None:
        self.sender.answer = Accepted("theirs")

    def asked(self) -> int:
        return len(self.sender.sent)


@asynccontextmanager
async def play_codes(kind: str, to: str, folder: Path) -> AsyncIterator[CodePlay]:
    """A broker with BankID played and codes as they are; as many messages as are ever allowed."""
    async with open_stage(folder) as stage:
        sender, context = PlayedSender(), stage.broker.context
        connector: CodeConnector
        if kind == "email":
            connect = EmailCodeConnect(limits=CodeLimits(per_address_10_minutes=5))
            connector = EmailCodeConnector(kind, connect, mail=sender, context=context)
        else:
            numbers = PhoneRules(["SE"], "SE")
            wide = SmsCodeConnect(limits=SmsLimits(per_address_10_minutes=5))
            connector = SmsCodeConnector(kind, wide, sms=sender, numbers=numbers, context=context)
        connectors: Any = stage.connectors
        connectors[kind] = connector
        play = CodePlay(stage, kind, connector)
        play.sender, play.to = sender, to
        yield play
        await connector.close()
