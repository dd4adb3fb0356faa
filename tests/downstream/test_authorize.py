"""The authorization endpoint: what is refused before anything is redirected, and what is answered at the partner."""

from datetime import timedelta
from urllib.parse import quote, urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.downstream.crowd import BANK_CALLBACK, Crowd
from tests.stage import GARAGE, GARAGE_CALLBACK, ISSUER, SHOP, SHOP_CALLBACK, SHOP_RETURN, Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MUTATED_REDIRECT_URIS = [
    "http://127.0.0.1:8701/login/callback/",
    "http://127.0.0.1:8701/login/callback?",
    "http://127.0.0.1:8701/login/callback?next=1",
    "http://127.0.0.1:8701/login/callback#",
    "http://127.0.0.1:8701/login/callback#fragment",
    "http://127.0.0.1:8701/login/callback%00",
    "http://127.0.0.1:8701/login/callback%2f",
    "http://127.0.0.1:8701/login/callback;a=b",
    "http://127.0.0.1:8701/login/callback/../callback",
    "http://127.0.0.1:8701/login/./callback",
    "http://127.0.0.1:8701//login/callback",
    "http://127.0.0.1:8701/login//callback",
    "http://127.0.0.1:8701/login/%63allback",
    "http://127.0.0.1:8701/login%2fcallback",
    "http://127.0.0.1:8701/%2e%2e/login/callback",
    "http://127.0.0.1:8701/Login/Callback",
    "http://127.0.0.1:8701/login",
    "http://127.0.0.1:8701/",
    "http://127.0.0.1:8701",
    "http://127.0.0.1/login/callback",
    "http://127.0.0.1:80/login/callback",
    "http://127.0.0.1:08701/login/callback",
    "http://127.0.0.1:8702/login/callback",
    "https://127.0.0.1:8701/login/callback",
    "HTTP://127.0.0.1:8701/login/callback",
    "http:/127.0.0.1:8701/login/callback",
    "http:127.0.0.1:8701/login/callback",
    "//127.0.0.1:8701/login/callback",
    "http:\\\\127.0.0.1:8701\\login\\callback",
    "http://127.0.0.1:8701\\@evil.example/login/callback",
    "http://127.0.0.1:8701@evil.example/login/callback",
    "http://evil.example@127.0.0.1:8701/login/callback",
    "http://127.0.0.1.:8701/login/callback",
    "http://127.0.0.1.evil.example:8701/login/callback",
    "http://2130706433:8701/login/callback",
    "http://127.1:8701/login/callback",
    "http://[::ffff:127.0.0.1]:8701/login/callback",
    "http://localhost:8701/login/callback",
    "http://①27.0.0.1:8701/login/callback",
    "http://evil.example/login/callback",
    " http://127.0.0.1:8701/login/callback",
    "http://127.0.0.1:8701/login/callback ",
    "\thttp://127.0.0.1:8701/login/callback",
    "http://127.0.0.1:8701/login/callback\r\nLocation: http://evil.example",
    "javascript:alert(1)//127.0.0.1:8701/login/callback",
    "data:text/html,hello",
    "/login/callback",
    "",
    SHOP_RETURN,
    GARAGE_CALLBACK,
    f"{SHOP_CALLBACK},{SHOP_CALLBACK}",
]


def refused_here(answer: Answer) -> bool:
    """Shown on our own page, and sent nowhere."""
    return answer.status == 400 and "location" not in answer.headers and 'id="continue"' not in answer.text


def error_of(answer: Answer) -> str:
    """The error code of an authorization response, after checking what every one of them carries."""
    assert answer.status == 303, answer.text
    assert set(answer.query) <= {"error", "error_description", "state", "iss"}
    assert answer.query["iss"] == ISSUER
    assert "code" not in answer.query
    return answer.query["error"]


@pytest.mark.parametrize("uri", MUTATED_REDIRECT_URIS)
async def test_nothing_but_the_registered_redirect_uri_redirects(crowd: Crowd, uri: str) -> None:
    """docs/security.md A5: compared character by character; anything else ends on our own page, also with prompt=none."""
    for extra in ({}, {"prompt": "none"}, {"response_type": "token"}):
        answer = await crowd.stage.browser().get(crowd.stage.shop.request(redirect_uri=uri, **extra))
        assert refused_here(answer), uri
        assert 'href="' in answer.text
        assert "evil.example" not in answer.text


