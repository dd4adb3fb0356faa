"""
Partners without an OpenID Connect client, on the stage: a depot whose tokens are signed, a vault whose tokens are encrypted.
"""

import base64
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from joserfc import jwe, jwt
from joserfc.jwk import ECKey, KeySet

from broker.observe.telemetry import Telemetry
from broker.stores.ports import Records, StateStore
from broker.stores.sql import SqlRecords
from tests.stage import ISSUER, LEFT_BEHIND, SECRET, Answer, Browser, Stage, open_stage

DEPOT_ARRIVE = "https://depot.example/arrive"
VAULT_ARRIVE = "https://vault.example/arrive?from=broker"
SECRET_OF_BROWSER = "s" * 43

_PARTNERS = """
partners:
  depot:
    names: {en: Depot}
    home_uri: https://depot.example/
    guest_uri: https://depot.example/guest
    service:
      client_id: depot-service
      secret: file:secrets/depot
      arrive_uri: https://depot.example/arrive
  vault:
    names: {en: Vault}
    home_uri: https://vault.example/
    guest_uri: https://vault.example/guest
    service:
      client_id: vault-service
      auth: private_key_jwt
      jwks_file: vault.json
      arrive_uri: "https://vault.example/arrive?from=broker"
      token: {alg: RS256, encrypt: {jwks_file: vault-enc.json}}
"""
_AGREEMENTS = """
agreements:
  - from: tyre-shop
    to: depot
    purpose: storing
    purpose_texts: {en: Storing your tyres}
    types: [tyre-fitting/v1]
    claims: {required: [customer.name, items], optional: [customer.email]}
    minimum_assurance: contact
    upstreams: [bankid, google]
  - from: tyre-shop
    to: vault
    purpose: storing
    purpose_texts: {en: Storing your tyres}
    types: [tyre-fitting/v1]
    claims: {required: [customer.name]}
    minimum_assurance: contact
    upstreams: [bankid, google]
"""


def challenge_of(secret: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Service:
    """A partner's server, and what it does with browsers."""

    stage: Stage
    id: str
    client_id: str
    arrive_uri: str
    signing: ECKey | None = None
    decryption: ECKey | None = None
    _assertions: int = field(default=0, init=False)

    async def customer(self, method: str = "bankid", who: str = "maja") -> tuple[Browser, Answer]:
        """*who*, logged in at the shop, has agreed to a handoff to here: her browser, and where it is sent."""
        browser = self.stage.browser()
        at_shop = await self.stage.shop_login(browser, method, who)
        created = await self.stage.offer(at_shop["claims"]["sub"], partner=self.id, purpose="storing")
        assert created.status == 201, created.text
        await browser.follow(await browser.get(created.json["link"]))
        return browser, await browser.press("share")

    def back(self, sent: Answer, secret: str = SECRET_OF_BROWSER) -> str:
        """Where this server sends a browser on that arrived as *sent*, after it kept *secret* in a cookie of its own."""
        return "/arrive?" + urlencode({"handoff": sent.query["handoff"], "challenge": challenge_of(secret)})

    async def confirmed(self, browser: Browser, sent: Answer) -> str:
        """The artifact, after the customer said that the account is hers."""
        await browser.follow(await browser.get(self.back(sent)))
        return (await browser.press("arrive")).query["artifact"]

    async def artifact(self, method: str = "bankid", who: str = "maja") -> str:
        return await self.confirmed(*(await self.customer(method, who)))

    async def redeem(self, artifact: str, secret: str = SECRET_OF_BROWSER) -> Answer:
        return await self.call("/handoffs/artifact", {"artifact": artifact, "secret": secret})

    async def call(self, path: str, body: Any) -> Answer:
        if self.signing is None:
            return Answer(await self.stage.client.post(path, json=body, auth=(self.client_id, SECRET)))
        headers = {"authorization": f"Bearer {self.assertion()}"}
        return Answer(await self.stage.client.post(path, json=body, headers=headers))

    def assertion(self) -> str:
        assert self.signing is not None
        self._assertions += 1
        now = self.stage.clock.now
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": ISSUER, "jti": f"{self._assertions}"}
        claims |= {"exp": int((now + timedelta(minutes=1)).timestamp())}
        return jwt.encode({"alg": "ES256"}, claims, self.signing)

    async def token(self, answer: Answer) -> jwt.Token:
        """The handoff token of a redemption, decrypted where it must be, its signature checked."""
        assert answer.status == 200, answer.text
        token = str(answer.json["handoff_token"])
        if self.decryption is not None:
            opened = jwe.decrypt_compact(token, self.decryption, algorithms=["ECDH-ES", "A256GCM"])
            assert opened.plaintext is not None
            token = opened.plaintext.decode()
        keys = KeySet.import_key_set((await self.stage.client.get("/jwks")).json())
        return jwt.decode(token, keys, algorithms=["ES256", "RS256"])


@dataclass
class Services:
    """Both, on their stage."""

    stage: Stage
    depot: Service
    vault: Service


@asynccontextmanager
async def open_services(
    prepared: Path,
    *,
    state: StateStore | None = None,
    records: SqlRecords | None = None,
    wrap: Callable[[Records], Records] = lambda records: records,
    telemetry: Telemetry | None = None,
    is_played: bool = True,
    **edit: str,
) -> AsyncIterator[Services]:
    """A broker with both. *prepared*: the folder `tests.stage.prepare` made."""
    folder = Path(tempfile.mkdtemp(dir=prepared.parent))
    shutil.copytree(prepared, folder, dirs_exist_ok=True, ignore=LEFT_BEHIND)
    signing = ECKey.generate_key("P-256", {"kid": "sig", "use": "sig"})
    decryption = ECKey.generate_key("P-256", {"kid": "enc-1", "use": "enc"})
    for name, key in (("vault", signing), ("vault-enc", decryption)):
        (folder / f"{name}.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    (folder / "secrets" / "depot").write_text(SECRET)
    (folder / "secrets" / "depot").chmod(0o600)
    edits = {"\npartners:\n": _PARTNERS, "\nagreements:\n": _AGREEMENTS, **edit}
    async with open_stage(
        folder, state=state, edit=edits, records=records, wrap=wrap, telemetry=telemetry, is_played=is_played
    ) as stage:
        yield Services(
            stage,
            Service(stage, "depot", "depot-service", DEPOT_ARRIVE),
            Service(stage, "vault", "vault-service", VAULT_ARRIVE, signing, decryption),
        )
    shutil.rmtree(folder)
