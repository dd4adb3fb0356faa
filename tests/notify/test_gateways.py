"""Gateways for text messages: what is posted, what answers mean, who is tried next, and whose reports are believed."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from broker.demo.providers.sms_gateways import Fault, twilio_signature
from broker.notify.failover import FAILURES, REST, Failover
from broker.notify.gateway import Delivery
from broker.notify.ports import Accepted, Reason, Rejected, Sent, Sms, Unknown
from tests.notify.places import SID, Clock, Place, gateway_of, settings_of, sms_place

TO = "+46701740605"
REPORT = "https://login.example/notify/sms/any/report"
DRIVERS = ("46elks", "twilio", "http-form", "http-json")


@pytest_asyncio.fixture(params=DRIVERS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with sms_place(request.param, report_uri=REPORT) as opened:
        opened.extra["driver"] = request.param
        yield opened


# What is posted


async def test_a_message_is_from_the_operator(place: Place) -> None:
    """The sender of the config, and the number as E.164 however the gateway wants it written."""
    await place.send(TO, "Kod 123456")
    (text,) = place.simulator.texts
    assert (text.sender, text.to) == ("Nordhjul", TO)


async def test_46elks_keeps_no_text() -> None:
    """``dontlog``: the answer, and so their log, has no message."""
    async with sms_place("46elks") as place:
        form = {"from": "Nordhjul", "to": TO, "message": "x", "dontlog": "message"}
        assert "message" not in place.simulator.elks_send(form)[1]
        sent = await place.send(TO, "x" * 161)
        assert isinstance(sent, Accepted)
        assert sent.cost == Decimal("0.70")
        assert sent.id == place.simulator.texts[-1].gateway_id


async def test_twilio_may_choose_the_sender() -> None:
    """A messaging service in place of a sender."""
    service = "MG" + "a" * 32
    async with sms_place("twilio", messaging_service_sid=service, **{"from": None}) as place:
        sent = await place.send(TO, "x")
        assert isinstance(sent, Accepted)
        assert sent.cost is None
        assert place.simulator.texts[0].sender == service


async def test_our_name_for_a_message_goes_along_where_there_is_a_place_for_it() -> None:
    """``{ref}`` of the template."""
    async with sms_place("http-json") as place:
        await place.send(TO, "x", "ref-7")
        assert place.simulator.texts[0].ref == "ref-7"


async def test_a_template_may_have_any_shape() -> None:
    """Lists and blocks are filled in, numbers and truth values stay."""
    body = {"to": "{digits}", "text": "{text}", "from": "N {ref}", "callback": "{report}"}
    async with sms_place("http-json", report_uri=REPORT, json=body) as place:
        assert isinstance(await place.send(TO, "{to} {ref} {x}", "r9"), Accepted)
        (text,) = place.simulator.texts
        assert (text.text, text.sender) == ("{to} {ref} {x}", "N r9")
        assert str(text.report_to).startswith(f"{REPORT}/")


async def test_the_status_that_means_yes_is_the_configs(place: Place) -> None:
    """What is not in the list is a refusal, even a 2xx."""
    if place.extra["driver"].startswith("http"):
        settings = settings_of(place.extra["driver"], place.extra["origin"], success=(200,))
        gateway = gateway_of(place.extra["driver"], settings, place.extra["fetcher"])
        assert await gateway.send(Sms(TO, "x"), "r") == Rejected(Reason.CONTENT, code="202")


# What answers mean


async def test_a_wrong_password_is_the_operators_matter(place: Place) -> None:
    """Nobody else can mend it."""
    driver = place.extra["driver"]
    wrong = gateway_of(driver, settings_of(driver, place.extra["origin"]), place.extra["fetcher"], secret="wrong")
    sent = await wrong.send(Sms(TO, "x"), "r")
    assert isinstance(sent, Rejected)
    assert sent.reason is Reason.ACCOUNT
    assert place.simulator.texts == []


@pytest.mark.parametrize(
    ("fault", "driver", "expected"),
    [
        (Fault.BAD_NUMBER, "twilio", Rejected(Reason.RECIPIENT, code="21211")),
        (Fault.OPTED_OUT, "twilio", Rejected(Reason.OPTED_OUT, code="21610")),
        (Fault.NO_CREDIT, "twilio", Rejected(Reason.ACCOUNT, code="20005")),
        (Fault.THROTTLED, "twilio", Rejected(Reason.BUSY, code="429")),
        (Fault.UNAVAILABLE, "twilio", Rejected(Reason.BUSY, code="503")),
        (Fault.BROKEN, "twilio", Unknown(code="500")),
        (Fault.NOT_JSON, "twilio", Unknown(code="answer")),
        (Fault.NO_ID, "twilio", Unknown(code="answer")),
        (Fault.BAD_NUMBER, "46elks", Rejected(Reason.CONTENT, code="400")),
        (Fault.NO_CREDIT, "46elks", Rejected(Reason.ACCOUNT, code="403")),
        (Fault.NOT_JSON, "46elks", Unknown(code="answer")),
        (Fault.NO_ID, "46elks", Unknown(code="answer")),
        (Fault.BAD_NUMBER, "http-json", Rejected(Reason.CONTENT, code="422")),
        (Fault.NO_CREDIT, "http-form", Rejected(Reason.ACCOUNT, code="402")),
        (Fault.NOT_JSON, "http-json", Accepted("r1")),
        (Fault.NO_ID, "http-form", Accepted("r1")),
    ],
)
async def test_what_an_answer_means(fault: Fault, driver: str, expected: Sent) -> None:
    """Their codes, not their sentences; what cannot be read may be a yes."""
    async with sms_place(driver) as place:
        place.simulator.switch(fault)
        assert await place.send(TO, "x") == expected


async def test_where_the_broker_may_not_call_nothing_is_sent() -> None:
    """A gateway is called by the same way out as everybody else."""
    async with sms_place("46elks") as place:
        settings = settings_of("46elks", "http://169.254.169.254")
        sent = await gateway_of("46elks", settings, place.extra["fetcher"]).send(Sms(TO, "x"), "r")
        assert sent == Rejected(Reason.UNREACHABLE, code="outbound_blocked")


# Several behind one another


class Played:
    """A gateway that answers what it is told to."""

    def __init__(self, *answers: Sent) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, str]] = []
        self.closed = 0

    async def send(self, sms: Sms, ref: str) -> Sent:
        self.got.append((sms.text, ref))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def close(self) -> None:
        self.closed += 1


YES = Accepted("id")
NO, DOWN, SILENT = Rejected(Reason.RECIPIENT), Rejected(Reason.UNREACHABLE), Unknown(code="timeout")


async def tried(first: Sent, second: Sent) -> tuple[Sent, Played, Played]:
    one, other = Played(first), Played(second)
    sent = await Failover({"one": one, "other": other}, Clock()).send(Sms(TO, "Kod 123456"), "r1")
    return sent, one, other


async def test_the_first_that_takes_it_is_enough() -> None:
    """Nobody gets two messages for nothing."""
    sent, _, other = await tried(YES, YES)
    assert (sent, other.got) == (YES, [])


@pytest.mark.parametrize(
    "first", [NO, DOWN, SILENT, Rejected(Reason.BUSY), Rejected(Reason.ACCOUNT), Rejected(Reason.CONTENT)]
)
async def test_the_next_one_gets_the_same_text(first: Sent) -> None:
    """After silence too: then she may get it twice, with the same code, and each gateway was asked once."""
    sent, one, other = await tried(first, YES)
    assert sent == YES
    assert one.got == other.got == [("Kod 123456", "r1")]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(SILENT, NO, SILENT), (NO, SILENT, SILENT), (SILENT, SILENT, SILENT), (DOWN, NO, NO), (NO, DOWN, DOWN)],
)
async def test_without_a_yes_one_silence_is_silence(first: Sent, second: Sent, expected: Sent) -> None:
    """The refusal of one does not undo what the other may have sent."""
    assert (await tried(first, second))[0] == expected


async def test_who_wants_to_be_left_alone_is() -> None:
    """Another company's number is no way around that."""
    no_more = Rejected(Reason.OPTED_OUT)
    sent, _, other = await tried(no_more, YES)
    assert (sent, other.got) == (no_more, [])