@pytest.mark.parametrize(
    "client_id", [None, "", "unknown", SHOP.upper(), f"{SHOP} ", f" {SHOP}", "tyre-shop", "%", SHOP + "\x00"]
)
async def test_an_unknown_client_is_never_redirected(crowd: Crowd, client_id: str | None) -> None:
    """RFC 6749 section 4.1.2.1: a client that is missing or unknown gets a page, whatever address it names."""
    answer = await crowd.stage.browser().get(crowd.stage.shop.request(client_id=client_id))
    assert refused_here(answer)


async def test_another_clients_redirect_uri_does_not_count(crowd: Crowd) -> None:
    """Each client has its own list."""
    request = crowd.stage.shop.request(client_id=GARAGE)
    assert refused_here(await crowd.stage.browser().get(request))


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "state", "scope", "nonce", "unknown", "response_type"])
async def test_a_parameter_given_twice_is_refused(crowd: Crowd, name: str) -> None:
    """RFC 6749 section 3.1: also with the same value, also a parameter nobody knows."""
    shop = crowd.stage.shop
    extra = {"unknown": "1"} if name == "unknown" else {}
    query = shop.request(**extra).partition("?")[2]
    for value in ("other", {"client_id": SHOP, "redirect_uri": SHOP_CALLBACK}.get(name, "1"), ""):
        doubled = f"{query}&{urlencode({name: value})}"
        browser = crowd.stage.browser()
        assert refused_here(await browser.get(f"/authorize?{doubled}"))
        sent = {"content-type": "application/x-www-form-urlencoded"}
        assert refused_here(Answer(await crowd.stage.client.post("/authorize", content=doubled, headers=sent)))


