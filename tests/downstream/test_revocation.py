"""Revocation (RFC 7009): what a client ends, and what it cannot."""

import asyncio

import pytest

from tests.downstream.apis import Apis
from tests.stage import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("ended", ["refresh_token", "access_token"])
@pytest.mark.parametrize("who", ["writer", "reader", "plain", "page"])
async def test_one_token_ends_its_whole_grant(apis: Apis, who: str, ended: str) -> None:
    """A grant is one authorization: refresh family and access tokens, opaque or JWT, end together (section 2.1)."""
    partner = getattr(apis, who)
    tokens = await apis.offline(partner)
    renewed = (await apis.refresh(partner, tokens["refresh_token"])).json
    answer = await apis.post("/revoke", partner, token=renewed[ended])
    assert (answer.status, answer.json) == (200, {})
    assert answer.headers["cache-control"] == "no-store"
    for access_token in (tokens["access_token"], renewed["access_token"]):
        assert (await apis.userinfo(access_token)).status == 401
    refused = await apis.refresh(partner, renewed["refresh_token"])
    assert (refused.status, refused.json["error"]) == (400, "invalid_grant")


async def test_it_is_known_to_introspection_at_once(apis: Apis) -> None:
    """A JWT goes on being believed by whoever checks it alone; whoever asks hears that it ended."""
    tokens = await apis.log_in(apis.writer)
    assert (await apis.introspect("booking-api", tokens["access_token"]))["active"] is True
    await apis.post("/revoke", apis.writer, token=tokens["access_token"])
    assert await apis.introspect("booking-api", tokens["access_token"]) == {"active": False}


async def test_a_replaced_refresh_token_ends_its_family(apis: Apis) -> None:
    """Its owner, who lost the answer with the successor, means the family."""
    first = await apis.offline(apis.writer)
    second = (await apis.refresh(apis.writer, first["refresh_token"])).json
    apis.stage.clock.forward(minutes=5)
    assert (await apis.post("/revoke", apis.writer, token=first["refresh_token"])).status == 200
    assert (await apis.refresh(apis.writer, second["refresh_token"])).json["error"] == "invalid_grant"


async def test_other_logins_go_on(apis: Apis) -> None:
    """Also of the same customer at the same client."""
    here, there = await apis.offline(apis.writer), await apis.offline(apis.writer)
    await apis.post("/revoke", apis.writer, token=here["refresh_token"])
    assert (await apis.refresh(apis.writer, there["refresh_token"])).status == 200


async def test_another_clients_token_is_untouched(apis: Apis) -> None:
    """200 and nothing happens: another answer would tell a thief that the token is live."""
    tokens = await apis.offline(apis.writer)
    for thief in (apis.reader, apis.page, apis.stage.shop):
        for kind in ("access_token", "refresh_token"):
            assert (await apis.post("/revoke", thief, token=tokens[kind])).status == 200
    assert (await apis.userinfo(tokens["access_token"])).status == 200
    assert (await apis.refresh(apis.writer, tokens["refresh_token"])).status == 200


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "id_token", "saml", ""])
async def test_the_hint_is_a_hint(apis: Apis, hint: str) -> None:
    """A wrong or unknown one changes nothing (section 2.1)."""
    tokens = await apis.offline(apis.plain)
    assert (await apis.post("/revoke", apis.plain, token=tokens["refresh_token"], token_type_hint=hint)).status == 200
    assert (await apis.userinfo(tokens["access_token"])).status == 401


async def test_unknown_and_ended_tokens_are_fine(apis: Apis) -> None:
    """Section 2.2: the client wanted it gone, and it is."""
    tokens = await apis.offline(apis.writer)
    for token in ("x", "å", "..", "a.b.c", "A" * 4000, tokens["access_token"][:-2], *([tokens["refresh_token"]] * 2)):
        assert (await apis.post("/revoke", apis.writer, token=token)).status == 200, token
    code = {"token": "x" * 9000}
    assert (await apis.post("/revoke", apis.writer, **code)).json["error"] == "invalid_request"


async def test_statements_cannot_be_taken_back(apis: Apis) -> None:
    """Section 2.2.1: unsupported_token_type for an ID token and a signed userinfo answer of ours."""
    tokens = await apis.log_in(apis.plain)
    told = (await apis.userinfo(tokens["access_token"])).text
    for token in (tokens["id_token"], told):
        refused = await apis.post("/revoke", apis.plain, token=token)
        assert (refused.status, refused.json["error"]) == (400, "unsupported_token_type")
    assert (await apis.userinfo(tokens["access_token"])).status == 200


@pytest.mark.parametrize(
    ("form", "auth", "status", "error"),
    [
        ({}, ("writer-web", SECRET), 400, "invalid_request"),
        ({"token": ""}, ("writer-web", SECRET), 400, "invalid_request"),
        ({"token": "x"}, None, 400, "invalid_client"),
        ({"token": "x", "client_id": "writer-web"}, None, 400, "invalid_client"),
        ({"token": "x"}, ("writer-web", "wrong"), 401, "invalid_client"),
        ({"token": "x"}, ("page-web", ""), 401, "invalid_client"),
        ({"token": "x", "client_id": "page-web", "client_secret": SECRET}, None, 400, "invalid_client"),
        ({"token": "x", "client_id": "page-web"}, ("writer-web", SECRET), 401, "invalid_client"),
    ],
)
async def test_what_is_refused(
    apis: Apis, form: dict[str, str], auth: tuple[str, str] | None, status: int, error: str
) -> None:
    """Client authentication as at the token endpoint; a public client says who it is (section 2.1)."""
    answer = await apis.raw("/revoke", form, auth=auth)
    assert (answer.status, answer.json["error"]) == (status, error)


async def test_a_refresh_at_the_same_moment_does_not_bring_it_back(apis: Apis) -> None:
    """Whichever comes first: afterwards nothing of the grant is live."""
    for _ in range(10):
        tokens = await apis.offline(apis.page)
        refreshed, *_ = await asyncio.gather(
            apis.refresh(apis.page, tokens["refresh_token"]),
            apis.post("/revoke", apis.page, token=tokens["refresh_token"]),
            apis.refresh(apis.page, tokens["refresh_token"]),
        )
        last = refreshed.json.get("refresh_token", tokens["refresh_token"])
        assert (await apis.refresh(apis.page, last)).json["error"] == "invalid_grant"
        assert (await apis.userinfo(tokens["access_token"])).status == 401


async def test_it_is_in_the_audit(apis: Apis) -> None:
    """Once, with the customer and the partner; not for what was not live."""
    tokens = await apis.offline(apis.writer)
    customer = await apis.stage.records.customer_of_subject("writer", tokens["claims"]["sub"])
    assert customer is not None
    audit = apis.stage.broker.context.audit
    await audit.flush()
    before = len([1 for event in await apis.stage.records.audit_of(customer, 1000) if event.action == "token.revoked"])
    for _ in range(2):
        await apis.post("/revoke", apis.writer, token=tokens["refresh_token"])
    await audit.flush()
    events = [event for event in await apis.stage.records.audit_of(customer, 1000) if event.action == "token.revoked"]
    assert len(events) == before + 1
    assert events[0].partner == "writer"