async def test_one_that_keeps_failing_rests() -> None:
    """Three in a row; then the other is asked first, and when the rest is over it is tried again."""
    clock, ill, well = Clock(), Played(SILENT), Played(YES)
    failover = Failover({"ill": ill, "well": well}, clock)
    for _ in range(FAILURES + 2):
        assert await failover.send(Sms(TO, "x"), "r") == YES
    assert len(ill.got) == FAILURES
    assert failover.resting() == {"ill"}
    clock.now += REST
    await failover.send(Sms(TO, "x"), "r")
    assert len(ill.got) == FAILURES + 1
    assert failover.resting() == {"ill"}


async def test_one_that_worked_starts_anew() -> None:
    """Failures count in a row only."""
    ill = Played(DOWN, DOWN, YES, DOWN, DOWN, YES, DOWN, DOWN, YES)
    failover = Failover({"ill": ill, "well": Played(YES)}, Clock())
    for _ in range(9):
        await failover.send(Sms(TO, "x"), "r")
    assert len(ill.got) == 9


async def test_customers_mistakes_are_not_the_gateways() -> None:
    """Wrong numbers do not switch it off for everybody."""
    strict = Played(NO)
    failover = Failover({"strict": strict, "well": Played(NO)}, Clock())
    for _ in range(FAILURES * 2):
        await failover.send(Sms(TO, "x"), "r")
    assert len(strict.got) == FAILURES * 2


