"""Providers that say a session is over: what is believed, and what then ends here and at partners."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from broker.errors import StoreDown
from broker.stores.ports import Records
from broker.upstream.port import Heard
from broker.wire.id_token import BadIdToken, Expected, parse_key_set
from broker.wire.logout_token import EVENT, verify_logout_token
from tests.downstream.receiver import Village, open_village

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEY, FOREIGN = (ECKey.generate_key("P-256", {"kid": "one"}) for _ in range(2))
KEYS = parse_key_set({"keys": [KEY.as_dict(private=False)]})
EXPECTED = Expected(
    issuers=frozenset({"https://op.test"}), client_id="us", nonce="", algs=frozenset({"ES256"}), access_token=""
)


def token(header: dict[str, Any] | None = None, key: Any = KEY, **changed: Any) -> str:
    """A good logout token with changes; a claim set to None is left out."""
    at = int(NOW.timestamp())
    claims = {
        "iss": "https://op.test",
        "aud": "us",
        "iat": at,
        "exp": at + 120,
        "jti": "j1",
        "events": {EVENT: {}},
        "sub": "maja",
        "sid": "s1",
        **changed,
    }
    told = {name: value for name, value in claims.items() if value is not None}
    head = {"alg": "ES256", "kid": "one", "typ": "logout+jwt", **(header or {})}
    return jwt.encode(head, told, key, algorithms=["ES256", "HS256"])


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"iss": "https://other.test"}, "id_token.iss"),
        ({"aud": "them"}, "id_token.aud"),
        ({"iat": None}, "id_token.iat"),
        ({"exp": None}, "id_token.exp"),
        ({"exp": int(NOW.timestamp()) - 61}, "id_token.exp"),
        ({"iat": int(NOW.timestamp()) + 90}, "id_token.iat"),
        ({"events": None}, "logout_token.events"),
        ({"events": {}}, "logout_token.events"),
        ({"events": {EVENT: True}}, "logout_token.events"),
        ({"events": [EVENT]}, "logout_token.events"),
        ({"nonce": "n"}, "logout_token.nonce"),
        ({"nonce": ""}, "logout_token.nonce"),
        ({"sub": None, "sid": None}, "logout_token.sub"),
        ({"sid": 7}, "logout_token.sid"),
        ({"sub": "x" * 256}, "logout_token.sub"),
        ({"jti": None}, "logout_token.jti"),
        ({"header": {"typ": "at+jwt"}}, "id_token.typ"),
        ({"header": {"typ": "secevent+jwt"}}, "id_token.typ"),
        ({"header": {"alg": "HS256"}, "key": OctKey.import_key("s" * 32)}, "id_token.alg"),
        ({"key": FOREIGN}, "id_token.signature"),
        ({"header": {"kid": "two"}}, "id_token.key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_each_check_by_itself(changed: dict[str, Any], code: str) -> None:
    """Back-Channel Logout section 2.6: nothing short of a whole logout token for us is believed."""
    with pytest.raises(BadIdToken) as refused:
        verify_logout_token(token(**changed), keys=KEYS, expected=EXPECTED, now=NOW)
    assert refused.value.code == code


@pytest.mark.parametrize("typ", ["logout+jwt", "LOGOUT+JWT", "JWT"])
@pytest.mark.parametrize("gone", ["sub", "sid", "neither"])
def test_a_good_one_says_what_is_over(typ: str, gone: str) -> None:
    """The type is recommended, not required; sub, sid or both."""
    over = verify_logout_token(token({"typ": typ}, **{gone: None}), keys=KEYS, expected=EXPECTED, now=NOW)
    assert (over.subject, over.sid) == (None if gone == "sub" else "maja", None if gone == "sid" else "s1")
    assert (over.jti, over.issued_at, over.expires_at) == ("j1", NOW, NOW + timedelta(minutes=2))


@pytest.fixture
async def village(stage_folder: Path) -> AsyncIterator[Village]:
    async with open_village(stage_folder, patience_s=0.2) as opened:
        yield opened


def over(village: Village, jti: str, **changed: Any) -> None:
    """What Google says when it is believed."""
    now = village.stage.clock.now
    told = {"subject": "subject-of-maja", "sid": None, "issued_at": now, "expires_at": now + timedelta(minutes=2)}
    google = village.stage.connectors["google"]
    google.over = Heard(issuer="https://google.test", jti=jti, **{**told, **changed})


async def say(village: Village, token: str = "good", upstream: str = "google") -> int:
    answer = await village.stage.client.post(f"/up/{upstream}/backchannel-logout", data={"logout_token": token})
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code


async def test_her_sessions_by_that_provider_end_and_partners_hear_of_it(village: Village) -> None:
    """By subject: all of hers that came by it; not another customer's, and not hers by another provider."""
    google, other, bankid = (village.stage.browser() for _ in range(3))
    await village.log_in(google, village.bakery, method="google")
    await village.log_in(other, village.dairy, who="karl", method="google")
    await village.log_in(bankid, village.dairy, method="bankid")
    over(village, "j1")
    assert await say(village) == 200
    assert [await village.is_logged_in(each) for each in (google, other, bankid)] == [False, True, True]
    await village.stage.broker.notices.stop()
    assert len(village.bakery_server.calls) == 1
    assert village.dairy_server.calls == []


