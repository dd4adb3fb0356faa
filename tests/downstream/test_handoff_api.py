"""The handoff API: what a source may create, what it is told, and what a recipient may read."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.stores.ports import Put
from tests.downstream.crowd import Crowd
from tests.stage import PAYLOAD, SHOP_RETURN, Answer, Browser, Partner

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def subject(crowd: Crowd, who: str = "maja") -> str:
    """The shop's pairwise subject of *who*."""
    return str((await crowd.stage.shop_login(crowd.stage.browser(), who=who))["claims"]["sub"])


async def bound(crowd: Crowd, who: str = "maja", **changed: Any) -> tuple[Browser, str, str]:
    """A handoff standing at its consent page in *who*'s browser: browser, link, id."""
    browser = crowd.stage.browser()
    at_shop = await crowd.stage.shop_login(browser, who=who)
    created = await crowd.stage.offer(at_shop["claims"]["sub"], **changed)
    assert created.status == 201, created.text
    page = await browser.follow(await browser.get(created.json["link"]))
    assert "share" in page.ids
    return browser, created.json["link"], created.json["handoff_id"]


async def redeemed(crowd: Crowd) -> tuple[Browser, str, str, str]:
    """A handoff the garage has redeemed: browser, link, id, access token."""
    browser, link, handoff = await bound(crowd)
    started = await browser.press("share")
    tokens = await crowd.stage.garage.exchange(await crowd.stage.arrive(browser, started))
    return browser, link, handoff, tokens["access_token"]


async def status(crowd: Crowd, handoff: str, partner: Partner | None = None) -> Answer:
    """How far its source is told it got."""
    who = partner or crowd.stage.shop
    return Answer(await crowd.stage.client.get(f"/handoffs/{handoff}/status", auth=who.auth))


def payload(**changed: Any) -> dict[str, Any]:
    """The payload with members changed, or left out where None."""
    return {name: value for name, value in {**PAYLOAD, **changed}.items() if value is not None}