async def test_when_all_rest_one_is_tried_nevertheless() -> None:
    """Otherwise a minute of trouble would be a minute without logins; only one, so that she does not wait for all."""
    one, other = Played(SILENT), Played(DOWN)
    failover = Failover({"one": one, "other": other}, Clock())
    for _ in range(FAILURES):
        await failover.send(Sms(TO, "x"), "r")
    assert failover.resting() == {"one", "other"}
    one.answers = [YES]
    assert await failover.send(Sms(TO, "x"), "r") == YES
    assert len(other.got) == FAILURES
    assert failover.resting() == {"other"}


async def test_all_are_closed() -> None:
    """With the broker."""
    one, other = Played(YES), Played(YES)
    await Failover({"one": one, "other": other}, Clock()).close()
    assert (one.closed, other.closed) == (1, 1)


# Reports


async def reported(place: Place, *faults: Fault) -> list[Any]:
    """What the driver makes of the reports for a message, each as the gateway sent it."""
    await place.send(TO, "x")
    (text,) = place.simulator.texts
    if text.report_to is None:
        # Their template has no place for it.
        return []
    place.extra["reports"].clear()
    place.simulator.switch(*faults)
    await place.simulator.report(text)
    found = []
    for address, form, headers in place.extra["reports"]:
        assert address.startswith(REPORT)
        key = address.removeprefix(REPORT).removeprefix("/")
        found.append(place.sender.reported(form, key=key, signature=headers.get("X-Twilio-Signature", "")))
    return found


@pytest.mark.parametrize("driver", ["46elks", "twilio", "http-form"])
@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ((), [Delivery.DELIVERED]),
        ((Fault.REPORTS_FAILURE,), [Delivery.FAILED]),
        ((Fault.REPORTS_TWICE,), [Delivery.DELIVERED, Delivery.DELIVERED]),
    ],
)
async def test_a_report_is_read(driver: str, faults: tuple[Fault, ...], expected: list[Delivery]) -> None:
    """As often as it comes: it is only counted."""
    form = {"to": "{to}", "text": "{text}", "from": "Nordhjul", "callback": "{report}"}
    changed = {"form": form} if driver == "http-form" else {}
    async with sms_place(driver, report_uri=REPORT, **changed) as place:
        assert await reported(place, *faults) == expected


async def test_an_unsigned_report_is_not_twilios() -> None:
    """Anybody could post it."""
    async with sms_place("twilio", report_uri=REPORT) as place:
        assert await reported(place, Fault.REPORTS_UNSIGNED) == [None]


FORM = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": TO}


@pytest.mark.parametrize(
    ("form", "signature"),
    [
        (FORM, ""),
        (FORM, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (FORM, "å"),
        (FORM, twilio_signature("wrong", REPORT, FORM)),
        (FORM, twilio_signature("right", "https://evil.example/", FORM)),
        (FORM | {"MessageStatus": "failed"}, twilio_signature("right", REPORT, FORM)),
        (FORM | {"Extra": "1"}, twilio_signature("right", REPORT, FORM)),
    ],
)
async def test_a_signature_is_for_this_address_and_these_fields(form: dict[str, str], signature: str) -> None:
    """By the account's token."""
    async with sms_place("twilio", report_uri=REPORT) as place:
        assert place.sender.reported(form, key="", signature=signature) is None
        assert place.sender.reported(FORM, key="", signature=twilio_signature("right", REPORT, FORM))


async def test_signatures_are_made_as_twilio_makes_them() -> None:
    """Driver and simulator wrote it down apart; the example of Twilio's own documentation tells whether both are right."""
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    address = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert twilio_signature("12345", address, form) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    async with sms_place("twilio") as place:
        settings = settings_of("twilio", place.extra["origin"])
        gateway = gateway_of("twilio", settings, place.extra["fetcher"], address, "12345")
        assert gateway.reported(form, key="", signature="RSOYDt4T1cUTdK1PDd93/VVr8B8=") is Delivery.PENDING


@pytest.mark.parametrize("driver", ["46elks", "http-form"])
@pytest.mark.parametrize("key", ["", "0" * 40, "å"])
async def test_without_the_key_a_report_is_nobodys(driver: str, key: str) -> None:
    """It stands only in the address that the gateway was told."""
    async with sms_place(driver, report_uri=REPORT) as place:
        assert place.sender.reported({"status": "delivered"}, key=key, signature="") is None


def test_the_account_of_the_tests_is_well_formed() -> None:
    """As Twilio's are."""
    assert len(SID) == 34
