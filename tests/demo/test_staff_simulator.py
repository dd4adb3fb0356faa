"""The simulated login of a company's staff: as strict as the real ones where a client can go wrong."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import KeySet

from broker.demo.providers.forgery import s256
from broker.demo.providers.staff import StaffClient, create_app

ISSUER, CALLBACK, VERIFIER = "http://staff.test", "http://broker.test/up/staff/callback", "v" * 64
GOOD = {
    "client_id": "stafett",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid profile",
    "state": "a-state",
    "nonce": "a-nonce",
    "code_challenge": s256(VERIFIER),
    "code_challenge_method": "S256",
}


class Office:
    """The provider, and a browser and a client of it."""

    def __init__(self, browser: httpx2.AsyncClient) -> None:
        self.browser = browser
        self.now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    async def form(self) -> str:
        page = await self.browser.get("/authorize", params=GOOD)
        assert page.status_code == 200
        return page.text.partition('name="request" value="')[2].partition('"')[0]

    async def answer(self, **form: str) -> dict[str, str]:
        gone = await self.browser.post("/choose", data={"request": await self.form(), **form})
        assert gone.headers["location"].startswith(f"{CALLBACK}?")
        return dict(parse_qsl(urlsplit(gone.headers["location"]).query))

    async def redeem(self, code: str, secret: str = "s" * 43, **changed: str) -> httpx2.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return await self.browser.post("/token", data={**form, **changed}, auth=("stafett", secret))

    async def claims(self, account: str) -> dict[str, Any]:
        answer = await self.redeem((await self.answer(account=account))["code"])
        keys = KeySet.import_key_set((await self.browser.get("/jwks")).json())
        return dict(jwt.decode(answer.json()["id_token"], keys, algorithms=["ES256"]).claims)


@pytest_asyncio.fixture
async def office() -> AsyncIterator[Office]:
    opened: list[Office] = []
    client = StaffClient("stafett", "s" * 43, frozenset({CALLBACK}))
    app = create_app(company="Nordhjul", issuer=ISSUER, client=client, clock=lambda: opened[0].now)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ISSUER) as browser:
        opened.append(Office(browser))
        yield opened[0]


async def test_tokens_say_the_groups(office: Office) -> None:
    """Those of whoever was chosen, for the client that asked, with its nonce."""
    karin = await office.claims("karin")
    assert (karin["name"], karin["groups"]) == ("Karin Ek", ["all-staff", "customer-service"])
    assert (karin["iss"], karin["aud"], karin["nonce"]) == (ISSUER, "stafett", "a-nonce")
    assert "customer-service" not in (await office.claims("johan"))["groups"]


@pytest.mark.parametrize("form", [{"cancel": "1"}, {"account": "nobody"}, {}], ids=["cancel", "nobody", "nothing"])
async def test_who_does_not_choose_is_denied(office: Office, form: dict[str, str]) -> None:
    """And goes back with the state."""
    assert await office.answer(**form) == {"error": "access_denied", "state": "a-state"}


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "other"},
        {"redirect_uri": f"{CALLBACK}/"},
        {"redirect_uri": "https://evil.test/"},
        {"response_type": "token"},
        {"scope": "profile"},
        {"scope": "openid everything"},
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"nonce": ""},
    ],
)
async def test_a_request_that_is_not_good_sends_nobody_anywhere(office: Office, changed: dict[str, str]) -> None:
    """The browser stays."""
    page = await office.browser.get("/authorize", params=GOOD | changed)
    assert page.status_code == 400
    assert "location" not in page.headers


async def test_a_form_works_once(office: Office) -> None:
    """And not for ever."""
    used = await office.form()
    for status in (303, 400):
        assert (await office.browser.post("/choose", data={"request": used, "account": "karin"})).status_code == status
    late = await office.form()
    office.now += timedelta(minutes=11)
    assert (await office.browser.post("/choose", data={"request": late, "account": "karin"})).status_code == 400


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"secret": "x" * 43}, "invalid_client"),
        ({"code": "made-up"}, "invalid_grant"),
        ({"code_verifier": "w" * 64}, "invalid_grant"),
        ({"redirect_uri": "https://evil.test/"}, "invalid_grant"),
    ],
)
async def test_a_code_is_for_its_client_alone(office: Office, changed: dict[str, str], error: str) -> None:
    """With its secret, its verifier and its address."""
    code = (await office.answer(account="karin"))["code"]
    answer = await office.redeem(**{"code": code, **changed})
    assert answer.json() == {"error": error}
    assert answer.status_code == (401 if error == "invalid_client" else 400)


async def test_a_code_works_once_and_soon(office: Office) -> None:
    """Not twice, and not after three minutes."""
    code = (await office.answer(account="karin"))["code"]
    assert [(await office.redeem(code)).status_code for _ in range(2)] == [200, 400]
    late = (await office.answer(account="karin"))["code"]
    office.now += timedelta(minutes=4)
    assert (await office.redeem(late)).json() == {"error": "invalid_grant"}


async def test_a_client_without_proof_gets_nothing(office: Office) -> None:
    """No header, or one that is no Basic."""
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic !"}):
        answer = await office.browser.post("/token", data={"code": "x"}, headers=headers)
        assert answer.json() == {"error": "invalid_client"}
