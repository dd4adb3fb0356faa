"""
More partners than the demo has, one for each way of being a client, on one broker that the tests of a module share.
"""

import base64
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from broker.stores.ports import StateStore
from tests.stage import ISSUER, LEFT_BEHIND, SECRET, Answer, Browser, Partner, Stage, open_stage

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

FLORIST = "florist-web"
FLORIST_CALLBACK = "https://florist.example/cb"
BANK = "bank-web"
BANK_CALLBACK = "https://bank.example/cb?from=broker"
LIBRARY = "library-web"
LIBRARY_CALLBACK = "https://library.example/cb"
OTHER_SECRET = "another secret: with a colon, 100% + å"

_PARTNERS = """
partners:
  florist:
    names: {en: Florist}
    home_uri: https://florist.example/
    oidc:
      client_id: florist-web
      auth: client_secret_post
      secret: file:secrets/other
      redirect_uris: [https://florist.example/cb]
      post_logout_redirect_uris: ["https://florist.example/bye?lang=sv"]
      require_pkce: false
    login:
      upstreams: [google, bankid]
      claims: [name, given_name, email, phone_number, birthdate, locale]
      consent: implied
  bank:
    names: {en: Bank}
    home_uri: https://bank.example/
    oidc:
      client_id: bank-web
      auth: private_key_jwt
      jwks_file: bank.json
      redirect_uris: ["https://bank.example/cb?from=broker"]
      id_token_alg: ES256
    login:
      upstreams: [bankid]
      minimum_assurance: substantial
      claims: [name, personal_number]
      consent: implied
  library:
    names: {en: Library}
    home_uri: https://library.example/
    oidc:
      client_id: library-web
      auth: client_secret_basic
      secret: file:secrets/other
      redirect_uris: [https://library.example/cb]
    login:
      upstreams: [google, bankid]
      claims: [name, email]
      consent: ask
"""


@dataclass(frozen=True)
class BankKeys:
    """The bank's private keys: two published ones, and one that is not."""

    ec: ECKey
    rsa: RSAKey
    foreign: ECKey

    @classmethod
    def make(cls) -> "BankKeys":
        return cls(
            ECKey.generate_key("P-256", {"kid": "ec"}),
            RSAKey.generate_key(2048, {"kid": "rsa"}),
            ECKey.generate_key("P-256", {"kid": "ec"}),
        )

    def jwks(self) -> str:
        return json.dumps({"keys": [self.ec.as_dict(private=False), self.rsa.as_dict(private=False)]})


class Crowd:
    """The stage and everybody on it."""

    def __init__(self, stage: Stage, keys: BankKeys) -> None:
        self.stage = stage
        self.keys = keys
        self.florist = Partner(stage, FLORIST, FLORIST_CALLBACK)
        self.bank = Partner(stage, BANK, BANK_CALLBACK, scope="openid profile personal_number")
        self.library = Partner(stage, LIBRARY, LIBRARY_CALLBACK)
        self._assertions = 0

    async def post_token(self, form: Mapping[str, str | None], **headers: str) -> Answer:
        """A token request exactly as given; members set to None are left out."""
        members = urlencode({name: value for name, value in form.items() if value is not None})
        sent = {"content-type": "application/x-www-form-urlencoded", **headers}
        return Answer(await self.stage.client.post("/token", content=members, headers=sent))

    def form(self, partner: Partner, code: str, /, **changed: str | None) -> dict[str, str | None]:
        """A whole token request of *partner*, with its own way of proving itself unless that is basic."""
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": partner.redirect_uri,
            "code_verifier": partner.verifier,
            **self.proof(partner),
            **changed,
        }

    def proof(self, partner: Partner) -> dict[str, str | None]:
        match partner.client_id:
            case "florist-web":
                return {"client_id": FLORIST, "client_secret": OTHER_SECRET}
            case "bank-web":
                return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self.assertion()}
            case _:
                return {}

    def basic(self, partner: Partner) -> dict[str, str]:
        """The header of a client_secret_basic partner, form-encoded before base64 as RFC 6749 section 2.3.1 says."""
        secret = OTHER_SECRET if partner is self.library else SECRET
        pair = f"{quote_plus(partner.client_id)}:{quote_plus(secret)}"
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    async def redeem(self, partner: Partner, code: str, /, **changed: str | None) -> Answer:
        """Redeem *code* as *partner* does when it does everything right."""
        headers = {} if self.proof(partner) else self.basic(partner)
        return await self.post_token(self.form(partner, code, **changed), **headers)

    async def code(self, partner: Partner, who: str = "maja", method: str = "bankid", **changed: str | None) -> str:
        """A fresh code for *partner*, from a browser of its own."""
        return (await self.log_in(self.stage.browser(), partner, who, method, **changed)).query["code"]

    async def log_in(
        self, browser: Browser, partner: Partner, who: str = "maja", method: str = "bankid", **changed: str | None
    ) -> Answer:
        """*who* logs in for *partner*; a partner with one method is sent straight on to it."""
        begun = await browser.follow(await browser.get(partner.request(**changed)))
        if begun.status == 200:
            return await browser.log_in(method, who)
        returned = {"state": begun.query["state"], "who": who}
        return await browser.follow(await browser.get(f"/up/{method}/callback?{urlencode(returned)}"))

    def claims(self) -> dict[str, Any]:
        """The claims of a good client assertion of the bank, each time with a new jti."""
        self._assertions += 1
        now = self.stage.clock.now
        return {
            "iss": BANK,
            "sub": BANK,
            "aud": ISSUER,
            "jti": f"jti-{self._assertions}",
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=1)).timestamp()),
        }

    def assertion(
        self, key: Any = None, alg: str = "ES256", header: Mapping[str, Any] | None = None, **changed: Any
    ) -> str:
        """A client assertion of the bank; a claim set to None is left out."""
        claims = {**self.claims(), **changed}
        signer = key or (self.keys.rsa if alg.startswith(("RS", "PS")) else self.keys.ec)
        return jwt.encode(
            {"alg": alg, "kid": signer.kid, **(header or {})},
            {name: value for name, value in claims.items() if value is not None},
            signer,
            algorithms=[alg],
        )


@asynccontextmanager
async def open_crowd(prepared: Path, *, state: StateStore | None = None) -> AsyncIterator[Crowd]:
    """A broker with these partners besides the demo's. *prepared*: the folder `tests.stage.prepare` made."""
    folder = Path(tempfile.mkdtemp(dir=prepared.parent))
    shutil.copytree(prepared, folder, dirs_exist_ok=True, ignore=LEFT_BEHIND)
    keys = BankKeys.make()
    (folder / "bank.json").write_text(keys.jwks())
    (folder / "secrets" / "other").write_text(OTHER_SECRET)
    (folder / "secrets" / "other").chmod(0o600)
    assert SECRET != OTHER_SECRET
    async with open_stage(folder, state=state, edit={"\npartners:\n": _PARTNERS}) as stage:
        yield Crowd(stage, keys)
    shutil.rmtree(folder)
