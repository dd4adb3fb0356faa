"""docs/handoff.md is what partners copy from: its verification of handoff tokens in Node, run as it stands there."""

import json
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jws, jwt
from joserfc.jwk import ECKey

from setup import find
from tests.downstream.service import Service, Services, open_services
from tests.downstream.test_handoff_guide import ES256, GUIDE
from tests.interop.clients.openid_client import FOLDER
from tests.stage import ISSUER

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUN = """
import { readFileSync } from 'node:fs'
import { importJWK } from 'jose'

const { jwks, cases } = JSON.parse(readFileSync(0, 'utf8'))
const Clock = Date
globalThis.fetch = async () => new Response(JSON.stringify(jwks), { headers: { 'content-type': 'application/json' } })
const told = []
for (const [number, each] of cases.entries()) {
  globalThis.Date = class extends Clock {
    constructor(...given) { given.length ? super(...given) : super(each.now * 1000) }
    static now() { return each.now * 1000 }
  }
  Object.assign(globalThis, { ISSUER: each.issuer, CLIENT_ID: each.clientId })
  const { readHandoff } = await import(`./guide.mjs?${number}`)
  const ownKey = each.ownKey && await importJWK(each.ownKey, 'ECDH-ES')
  try { told.push({ claims: await readHandoff(each.token, { ownKey, used: new Set(each.used) }) }) }
  catch (error) { told.push({ error: error.code ?? error.message }) }
}
console.log(JSON.stringify(told))
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(prepared_stage: Path) -> AsyncIterator[Services]:
    async with open_services(prepared_stage, **ES256) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's code as a module, and jose beside it, which is one of openid-client's packages."""
    section = GUIDE.read_text("utf-8").split("### Verifying a handoff token", 1)[1]
    code = re.search(r"```js\n(.+?)```", section, re.DOTALL)
    assert code is not None
    made = tmp_path_factory.mktemp("guide")
    (made / "node_modules").symlink_to(FOLDER / "node_modules")
    (made / "guide.mjs").write_text(f"{code[1]}\nexport {{ readHandoff }}\n")
    (made / "run.mjs").write_text(RUN)
    return made


async def verified(folder: Path, services: Services, *cases: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the guide's function says of each token: its ``claims``, or its ``error``."""
    node = find.node()
    assert node is not None, "Node.js is missing on this machine: make interop installs it"
    asked = {"jwks": (await services.stage.client.get("/jwks")).json(), "cases": cases}
    run = subprocess.run(
        [str(node.program), "run.mjs"], cwd=folder, input=json.dumps(asked), capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    told: list[dict[str, Any]] = json.loads(run.stdout)
    return told


def case(services: Services, service: Service, token: str, **changed: Any) -> dict[str, Any]:
    """As *service* reads it now."""
    key = service.decryption
    return {
        "token": token,
        "issuer": ISSUER,
        "clientId": service.client_id,
        "ownKey": key.as_dict(private=True) if key else None,
        "now": int(services.stage.clock.now.timestamp()),
        "used": [],
    } | changed


async def test_it_reads_what_we_send(folder: Path, services: Services) -> None:
    """Signed only, and encrypted."""
    cases = []
    for service in (services.depot, services.vault):
        token = (await service.redeem(await service.artifact())).json["handoff_token"]
        cases.append(case(services, service, token))
    for told in await verified(folder, services, *cases):
        assert told["claims"]["claims"]["customer"] == {"name": "Maja Lind"}


async def test_it_refuses_what_is_not_meant(folder: Path, services: Services) -> None:
    """Another audience or issuer, an old token, a used one, a stranger's, one of another kind, one without consent."""
    depot, vault = services.depot, services.vault
    token = (await depot.redeem(await depot.artifact())).json["handoff_token"]
    id_token = (await services.stage.shop_login(services.stage.browser()))["id_token"]
    sealed = (await vault.redeem(await vault.artifact())).json["handoff_token"]
    read = (await depot.token(await depot.redeem(await depot.artifact()))).claims
    stranger = ECKey.generate_key("P-256", {"kid": "stranger"})
    forged = jwt.encode({"alg": "ES256", "kid": "stranger", "typ": "stafett-handoff+jwt"}, read, stranger)
    told = await verified(
        folder,
        services,
        case(services, depot, token, clientId="vault-service"),
        case(services, depot, token, issuer="https://else.example"),
        case(services, depot, token, now=int(services.stage.clock.now.timestamp()) + 331),
        case(services, depot, token, used=[jwt_id(token)]),
        case(services, depot, forged),
        case(services, depot, id_token, clientId="nordhjul-web"),
        case(services, vault, sealed, ownKey=ECKey.generate_key("P-256").as_dict(private=True)),
        case(services, depot, token),
    )
    assert [each.get("error") for each in told] == [
        "ERR_JWT_CLAIM_VALIDATION_FAILED",
        "ERR_JWT_CLAIM_VALIDATION_FAILED",
        "ERR_JWT_EXPIRED",
        "not for us, or used before",
        "ERR_JWKS_NO_MATCHING_KEY",
        "ERR_JWT_CLAIM_VALIDATION_FAILED",
        "ERR_JWE_DECRYPTION_FAILED",
        None,
    ]


def jwt_id(token: str) -> str:
    """What the token itself says, unverified."""
    return str(json.loads(jws.extract_compact(token.encode()).payload)["jti"])