async def test_a_parameter_in_query_and_form_is_refused(crowd: Crowd) -> None:
    """docs/security.md A7: mixed is double as well."""
    query = crowd.stage.shop.request().partition("?")[2]
    answer = await crowd.stage.browser().post(
        f"/authorize?client_id={SHOP}", [tuple(p.split("=", 1)) for p in query.split("&")]
    )  # type: ignore[misc]
    assert refused_here(answer)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": "CODE"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "form_post.jwt"}, "invalid_request"),
        ({"claims": "{"}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "profile email"}, "invalid_scope"),
        ({"scope": "OPENID"}, "invalid_scope"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "s256"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": "v" * 44}, "invalid_request"),
        ({"code_challenge": "!" * 43}, "invalid_request"),
        ({"code_challenge": "v" * 43 + "\n"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "consent none"}, "invalid_request"),
        ({"prompt": "none unknown"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "1.5"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"max_age": "٣"}, "invalid_request"),
        ({"max_age": "1" * 400}, "invalid_request"),
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"request_uri": "https://evil.example/r"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"nonce": "n" * 1025}, "invalid_request"),
        ({"id_token_hint": "garbage"}, "invalid_request"),
        ({"id_token_hint": "e30.e30."}, "invalid_request"),
        ({"id_token_hint": "[" * 9000 + "." + "." }, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
async def test_errors_go_to_the_proven_address(crowd: Crowd, changed: dict[str, str | None], error: str) -> None:
    """Client and address hold: every refusal arrives there, with the unchanged state and our issuer (RFC 9207)."""
    browser = crowd.stage.browser()
    answer = await browser.get(crowd.stage.shop.request(**changed))
    if answer.status in {400, 414}:
        assert len(str(changed)) > 8000
        return
    assert answer.location.startswith(f"{SHOP_CALLBACK}?")
    assert error_of(answer) == error
    assert answer.query["state"] == crowd.stage.shop.state


async def test_a_description_is_fit_to_print(crowd: Crowd) -> None:
    """RFC 6749 section 4.1.2.1: printable ASCII without quotes and backslashes, and nothing of what was sent."""
    answer = await crowd.stage.browser().get(crowd.stage.shop.request(max_age='"<script>\\'))
    words = answer.query["error_description"]
    assert words.isascii()
    assert words.isprintable()
    assert not set('"\\<') & set(words)


async def test_the_redirect_uris_own_query_is_kept(crowd: Crowd) -> None:
    """RFC 6749 section 3.1.2."""
    answer = await crowd.stage.browser().get(crowd.bank.request(prompt="none"))
    assert answer.location.startswith(f"{BANK_CALLBACK}&")
    assert answer.query["from"] == "broker"
    assert answer.query["error"] == "login_required"


@pytest.mark.parametrize("state", [None, "s" * 128, "s" * 4096, "~!*()'åäö&=+ %00\"<>/?#", "  "])
async def test_state_comes_back_exactly_or_not_at_all(crowd: Crowd, state: str | None) -> None:
    """Nothing invented, nothing cut, whatever it is made of."""
    answer = await crowd.stage.browser().get(crowd.stage.shop.request(state=state, prompt="none"))
    assert error_of(answer) == "login_required"
    assert answer.query.get("state") == state


async def test_a_state_beyond_all_reason_is_refused_rather_than_cut(crowd: Crowd) -> None:
    """No truncated state ever leaves."""
    assert refused_here(await crowd.stage.browser().get(crowd.stage.shop.request(state="s" * 4097)))


@pytest.mark.parametrize(
    "extra",
    [
        {"extra": "foobar"},
        {"display": "page"},
        {"display": "popup"},
        {"ui_locales": "se"},
        {"ui_locales": "xx-YY sv-FI"},
        {"claims_locales": "se"},
        {"login_hint": "buffy@localhost"},
        {"login_hint": "ho_garbage"},
        {"login_hint": "<script>alert(1)</script>"},
        {"prompt": "create"},
        {"prompt": "select_account"},
        {"acr_values": "1 2"},
        {"claims": '{"userinfo":{"name":{"essential":true}}}'},
        {"scope": "openid profile email unknown offline_access handoff:read"},
        {"scope": "email openid profile"},
        {"nonce": None},
        {"nonce": "n" * 384},
        {"response_mode": "query"},
        {"response_mode": "form_post"},
        {"max_age": "0"},
        {"max_age": "15000"},
        {"state": ""},
    ],
    ids=str,
)
async def test_what_need_not_be_understood_does_not_stop_a_login(crowd: Crowd, extra: dict[str, str | None]) -> None:
    """The rows of the Basic OP plan that must not error; none of it is echoed unescaped."""
    browser = crowd.stage.browser()
    page = await browser.follow(await browser.get(crowd.stage.shop.request(**extra)))
    assert page.status == 200
    assert {"method-bankid", "method-google"} <= page.ids
    assert "<script>alert" not in page.text


async def test_every_advertised_acr_value_at_once_does_not_force_the_strongest(crowd: Crowd) -> None:
    """acr_values is voluntary (Core section 3.1.2.1): Google stays on offer, and a Google session serves."""
    advertised = (await crowd.stage.client.get("/.well-known/openid-configuration")).json()["acr_values_supported"]
    browser = crowd.stage.browser()
    await crowd.stage.shop_login(browser, "google")
    answer = await browser.get(crowd.stage.shop.request(acr_values=" ".join(advertised), prompt="none"))
    assert "code" in answer.query


async def test_one_strong_acr_value_asks_for_the_strong_login(crowd: Crowd) -> None:
    """Step-up: a Google session does not do, and only BankID is offered."""
    browser = crowd.stage.browser()
    await crowd.stage.shop_login(browser, "google")
    strong = {"acr_values": "http://eidas.europa.eu/LoA/substantial"}
    assert error_of(await browser.get(crowd.stage.shop.request(**strong, prompt="none"))) == "login_required"
    answer = await browser.follow(await browser.get(crowd.stage.shop.request(**strong)))
    assert "method-google" not in answer.ids


async def test_a_session_is_reused_without_a_page(crowd: Crowd) -> None:
    """prompt=none with a session: same sub, same auth_time, later iat; the nonce is this request's."""
    browser = crowd.stage.browser()
    first = await crowd.stage.shop_login(browser)
    crowd.stage.clock.forward(minutes=5)
    answer = await browser.get(crowd.stage.shop.request(prompt="none", nonce="another nonce"))
    second = await crowd.stage.shop.exchange(answer)
    for claim in ("sub", "auth_time", "sid", "acr"):
        assert first["claims"][claim] == second["claims"][claim]
    assert second["claims"]["iat"] - first["claims"]["iat"] == 300
    assert second["claims"]["nonce"] == "another nonce"


@pytest.mark.parametrize(
    "asked",
    [{"prompt": "login"}, {"max_age": "0"}, {"prompt": "select_account"}, {"prompt": "login consent"}],
    ids=str,
)
async def test_a_new_login_is_a_new_login(crowd: Crowd, asked: dict[str, str]) -> None:
    """prompt=login and max_age=0 show the login although there is a session; auth_time is later afterwards."""
    browser = crowd.stage.browser()
    first = await crowd.stage.shop_login(browser)
    crowd.stage.clock.forward(seconds=10)
    page = await browser.follow(await browser.get(crowd.stage.shop.request(**asked)))
    assert "method-bankid" in page.ids
    second = await crowd.stage.shop.exchange(await browser.log_in("bankid", "maja"))
    assert second["claims"]["auth_time"] == first["claims"]["auth_time"] + 10
    assert crowd.stage.connectors["bankid"].asks[-1].fresh


async def test_max_age_is_measured_from_the_real_login(crowd: Crowd) -> None:
    """max_age=1 after two seconds asks again, a large one does not; auth_time is always told."""
    browser = crowd.stage.browser()
    first = await crowd.stage.shop_login(browser)
    crowd.stage.clock.forward(seconds=2)
    large = await browser.get(crowd.stage.shop.request(max_age="10000", prompt="none"))
    assert (await crowd.stage.shop.exchange(large))["claims"]["auth_time"] == first["claims"]["auth_time"]
    small = crowd.stage.shop.request(max_age="1")
    assert "method-bankid" in (await browser.follow(await browser.get(small))).ids
    again = await crowd.stage.shop.exchange(await browser.log_in("bankid", "maja"))
    assert again["claims"]["auth_time"] == first["claims"]["auth_time"] + 2
    silent = await browser.get(crowd.stage.shop.request(max_age="1", prompt="none"))
    assert "code" in silent.query


async def test_a_provider_that_did_not_ask_again_is_not_passed_off_as_if_it_had(crowd: Crowd) -> None:
    """docs/security.md A13: a login at the provider that is older than max_age does not count."""
    google = crowd.stage.connectors["google"]
    google.authenticated_at = crowd.stage.clock.now - timedelta(hours=1)
    try:
        browser = crowd.stage.browser()
        await browser.follow(await browser.get(crowd.stage.shop.request(max_age="60")))
        answer = await browser.log_in("google", "maja")
    finally:
        google.authenticated_at = None
    assert answer.location == "" or answer.location.startswith(ISSUER)
    assert "code" not in answer.query


async def test_consent_is_asked_when_the_partner_wants_it_and_said_when_silent(crowd: Crowd) -> None:
    """prompt=none before consent is consent_required; afterwards it is remembered; prompt=consent asks anew."""
    browser, library = crowd.stage.browser(), crowd.library
    await crowd.stage.shop_login(browser)
    assert error_of(await browser.get(library.request(prompt="none"))) == "consent_required"
    page = await browser.follow(await browser.get(library.request()))
    assert "Maja Lind" in page.text
    await browser.press("share", ("field", "name"), ("remember", "yes"))
    silent = await browser.get(library.request(prompt="none"))
    assert "code" in silent.query
    asked = await browser.follow(await browser.get(library.request(prompt="consent")))
    assert "share" in asked.ids


class TestIdTokenHint:
    """``id_token_hint`` (Core section 3.1.2.1)."""

    async def test_of_the_same_customer_goes_through_silently_even_expired(self, crowd: Crowd) -> None:
        """Its signature counts, its expiry does not."""
        browser = crowd.stage.browser()
        hint = (await crowd.stage.shop_login(browser))["id_token"]
        crowd.stage.clock.forward(hours=2)
        assert "code" in (await browser.get(crowd.stage.shop.request(id_token_hint=hint, prompt="none"))).query

    async def test_is_understood_by_a_session_that_never_met_the_partner(self, crowd: Crowd) -> None:
        """The same customer, logged in anew in another browser by way of another partner."""
        hint = (await crowd.stage.shop_login(crowd.stage.browser()))["id_token"]
        other = crowd.stage.browser()
        await other.follow(await other.get(crowd.florist.request()))
        await other.log_in("bankid", "maja")
        assert "code" in (await other.get(crowd.stage.shop.request(id_token_hint=hint, prompt="none"))).query

    async def test_of_another_customer_never_switches_silently(self, crowd: Crowd) -> None:
        """login_required, with and without prompt=none."""
        hint = (await crowd.stage.shop_login(crowd.stage.browser(), who="karl"))["id_token"]
        browser = crowd.stage.browser()
        await crowd.stage.shop_login(browser)
        for extra in ({}, {"prompt": "none"}):
            answer = await browser.get(crowd.stage.shop.request(id_token_hint=hint, **extra))
            assert error_of(answer) == "login_required"

    async def test_still_binds_after_the_login_it_led_to(self, crowd: Crowd) -> None:
        """Somebody else than the hinted one logs in: the partner hears login_required, not somebody else's sub."""
        hint = (await crowd.stage.shop_login(crowd.stage.browser(), who="karl"))["id_token"]
        browser = crowd.stage.browser()
        await browser.follow(await browser.get(crowd.stage.shop.request(id_token_hint=hint)))
        assert error_of(await browser.log_in("bankid", "maja")) == "login_required"

    async def test_of_another_client_is_refused(self, crowd: Crowd) -> None:
        """An ID token of the florist is nothing the shop may present."""
        tokens = await crowd.redeem(crowd.florist, await crowd.code(crowd.florist))
        request = crowd.stage.shop.request(id_token_hint=tokens.json["id_token"])
        assert error_of(await crowd.stage.browser().get(request)) == "invalid_request"

    async def test_signed_by_somebody_else_or_nobody_is_refused(self, crowd: Crowd) -> None:
        """Another key under our kid, alg none, alg HS256 with our public key, an access token's kind, a changed payload."""
        browser = crowd.stage.browser()
        real = (await crowd.stage.shop_login(browser))["id_token"]
        header, payload, signature = real.split(".")
        kid = (await crowd.stage.client.get("/jwks")).json()["keys"][0]["kid"]
        claims = await crowd.stage.id_token(real)
        foreign = ECKey.generate_key("P-256", {"kid": kid})
        forged = [
            jwt.encode({"alg": "ES256", "kid": kid}, claims, foreign),
            f"eyJhbGciOiJub25lIn0.{payload}.",
            f"{header}.{payload}.",
            f"{header}.{payload}.{signature[::-1]}",
            f"{header}.{payload[:-4]}AAAA.{signature}",
            "a.b.c",
            "." * 20000,
            "å.ä.ö",
        ]
        for hint in forged:
            answer = await browser.get(
                f"/authorize?{crowd.stage.shop.request().partition('?')[2]}&id_token_hint={quote(hint)}"
            )
            assert answer.status in {303, 400, 414}
            assert "code" not in answer.query
            assert answer.status != 303 or error_of(answer) == "invalid_request"


async def test_a_post_keeps_the_session(crowd: Crowd) -> None:
    """A cross-site POST comes without our Lax cookies: a 303 to a GET brings them back (Core section 3.1.2.1)."""
    browser = crowd.stage.browser()
    await crowd.stage.shop_login(browser)
    query = crowd.stage.shop.request(state="a b&c", prompt="none").partition("?")[2]
    sent = {"content-type": "application/x-www-form-urlencoded"}
    moved = Answer(await crowd.stage.client.post("/authorize", content=query, headers=sent))
    assert moved.status == 303
    assert not moved.headers.get("set-cookie")
    answer = await browser.get(moved.location)
    assert "code" in answer.query
    assert answer.query["state"] == "a b&c"


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
async def test_a_post_must_be_a_form(crowd: Crowd, kind: str) -> None:
    """Nothing else is read as one."""
    query = crowd.stage.shop.request().partition("?")[2]
    raw = await crowd.stage.client.post("/authorize", content=query, headers={"content-type": kind})
    assert refused_here(Answer(raw))


async def test_a_foreign_handoff_reference_is_refused(crowd: Crowd) -> None:
    """login_hint=ho_... was made for one client; at another one it is an error, not a login."""
    browser = crowd.stage.browser()
    at_shop = await crowd.stage.shop_login(browser)
    offered = await crowd.stage.offer(at_shop["claims"]["sub"])
    await browser.follow(await browser.get(offered.json["link"]))
    started = await browser.press("share")
    answer = await browser.get(crowd.stage.shop.request(login_hint=started.query["login_hint"]))
    assert error_of(answer) == "invalid_request"


async def test_no_cross_origin_reading(crowd: Crowd) -> None:
    """RFC 9700 section 2.6: no CORS on the authorization endpoint."""
    raw = await crowd.stage.client.get(crowd.stage.shop.request(), headers={"origin": "https://evil.example"})
    assert not [name for name in raw.headers if name.startswith("access-control")]
