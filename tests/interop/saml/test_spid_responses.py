"""
The responses by which Italy's SPID tries service providers, from its own program, against ours.

Those with other keys and with wrapped signatures are not among them: `tests/wire` has both, made for what is checked here.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zlib import decompress

import pytest
from lxml import etree

from broker.demo.providers.saml_idp import GENERIC
from broker.errors import StafettError
from tests.interop.saml.spid import FILES, brought
from tests.upstream.saml import CALLBACK, Provider, pem_of, rsa_pair

LEVEL = "https://www.spid.gov.it/SpidL"
OWN_RULES = {
    "43": "an empty NameID",
    "44": "no NameID",
    "45": "a NameID of an empty format",
    "46": "a NameID without a format",
    "47": "a NameID that is not transient",
    "48": "a NameID with an empty qualifier",
    "49": "a NameID without a qualifier",
    "71": "the assertion's Issuer without a format",
    "76": "conditions without NotBefore",
}
"""
What SPID forbids and the kind ``saml`` does not look at: people are known by an attribute here, and conditions need no beginning.
"""


@pytest.fixture(scope="module")
def program() -> Path:
    """The program, from its registry."""
    return brought()


class Spid:
    """A connector to a provider as SPID has them, a login of it that waits, and the responses to that."""

    def __init__(self, provider: Provider, state: bytes, responses: Mapping[str, Any]) -> None:
        self._provider = provider
        self._state = state
        self.responses = responses

    async def refusal(self, number: str) -> str:
        """The code by which the response is refused; nothing when it is taken."""
        xml = self.responses[number]["xml"]
        try:
            await self._provider.resume(self._state, {"SAMLResponse": base64.b64encode(xml.encode()).decode()})
        except StafettError as error:
            return error.code
        return ""


@pytest.fixture
async def spid(program: Path, tmp_path: Path) -> Spid:
    """Assertions and responses signed, levels mapped, persons known by the number SPID gives them."""
    provider = Provider(
        "saml",
        GENERIC,
        encrypted=False,
        signs_response=True,
        signs_assertion=True,
        subject="spidCode",
        name_id_format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient",
        acr_levels={f"{LEVEL}1": "low", f"{LEVEL}2": "substantial", f"{LEVEL}3": "high"},
        claims={"name": "given_name", "familyName": "family_name"},
    )
    state, url = await provider.begin()
    query = dict(parse_qsl(urlsplit(url).query))
    asked = etree.fromstring(decompress(base64.b64decode(query["SAMLRequest"]), -15))
    now = provider.clock.now
    told = {
        "AssertionConsumerURL": CALLBACK,
        "ResponseID": "_response",
        "AuthnRequestID": asked.get("ID"),
        "IssueInstant": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "IssueInstantMillis": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
        "NotOnOrAfter": f"{now + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
        "Issuer": provider.simulator.entity_id,
        "NameIDNameQualifier": provider.simulator.entity_id,
        "NameID": "of-this-session",
        "AuthnIstant": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "SessionIndex": "_session",
        "Audience": asked.findtext("{urn:oasis:names:tc:SAML:2.0:assertion}Issuer"),
        "AuthnContextClassRef": f"{LEVEL}2",
        "sign_response": True,
        "sign_assertion": True,
    }
    pair = rsa_pair(9)
    (tmp_path / "key.pem").write_bytes(pair.pem)
    (tmp_path / "certificate.pem").write_bytes(pem_of(pair))
    environment = {
        **os.environ,
        "PYTHONPATH": str(program),
        "KEY": str(tmp_path / "key.pem"),
        "CERTIFICATE": str(tmp_path / "certificate.pem"),
    }
    made = subprocess.run(
        (sys.executable, str(FILES / "make.py")),
        input=json.dumps(told).encode(),
        env=environment,
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr.decode()[-3000:]
    return Spid(provider, state, json.loads(made.stdout))


async def test_the_right_response_is_taken(spid: Spid) -> None:
    """So that the others are refused for what is wrong with them."""
    assert await spid.refusal("1") == ""


async def test_the_wrong_responses_are_refused(spid: Spid) -> None:
    """Each by a code; what only SPID forbids is not among them."""
    wrong = {number: each["name"] for number, each in spid.responses.items() if not each["fits"]}
    codes = {number: await spid.refusal(number) for number in wrong}
    assert {number for number, code in codes.items() if not code} == set(OWN_RULES)
    assert sum(code.startswith("saml.") for code in codes.values()) >= 60, codes