def vehicle(**changed: Any) -> dict[str, Any]:
    return payload(vehicle={**PAYLOAD["vehicle"], **changed})


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown partner": ({"partner": "nobody"}, 403, "unauthorized_client"),
    "itself": ({"partner": "tyre-shop"}, 403, "unauthorized_client"),
    "partner without agreement": ({"partner": "florist"}, 403, "unauthorized_client"),
    "other purpose": ({"purpose": "marketing"}, 403, "unauthorized_client"),
    "unknown type": ({"type": "tyre-fitting/v2"}, 400, "invalid_request"),
    "type is a path": ({"type": "../tyre-fitting-v1"}, 400, "invalid_request"),
    "no partner": ({"partner": None}, 400, "invalid_request"),
    "partner a list": ({"partner": ["garage"]}, 400, "invalid_request"),
    "partner an object": ({"partner": {"id": "garage"}}, 400, "invalid_request"),
    "unknown member": ({"callback": "https://evil.example"}, 400, "invalid_request"),
    "return_uri elsewhere": ({"return_uri": "https://evil.example/"}, 400, "invalid_request"),
    "return_uri with a query": ({"return_uri": f"{SHOP_RETURN}?x=1"}, 400, "invalid_request"),
    "return_uri of the recipient": ({"return_uri": "http://127.0.0.1:8702/"}, 400, "invalid_request"),
    "return_uri with a slash": ({"return_uri": f"{SHOP_RETURN}/"}, 400, "invalid_request"),
    "no return_uri": ({"return_uri": None}, 400, "invalid_request"),
    "subject never given": ({"subject": "made-up"}, 400, "invalid_request"),
    "subject empty": ({"subject": ""}, 400, "invalid_request"),
    "subject a number": ({"subject": 7}, 400, "invalid_request"),
    "subject with a NUL": ({"subject": "a\x00b"}, 400, "invalid_request"),
    "language a number": ({"language": 7}, 400, "invalid_request"),
    "contact unknown member": ({"contact": {"name": "Maja"}}, 400, "invalid_request"),
    "contact no address": ({"contact": {"email": "maja"}}, 400, "invalid_request"),
    "contact no number": ({"contact": {"phone": "070-123"}}, 400, "invalid_request"),
    "contact number with a newline": ({"contact": {"phone": "+46701234567\n"}}, 400, "invalid_request"),
    "contact a list": ({"contact": ["maja@example.com"]}, 400, "invalid_request"),
    "payload a text": ({"payload": "{}"}, 400, "invalid_request"),
    "payload a list": ({"payload": []}, 400, "invalid_request"),
    "payload missing": ({"payload": None}, 400, "invalid_request"),
    "payload empty": ({"payload": {}}, 400, "invalid_request"),
    "payload too large": ({"payload": payload(booking={"note": "n" * 17_000})}, 400, "invalid_request"),
    "payload unknown member": ({"payload": payload(card="4111")}, 400, "invalid_request"),
    "payload unknown inner member": ({"payload": vehicle(owner="x")}, 400, "invalid_request"),
    "payload wrong type": ({"payload": vehicle(make=7)}, 400, "invalid_request"),
    "payload wrong enum": ({"payload": payload(items=[{**PAYLOAD["items"][0], "season": "spring"}])}, 400, "invalid_request"),
    "payload no quantity": ({"payload": payload(items=[{**PAYLOAD["items"][0], "quantity": 0}])}, 400, "invalid_request"),
    "payload quantity true": ({"payload": payload(items=[{**PAYLOAD["items"][0], "quantity": True}])}, 400, "invalid_request"),
    "payload without items": ({"payload": payload(items=None)}, 400, "invalid_request"),
    "required field missing": ({"payload": payload(customer={"email": "maja@example.com"})}, 400, "invalid_request"),
    "payload deep": ({"payload": vehicle(make=deep(400))}, 400, "invalid_request"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_a_source_may_not_create(crowd: Crowd, kind: str) -> None:
    """Nothing outside the trust config and the schema; the answer names the rule and no value."""
    changed, code, error = REFUSED[kind]
    sub = await subject(crowd)
    answer = await crowd.stage.offer(**{"subject": sub, **changed})
    assert answer.status == code, answer.text
    assert answer.json["error"] == error
    assert set(answer.json) == {"error", "error_description", "reference"}
    for value in ("ABC 12D", "Maja", "maja@example.com", sub, "evil.example", "4111"):
        assert value not in answer.text


BODIES: dict[str, bytes] = {
    "not JSON": b"partner=garage",
    "empty": b"",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "cut": b'{"partner": "gar',
    "duplicate key": b'{"partner":"garage","partner":"garage"}',
    "duplicate inner key": json.dumps({"payload": 1}).replace("1", '{"vehicle":{},"vehicle":{}}').encode(),
    "deep": b'{"payload":' + b"[" * 20_000 + b"]" * 10_000,
    "deep and closed": b'{"payload":' + b"[" * 990 + b"]" * 990 + b"}",
    "NaN": b'{"payload": NaN}',
    "Infinity": b'{"payload": Infinity}',
    "endless number": b'{"payload": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"partner":"\xff"}',
    "UTF-16": '{"partner":"garage"}'.encode("utf-16"),
    "over 32 KiB": b'{"payload":"' + b"x" * 33_000 + b'"}',
    "two documents": b"{}{}",
    "half a surrogate": rb'{"ref": "\ud800", "payload": {"vehicle": {"make": "\ud800"}}}',
}


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_that_is_no_clean_json_object_is_refused(crowd: Crowd, kind: str) -> None:
    """Every key once, no NaN, no depth, at most 32 KiB: 400 at every endpoint that reads JSON."""
    sent = {"content-type": "application/json"}
    for path, who in (("/handoffs", crowd.stage.shop), ("/handoffs/guest", crowd.stage.garage)):
        raw = await crowd.stage.client.post(path, content=BODIES[kind], auth=who.auth, headers=sent)
        assert raw.status_code == 400, (path, raw.text)
        assert raw.json()["error"] == "invalid_request"


async def test_a_body_over_the_limit_is_413_for_software_too(crowd: Crowd) -> None:
    """Announced or not, larger than 64 KiB is never read to its end."""

    async def drip() -> Any:
        for _ in range(70):
            yield b" " * 1024

    announced = await crowd.stage.client.post("/handoffs", content=b" " * 70_000, auth=crowd.stage.shop.auth)
    assert announced.status_code == 413
    dripped = await crowd.stage.client.post("/handoffs", content=drip(), auth=crowd.stage.shop.auth)
    assert dripped.status_code == 413
    assert dripped.json()["error"] == "invalid_request"


async def test_a_stranger_creates_nothing(crowd: Crowd) -> None:
    """Client authentication first, whatever the body."""
    for auth in ((crowd.stage.shop.client_id, "wrong"), ("", ""), None):
        raw = await crowd.stage.client.post("/handoffs", content=b"garbage", auth=auth)
        assert raw.status_code == 401
        assert raw.headers["www-authenticate"].startswith("Basic ")


async def test_a_key_client_signs_its_calls(crowd: Crowd) -> None:
    """private_key_jwt clients send their assertion as Bearer; the bank has no agreement, so it is known and refused."""
    body = {
        "partner": "garage", "purpose": "tyre-fitting", "type": "tyre-fitting/v1", "payload": PAYLOAD,
        "return_uri": SHOP_RETURN,
    }  # fmt: skip
    for assertion, expected in ((crowd.assertion(), 403), (crowd.assertion(aud="https://other.example"), 401)):
        sent = {"authorization": f"Bearer {assertion}"}
        raw = await crowd.stage.client.post("/handoffs", json=body, headers=sent)
        assert raw.status_code == expected


async def test_a_subject_of_another_partner_is_nobody_here(crowd: Crowd) -> None:
    """A source names only customers it has itself seen: the florist's sub of Maja is not the shop's."""
    tokens = await crowd.redeem(crowd.florist, await crowd.code(crowd.florist))
    foreign = (await crowd.stage.id_token(tokens.json["id_token"]))["sub"]
    assert foreign != await subject(crowd)
    assert (await crowd.stage.offer(foreign)).status == 400


class TestIdempotency:
    """``Idempotency-Key``: a repeat is answered by the first, whatever happened since."""

    async def test_the_same_again_gives_the_same(self, crowd: Crowd) -> None:
        """201 and then 200, same id; the link still opens the same handoff."""
        sub, headers = await subject(crowd), {"Idempotency-Key": "same-again"}
        first = await crowd.stage.offer(sub, headers=headers)
        crowd.stage.clock.forward(minutes=1)
        again = await crowd.stage.offer(sub, headers=headers)
        assert (first.status, again.status) == (201, 200)
        for member in ("handoff_id", "expires_at", "state"):
            assert first.json[member] == again.json[member]

    @pytest.mark.parametrize(
        "changed",
        [
            {"payload": vehicle(model="XC60")},
            {"payload": payload(items=[{**PAYLOAD["items"][0], "quantity": 2}])},
            {"subject": None},
            {"contact": {"email": "karl@example.com"}},
        ],
        ids=["vehicle", "quantity", "subject", "contact"],
    )
    async def test_another_content_is_refused(self, crowd: Crowd, changed: dict[str, Any]) -> None:
        """A changed payload under an old key must not pass for the old one."""
        sub, headers = await subject(crowd), {"Idempotency-Key": f"changed-{sorted(changed)}-{len(str(changed))}"}
        assert (await crowd.stage.offer(sub, headers=headers)).status == 201
        body = {"subject": sub, **changed}
        answer = await crowd.stage.offer(body.pop("subject"), headers=headers, **body)
        assert answer.status == 400
        assert "ABC 12D" not in answer.text

    async def test_a_repeat_after_she_shared_is_still_the_first(self, crowd: Crowd) -> None:
        """The broker forgot what she kept back, but not what it was offered."""
        browser, headers = crowd.stage.browser(), {"Idempotency-Key": "after-sharing"}
        sub = (await crowd.stage.shop_login(browser))["claims"]["sub"]
        first = await crowd.stage.offer(sub, headers=headers)
        await browser.follow(await browser.get(first.json["link"]))
        await browser.press("share")
        again = await crowd.stage.offer(sub, headers=headers)
        assert (again.status, again.json["handoff_id"]) == (200, first.json["handoff_id"])
        assert again.json["state"] == "started"

    @pytest.mark.parametrize("key", ["", "k" * 201, "with space", "tab\tbed"])
    async def test_a_strange_key_is_refused(self, crowd: Crowd, key: str) -> None:
        """1 to 200 visible ASCII characters."""
        answer = await crowd.stage.offer(await subject(crowd), headers={"Idempotency-Key": key})
        assert answer.status == 400


class TestRateLimit:
    """More than 6000 a minute from one source is too many."""

    async def test_says_when_to_try_again(self, crowd: Crowd) -> None:
        """429 with Retry-After; the next minute is a new one; another source is not concerned."""
        sub = await subject(crowd)
        await crowd.stage.state.run(Put("rate:handoffs:tyre-shop", b"6000", 60))
        refused = await crowd.stage.offer(sub)
        assert refused.status == 429
        assert refused.headers["retry-after"] == "60"
        assert refused.json["error"] == "temporarily_unavailable"
        crowd.stage.clock.forward(seconds=61)
        assert (await crowd.stage.offer(sub)).status == 201

    async def test_does_not_destroy_what_was_created(self, crowd: Crowd) -> None:
        """A repeat that comes too often must not take the first handoff with it."""
        sub, headers = await subject(crowd), {"Idempotency-Key": "too-often"}
        first = await crowd.stage.offer(sub, headers=headers)
        await crowd.stage.state.run(Put("rate:handoffs:tyre-shop", b"6000", 60))
        assert (await crowd.stage.offer(sub, headers=headers)).status == 429
        crowd.stage.clock.forward(seconds=61)
        assert (await crowd.stage.offer(sub, headers=headers)).status == 200
        assert (await status(crowd, first.json["handoff_id"])).status == 200


class TestStatus:
    """What the source is told."""

    async def test_a_refusal_is_not_told(self, crowd: Crowd) -> None:
        """Opened, thinking, cancelled, without sharing: all the same to the shop; then all expired."""
        created = (await crowd.stage.offer(await subject(crowd))).json["handoff_id"]
        assert (await status(crowd, created)).json == {"handoff_id": created, "state": "created"}
        _, _, undecided = await bound(crowd)
        browser, _, cancelled = await bound(crowd)
        await browser.press("cancel")
        other, _, declined = await bound(crowd)
        await other.press("continue-guest")
        told = [(await status(crowd, each)).json["state"] for each in (undecided, cancelled, declined)]
        assert told == ["opened"] * 3
        crowd.stage.clock.forward(hours=25)
        told = [(await status(crowd, each)).json["state"] for each in (created, undecided, cancelled, declined)]
        assert told == ["expired"] * 4

    async def test_a_transfer_is_told(self, crowd: Crowd) -> None:
        """Started, redeemed, acknowledged."""
        browser, _, handoff = await bound(crowd)
        started = await browser.press("share")
        assert (await status(crowd, handoff)).json["state"] == "started"
        tokens = await crowd.stage.garage.exchange(await crowd.stage.arrive(browser, started))
        assert (await status(crowd, handoff)).json["state"] == "redeemed"
        await crowd.stage.garage.acknowledge(handoff, tokens["access_token"], {"result": "booked"})
        assert (await status(crowd, handoff)).json["state"] == "acknowledged"

    async def test_is_for_the_source_only(self, crowd: Crowd) -> None:
        """The recipient, others, and guessed ids: 404, all the same."""
        created = (await crowd.stage.offer(await subject(crowd))).json["handoff_id"]
        for partner, handoff in (
            (crowd.stage.garage, created), (crowd.stage.shop, "guessed"), (crowd.stage.shop, "x" * 300),
            (crowd.stage.shop, "å"), (crowd.stage.shop, "%00"), (crowd.stage.shop, created.upper()),
        ):  # fmt: skip
            answer = await status(crowd, handoff, partner)
            assert answer.status == 404
            assert answer.json["error"] == "not_found"
        assert (await crowd.stage.client.get(f"/handoffs/{created}/status")).status_code == 401


class TestReading:
    """``GET /handoffs/{id}``."""

    async def test_needs_this_handoffs_token(self, crowd: Crowd) -> None:
        """No token or a dead one 401, the token of another handoff or of a plain login 404, nobody else's data ever."""
        _, _, handoff, token = await redeemed(crowd)
        _, _, other, other_token = await redeemed(crowd)
        plain = (await crowd.stage.shop_login(crowd.stage.browser()))["access_token"]
        read = crowd.stage.garage.read
        assert (await read(handoff, token)).status == 200
        for path, offered, expected in (
            (handoff, "garbage", 401), (handoff, "", 401), (handoff, token[:-2], 401), (handoff, "å", 401),
            (handoff, other_token, 404), (other, token, 404), (handoff, plain, 404), ("guessed", token, 404),
            ("x" * 300, token, 404), ("%C3%A5", token, 404),
        ):  # fmt: skip
            sent = {"authorization": f"Bearer {offered}".encode()}
            raw = await crowd.stage.client.get(f"/handoffs/{path}", headers=sent)
            assert raw.status_code == expected, (path[:20], offered[:20])
            assert raw.headers["cache-control"] == "no-store"
            assert (raw.status_code == 401) == ("www-authenticate" in raw.headers)
            assert "ABC 12D" not in raw.text
        assert (await crowd.stage.client.get(f"/handoffs/{handoff}")).status_code == 401
        assert (await crowd.stage.client.get(f"/handoffs/{handoff}?access_token={token}")).status_code == 401

    async def test_ends_with_the_token(self, crowd: Crowd) -> None:
        """Ten minutes, then 401."""
        _, _, handoff, token = await redeemed(crowd)
        crowd.stage.clock.forward(seconds=599)
        assert (await crowd.stage.garage.read(handoff, token)).status == 200
        crowd.stage.clock.forward(seconds=2)
        assert (await crowd.stage.garage.read(handoff, token)).status == 401

    async def test_is_gone_after_withdrawal(self, crowd: Crowd) -> None:
        """410 for reading and acknowledging, 401 at userinfo, and the source sees no difference to one that expired."""
        browser, link, handoff, token = await redeemed(crowd)
        data = await crowd.stage.garage.read(handoff, token)
        await browser.get("/shared")
        await browser.press(f"withdraw-{data.json['consent_id']}")
        gone = await crowd.stage.garage.read(handoff, token)
        assert (gone.status, gone.json["error"]) == (410, "gone")
        assert "ABC 12D" not in gone.text
        assert (await crowd.stage.garage.acknowledge(handoff, token, {"result": "booked"})).status == 410
        assert (await crowd.stage.garage.userinfo(token)).status == 401
        assert (await status(crowd, handoff)).json["state"] == "expired"
        again = await browser.get(link)
        assert (await browser.follow(again)).status == 200

    async def test_withheld_names_what_she_kept_back(self, crowd: Crowd) -> None:
        """Names only; what is not on offer is not named."""
        _, _, handoff, token = await redeemed(crowd)
        data = await crowd.stage.garage.read(handoff, token)
        assert {"customer.email", "customer.phone"} <= set(data.json["withheld"])
        assert "booking.note" not in data.json["withheld"]
        assert set(data.json) == {"id", "type", "purpose", "source", "consent_id", "claims", "withheld", "state"}


class TestAcknowledging:
    """``POST /handoffs/{id}/acknowledgement``."""

    async def test_may_be_repeated_and_corrected(self, crowd: Crowd) -> None:
        """The same again changes nothing; she sees the latest."""
        _, _, handoff, token = await redeemed(crowd)
        for body in ({"result": "linked"}, {"result": "linked"}, {"result": "booked", "reference": "B-1"}):
            answer = await crowd.stage.garage.acknowledge(handoff, token, body)
            assert (answer.status, answer.json) == (200, {"id": handoff, "state": "acknowledged"})
        await crowd.stage.broker.context.audit.flush()
        assert (await crowd.stage.garage.read(handoff, token)).json["state"] == "acknowledged"
        customer = await crowd.stage.records.customer_of_subject("tyre-shop", await subject(crowd))
        assert customer is not None
        transfer = next(each for each in await crowd.stage.records.transfers_of(customer, 99) if each.id == handoff)
        assert (transfer.state, transfer.result, transfer.reference) == ("acknowledged", "booked", "B-1")
        assert transfer.picked_up_at is not None

    @pytest.mark.parametrize(
        "body",
        [
            {}, {"result": "stolen"}, {"result": None}, {"result": ["booked"]}, {"result": 1}, {"result": "BOOKED"},
            {"result": "booked", "reference": ""}, {"result": "booked", "reference": "r" * 101},
            {"result": "booked", "reference": 7}, {"result": "booked", "reference": "a\x00b"},
            {"result": "booked", "reference": "a\nb"}, {"result": "booked", "extra": 1},
        ],
        ids=str,
    )  # fmt: skip
    async def test_says_one_of_three_things(self, crowd: Crowd, body: Any) -> None:
        """Unknown words and members are refused."""
        _, _, handoff, token = await redeemed(crowd)
        answer = await crowd.stage.garage.acknowledge(handoff, token, body)
        assert answer.status == 400
        assert (await crowd.stage.garage.read(handoff, token)).json["state"] == "redeemed"

    async def test_needs_this_handoffs_token(self, crowd: Crowd) -> None:
        """As for reading."""
        _, _, handoff, token = await redeemed(crowd)
        _, _, other, _ = await redeemed(crowd)
        body = {"result": "booked"}
        assert (await crowd.stage.garage.acknowledge(other, token, body)).status == 404
        assert (await crowd.stage.garage.acknowledge(handoff, "garbage", body)).status == 401
        assert (await crowd.stage.client.post(f"/handoffs/{handoff}/acknowledgement", json=body)).status_code == 401


class TestGuests:
    """``POST /handoffs/guest``."""

    async def test_a_reference_is_for_its_recipient_for_a_minute(self, crowd: Crowd) -> None:
        """Another client, a minute later, changed, or no reference at all: refused; a foreign try uses nothing up."""
        browser, _, _ = await bound(crowd)
        reference = (await browser.press("continue-guest")).query["ref"]
        for who, sent in (
            (crowd.stage.shop, reference), (crowd.stage.garage, reference[:-2]), (crowd.stage.garage, ""),
            (crowd.stage.garage, "å"), (crowd.stage.garage, "x" * 5000),
        ):  # fmt: skip
            answer = await who.call("/handoffs/guest", {"ref": sent})
            assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
        raw = await crowd.stage.client.post("/handoffs/guest", json={"ref": reference})
        assert raw.status_code == 401
        assert (await crowd.stage.garage.call("/handoffs/guest", {"ref": reference})).status == 200
        browser, _, _ = await bound(crowd)
        late = (await browser.press("continue-guest")).query["ref"]
        crowd.stage.clock.forward(seconds=61)
        assert (await crowd.stage.garage.call("/handoffs/guest", {"ref": late})).status == 400

    @pytest.mark.parametrize("body", [{}, {"ref": 7}, {"ref": None}, {"ref": ["x"]}, {"ref": "x", "more": 1}])
    async def test_the_body_is_the_reference(self, crowd: Crowd, body: Any) -> None:
        """And nothing else."""
        assert (await crowd.stage.garage.call("/handoffs/guest", body)).json["error"] == "invalid_request"

    async def test_product_data_only(self, crowd: Crowd) -> None:
        """No name of a person, no plate, no order number, no subject; even when the source put them in."""
        browser, _, _ = await bound(crowd)
        reference = (await browser.press("continue-guest")).query["ref"]
        answer = await crowd.stage.garage.call("/handoffs/guest", {"ref": reference})
        assert set(answer.json) == {"id", "type", "purpose", "source", "claims"}
        assert set(answer.json["claims"]) == {"items", "vehicle"}
        assert set(answer.json["claims"]["vehicle"]) == {"tyre_size_front"}


Step = Callable[[Crowd], Awaitable[Answer]]


async def test_a_link_opened_again_is_answered_from_where_it_stands(crowd: Crowd) -> None:
    """Every state has its answer, and none is an error, from undecided over started to expired."""
    browser, link, handoff = await bound(crowd)
    assert "share" in (await browser.follow(await browser.get(link))).ids
    await browser.press("cancel")
    assert "share" in (await browser.follow(await browser.get(link))).ids
    started = await browser.press("share")
    again = await browser.get(link)
    assert again.location.startswith("http://127.0.0.1:8702/login/start")
    assert again.query["login_hint"] != started.query["login_hint"]
    tokens = await crowd.stage.garage.exchange(await crowd.stage.arrive(browser, again))
    for _ in range(2):
        assert (await browser.get(link)).location == "http://127.0.0.1:8702/?handoff=already"
    await crowd.stage.garage.acknowledge(handoff, tokens["access_token"], {"result": "booked"})
    assert (await browser.get(link)).location == "http://127.0.0.1:8702/?handoff=already"

    browser, link, _ = await bound(crowd)
    await browser.press("continue-guest")
    page = await browser.follow(await browser.get(link))
    assert page.status == 200
    assert {"back-to-shop", "continue-guest"} <= page.ids

    browser, link, _ = await bound(crowd)
    crowd.stage.clock.forward(hours=25)
    page = await browser.follow(await browser.get(link))
    assert page.status == 200
    assert "back-to-shop" in page.ids


async def test_a_redeemed_reference_used_again_is_an_ordinary_login(crowd: Crowd) -> None:
    """Back button at the garage after the transfer: she is asked as for any login, and nothing goes over twice."""
    browser, _, _ = await bound(crowd)
    started = await browser.press("share")
    await crowd.stage.garage.exchange(await crowd.stage.arrive(browser, started))
    page = await crowd.stage.arrive(browser, started)
    assert "share" in page.ids
    assert "ABC 12D" not in page.text
    tokens = await crowd.stage.garage.exchange(await browser.press("share"))
    assert "handoff" not in tokens["claims"]
    assert "authorization_details" not in tokens


async def test_freshness_asked_by_the_recipient_holds_for_a_handoff(crowd: Crowd) -> None:
    """prompt=login and max_age mean a new login also where a handoff is being redeemed."""
    browser, _, _ = await bound(crowd)
    started = await browser.press("share")
    crowd.stage.clock.forward(seconds=30)
    hint = started.query["login_hint"]
    for asked in ({"prompt": "login"}, {"max_age": "0"}, {"max_age": "10"}):
        answer = await browser.follow(await browser.get(crowd.stage.garage.request(login_hint=hint, **asked)))
        assert "method-bankid" in answer.ids, asked
    answer = await browser.log_in("bankid", "maja")
    assert (await crowd.stage.garage.exchange(answer))["claims"]["handoff"]["source"] == "tyre-shop"
