"""docs/handoff.md is what partners copy from: its verification of handoff tokens, run as it stands there."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jwe, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from tests.downstream.service import Service, Services, open_services
from tests.stage import ISSUER

GUIDE = Path(__file__).parents[2] / "docs" / "handoff.md"
pytestmark = pytest.mark.asyncio(loop_scope="module")
Read = Callable[..., Mapping[str, Any]]
ES256 = {"token: {alg: RS256, encrypt:": "token: {encrypt:"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(prepared_stage: Path) -> AsyncIterator[Services]:
    async with open_services(prepared_stage, **ES256) as opened:
        yield opened


@pytest.fixture(scope="module")
def documented() -> Read:
    """The function of the guide, from its text."""
    section = GUIDE.read_text("utf-8").split("### Verifying a handoff token", 1)[1]
    code = re.search(r"```python\n(.+?)```", section, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code[1], str(GUIDE), "exec"), names)
    found: Read = names["read_handoff"]
    return found


async def keys_of(services: Services) -> KeySet:
    return KeySet.import_key_set((await services.stage.client.get("/jwks")).json())


async def read(documented: Read, services: Services, service: Service, token: str, **changed: Any) -> Mapping[str, Any]:
    """As *service* reads it now."""
    given = {
        "keys": await keys_of(services),
        "issuer": ISSUER,
        "client_id": service.client_id,
        "used": set(),
        "own_key": service.decryption,
        "now": int(services.stage.clock.now.timestamp()),
    }
    return documented(token, **(given | changed))


@pytest.mark.parametrize("who", ["depot", "vault"])
async def test_it_reads_what_we_send(documented: Read, services: Services, who: str) -> None:
    """Signed only, and encrypted."""
    service: Service = getattr(services, who)
    token = (await service.redeem(await service.artifact())).json["handoff_token"]
    claims = await read(documented, services, service, token)
    assert claims["claims"]["customer"] == {"name": "Maja Lind"}


async def test_it_refuses_what_section_5_refuses(documented: Read, services: Services) -> None:
    """Another audience or issuer, an old token, a used one, another typ, no consent, another key."""
    depot = services.depot
    token = (await depot.redeem(await depot.artifact())).json["handoff_token"]
    now = int(services.stage.clock.now.timestamp())
    for changed in ({"client_id": "vault-service"}, {"issuer": "https://else.example"}, {"now": now + 331}):
        with pytest.raises((JoseError, ValueError)):
            await read(documented, services, depot, token, **changed)
    used: set[str] = set()
    await read(documented, services, depot, token, used=used)
    with pytest.raises(ValueError, match="used before"):
        await read(documented, services, depot, token, used=used)
    stranger = ECKey.generate_key("P-256")
    with pytest.raises(JoseError):
        await read(documented, services, depot, token, keys=KeySet([stranger]))


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"typ": "at+jwt"}, {}),
        ({}, {}),
        ({"typ": "stafett-handoff+jwt"}, {"consent_id": None}),
        ({"typ": "stafett-handoff+jwt"}, {"exp": None}),
        ({"typ": "stafett-handoff+jwt"}, {"jti": None}),
        ({"typ": "stafett-handoff+jwt"}, {"aud": ["depot-service", "vault-service"]}),
    ],
)
async def test_it_refuses_what_is_no_handoff_token(
    documented: Read, services: Services, header: Mapping[str, Any], claims: Mapping[str, Any]
) -> None:
    """Well signed, and something else (RFC 8725 section 3.11)."""
    key = ECKey.generate_key("P-256")
    good = {"iss": ISSUER, "aud": "depot-service", "sub": "s", "jti": "j", "consent_id": "c", "iat": 1, "exp": 100}
    content = {name: value for name, value in {**good, **claims}.items() if value is not None}
    token = jwt.encode({"alg": "ES256", **header}, content, key)
    with pytest.raises((JoseError, ValueError)):
        await read(documented, services, services.depot, token, keys=KeySet([key]), now=50)


async def test_another_partners_encrypted_token_stays_closed(documented: Read, services: Services) -> None:
    """Only the key it was made for opens it."""
    vault = services.vault
    token = (await vault.redeem(await vault.artifact())).json["handoff_token"]
    with pytest.raises(JoseError):
        await read(documented, services, vault, token, own_key=ECKey.generate_key("P-256"))
    assert jwe.decrypt_compact(token, vault.decryption, algorithms=["ECDH-ES", "A256GCM"]).plaintext