async def test_by_sid_only_that_session_ends(village: Village) -> None:
    """Two browsers, two sessions at the provider, one of them over."""
    google = village.stage.connectors["google"]
    browsers = []
    for sid in ("s1", "s2"):
        google.session = sid
        browsers.append(village.stage.browser())
        await village.log_in(browsers[-1], village.bakery, method="google")
    over(village, "j1", subject=None, sid="s1")
    assert await say(village) == 200
    assert [await village.is_logged_in(each) for each in browsers] == [False, True]


async def test_said_twice_or_late_it_ends_nothing_newer(village: Village) -> None:
    """A replay, and a token that was delayed while she logged in again."""
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery, method="google")
    over(village, "j1")
    await say(village)
    await village.log_in(browser, village.bakery, method="google")
    assert await say(village) == 200
    assert await village.is_logged_in(browser)
    over(village, "j2", issued_at=village.stage.clock.now - timedelta(minutes=5))
    assert await say(village) == 200
    assert await village.is_logged_in(browser)


@pytest.mark.parametrize(("said", "upstream"), [("bad", "google"), ("", "google"), ("good", "nobody")])
async def test_what_is_not_believed_ends_nothing(village: Village, said: str, upstream: str) -> None:
    """400 (section 2.8), whatever was wrong."""
    browser = village.stage.browser()
    await village.log_in(browser, village.bakery, method="google")
    over(village, "j1")
    assert await say(village, said, upstream) == 400
    assert await village.is_logged_in(browser)


async def test_what_could_not_be_done_may_be_said_again(stage_folder: Path) -> None:
    """The database was away: 503 now, and the provider's next try with the same token is no replay."""

    class Away:
        is_away = False

        def __init__(self, inner: Records) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            if self.is_away and name == "customer_of":
                raise StoreDown("played to be away")
            return getattr(self._inner, name)

    async with open_village(stage_folder, wrap=Away) as village:
        browser = village.stage.browser()
        await village.log_in(browser, village.bakery, method="google")
        over(village, "j1")
        Away.is_away = True
        assert await say(village) == 503
        Away.is_away = False
        assert await say(village) == 200
        assert not await village.is_logged_in(browser)


async def test_nobody_it_concerns_is_no_error(village: Village) -> None:
    """A subject we never saw, a session that ran out."""
    over(village, "j1", subject="subject-of-nobody")
    assert await say(village) == 200
    over(village, "j2", subject=None, sid="unknown")
    assert await say(village) == 200
