"""Introspection (RFC 7662): who is told what about which token."""

import json

import pytest

from tests.conftest import Golden
from tests.downstream.apis import BOOKING, READER, STOCK, WRITER, Apis, changed
from tests.downstream.test_claims import pretty, shape
from tests.stage import ISSUER, SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

INACTIVE = {"active": False}
PERSONAL = {"name", "email", "email_verified", "username", "given_name", "phone_number", "customer"}


async def test_a_resource_server_learns_what_it_needs(apis: Apis, golden: Golden) -> None:
    """Scope, client, subject, end; acr and auth_time for step-up (RFC 9470); nothing else of the customer."""
    tokens = await apis.log_in(apis.reader)
    told = await apis.introspect("stock-api", tokens["access_token"])
    assert told["active"] is True
    assert (told["iss"], told["client_id"], told["aud"]) == (ISSUER, READER, STOCK)
    assert told["acr"] == tokens["claims"]["acr"]
    assert told["auth_time"] == tokens["claims"]["auth_time"]
    assert told["exp"] == int(apis.stage.clock.now.timestamp()) + tokens["expires_in"]
    assert told["scope"].split() == ["openid", "profile", "email"]
    assert not set(told) & PERSONAL
    assert "maja" not in json.dumps(told).lower()
    golden("introspection.json", pretty(shape(told)))


async def test_the_subject_is_that_of_the_callers_sector(apis: Apis) -> None:
    """Pairwise towards APIs as well: the stock API is the reader's own and shares its sector, the booking API has its own."""
    reader, writer = await apis.log_in(apis.reader), await apis.log_in(apis.writer)
    assert (await apis.introspect("stock-api", reader["access_token"]))["sub"] == reader["claims"]["sub"]
    at_api = (await apis.introspect("booking-api", writer["access_token"]))["sub"]
    own = (await apis.introspect(apis.writer, writer["access_token"]))["sub"]
    assert own == writer["claims"]["sub"] != at_api
    again = await apis.log_in(apis.writer)
    assert (await apis.introspect("booking-api", again["access_token"]))["sub"] == at_api


async def test_a_client_may_ask_about_its_own_tokens(apis: Apis) -> None:
    """Access and refresh token, the latter without token_type and audience."""
    tokens = await apis.offline(apis.writer)
    access = await apis.introspect(apis.writer, tokens["access_token"])
    refresh = await apis.introspect(apis.writer, tokens["refresh_token"])
    assert (access["token_type"], access["aud"], access["client_id"]) == ("Bearer", BOOKING, WRITER)
    assert refresh["active"] is True
    assert not {"token_type", "aud"} & set(refresh)
    assert refresh["exp"] - int(apis.stage.clock.now.timestamp()) == 14 * 24 * 3600
    for hint in ("access_token", "refresh_token", "something_else"):
        assert (await apis.introspect(apis.writer, tokens["refresh_token"], token_type_hint=hint))["active"] is True


async def test_others_learn_nothing(apis: Apis) -> None:
    """RFC 7662 section 2.2: not in the audience, not its client: exactly {"active": false}."""
    reader, writer = await apis.offline(apis.reader), await apis.offline(apis.writer)
    assert await apis.introspect("booking-api", reader["access_token"]) == INACTIVE
    assert await apis.introspect("stock-api", writer["access_token"]) == INACTIVE
    for token in (reader["access_token"], reader["refresh_token"], writer["access_token"]):
        assert await apis.introspect(apis.plain, token) == INACTIVE
    plain = await apis.log_in(apis.plain)
    for api in ("booking-api", "stock-api"):
        assert await apis.introspect(api, plain["access_token"]) == INACTIVE


async def test_refresh_tokens_are_no_business_of_resource_servers(apis: Apis) -> None:
    """RFC 7662 section 4: also not those of a client whose access tokens are for it."""
    tokens = await apis.offline(apis.reader)
    assert await apis.introspect("stock-api", tokens["refresh_token"]) == INACTIVE


async def test_what_is_no_live_token_is_inactive(apis: Apis) -> None:
    """Garbage, other kinds of token, forged and expired ones look alike."""
    tokens = await apis.log_in(apis.writer)
    jwt = tokens["access_token"]
    for token in (
        "x", "..", "a.b.c", "å", "A" * 3000, tokens["id_token"], jwt[:-3], jwt.split(".")[0] + "..",
        changed(jwt, WRITER.encode(), b"reader-web"), jwt.replace(".", "", 1),
    ):  # fmt: skip
        assert await apis.introspect(apis.writer, token) == INACTIVE, token
    apis.stage.clock.forward(seconds=601)
    assert await apis.introspect(apis.writer, jwt) == INACTIVE


async def test_a_replaced_refresh_token_is_inactive_and_asking_ends_nothing(apis: Apis) -> None:
    """Introspection is no use of a token: the family goes on."""
    first = await apis.offline(apis.reader)
    second = (await apis.refresh(apis.reader, first["refresh_token"])).json
    assert (await apis.introspect(apis.reader, first["refresh_token"]))["active"] is True
    apis.stage.clock.forward(seconds=31)
    assert await apis.introspect(apis.reader, first["refresh_token"]) == INACTIVE
    assert (await apis.introspect(apis.reader, second["refresh_token"]))["active"] is True
    assert (await apis.refresh(apis.reader, second["refresh_token"])).status == 200


async def test_a_withdrawn_consent_ends_the_token(apis: Apis) -> None:
    """The customer's word counts at once, for APIs as well."""
    browser = apis.stage.browser()
    await browser.follow(await browser.get(apis.reader.request()))
    await browser.log_in("google", "karl")
    answer = await browser.press("share", ("field", "name"))
    tokens = (await apis.token(apis.reader, code=answer.query["code"])).json
    assert (await apis.introspect("stock-api", tokens["access_token"]))["active"] is True
    customer = await apis.stage.records.customer_of_subject(
        "reader", (await apis.introspect("stock-api", tokens["access_token"]))["sub"]
    )
    assert customer is not None
    await browser.follow(await browser.get("/shared"))
    await browser.press(next(iter(id_ for id_ in browser.page.ids if id_.startswith("withdraw-"))))  # type: ignore[union-attr]
    assert await apis.introspect("stock-api", tokens["access_token"]) == INACTIVE


@pytest.mark.parametrize(
    ("form", "auth", "status"),
    [
        ({}, None, 400),
        ({"client_id": "page-web"}, None, 400),
        ({"client_id": WRITER}, None, 400),
        ({}, ("booking-api", "wrong"), 401),
        ({}, ("booking", SECRET), 401),
        ({}, ("page-web", ""), 401),
        ({}, ("nobody", SECRET), 401),
        ({"client_id": "booking-api", "client_secret": SECRET}, None, 400),
        ({"client_id": "stock-api", "client_secret": "wrong"}, None, 400),
        ({"client_id": "stock-api"}, ("booking-api", SECRET), 401),
    ],
)
async def test_whoever_asks_proves_itself(
    apis: Apis, form: dict[str, str], auth: tuple[str, str] | None, status: int
) -> None:
    """RFC 7662 section 2.1: by its registered method; a public client cannot, so it may not ask."""
    tokens = await apis.log_in(apis.page)
    answer = await apis.raw("/introspect", {"token": tokens["access_token"], **form}, auth=auth)
    assert (answer.status, answer.json["error"]) == (status, "invalid_client")
    assert "active" not in answer.json


async def test_a_resource_server_is_no_client(apis: Apis) -> None:
    """Its credentials open nothing but introspection."""
    form = {"grant_type": "authorization_code", "code": "x", "token": "x"}
    for path in ("/token", "/revoke", "/par"):
        answer = await apis.raw(path, form, auth=("booking-api", SECRET))
        assert (answer.status, answer.json["error"]) == (401, "invalid_client"), path
    answer = await apis.stage.browser().get(apis.writer.request(client_id="booking-api"))
    assert answer.status == 400
    assert "location" not in answer.headers


async def test_only_a_form_by_post_is_read(apis: Apis) -> None:
    """Tokens in the query would end in logs."""
    client = apis.stage.client
    assert (await client.get("/introspect?token=x")).status_code == 405
    for raw in (
        await client.post("/introspect?token=x", auth=("booking-api", SECRET), data={"a": "b"}),
        await client.post("/introspect", auth=("booking-api", SECRET), json={"token": "x"}),
        await client.post("/introspect?token=x", auth=("booking-api", SECRET), data={"token": "x"}),
    ):
        assert (raw.status_code, raw.json()["error"]) == (400, "invalid_request")
