"""``oidcc-config-certification-test-plan``: its one module, ``oidcc-discovery-endpoint-verification``."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.stage import ISSUER, Stage, open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: RFC 8414 section 2 and the registered additions to it; anything else draws a warning.
_REGISTERED = {
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "registration_endpoint",
    "scopes_supported",
    "response_types_supported",
    "response_modes_supported",
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "service_documentation",
    "ui_locales_supported",
    "op_policy_uri",
    "op_tos_uri",
    "revocation_endpoint",
    "revocation_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_signing_alg_values_supported",
    "introspection_endpoint",
    "introspection_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_signing_alg_values_supported",
    "code_challenge_methods_supported",
    "userinfo_endpoint",
    "acr_values_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "id_token_encryption_alg_values_supported",
    "id_token_encryption_enc_values_supported",
    "userinfo_signing_alg_values_supported",
    "userinfo_encryption_alg_values_supported",
    "userinfo_encryption_enc_values_supported",
    "request_object_signing_alg_values_supported",
    "request_object_encryption_alg_values_supported",
    "request_object_encryption_enc_values_supported",
    "display_values_supported",
    "claim_types_supported",
    "claims_supported",
    "claims_locales_supported",
    "claims_parameter_supported",
    "request_parameter_supported",
    "request_uri_parameter_supported",
    "require_request_uri_registration",
    "authorization_response_iss_parameter_supported",
    "authorization_details_types_supported",
    "pushed_authorization_request_endpoint",
    "require_pushed_authorization_requests",
    "require_signed_request_object",
    "mtls_endpoint_aliases",
    "tls_client_certificate_bound_access_tokens",
    "dpop_signing_alg_values_supported",
    "end_session_endpoint",
    "check_session_iframe",
    "frontchannel_logout_supported",
    "frontchannel_logout_session_supported",
    "backchannel_logout_supported",
    "backchannel_logout_session_supported",
    "prompt_values_supported",
    "introspection_signing_alg_values_supported",
    "device_authorization_endpoint",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(prepared_stage: Path) -> AsyncIterator[Stage]:
    async with open_stage(prepared_stage) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def document(stage: Stage) -> dict[str, Any]:
    raw = await stage.client.get("/.well-known/openid-configuration")
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("application/json")
    found: dict[str, Any] = raw.json()
    return found


async def test_oidcc_discovery_endpoint_verification(document: dict[str, Any]) -> None:
    """Every required member, of the right type, with what certification asks to be in it."""
    assert document["issuer"] == ISSUER
    assert "code" in document["response_types_supported"]
    assert {"query", "form_post"} <= set(document["response_modes_supported"])
    assert set(document["subject_types_supported"]) <= {"public", "pairwise"}
    assert document["subject_types_supported"]
    assert "RS256" in document["id_token_signing_alg_values_supported"]
    assert "openid" in document["scopes_supported"]
    assert document["grant_types_supported"]
    assert isinstance(document["claims_supported"], list)
    assert document["claims_parameter_supported"] is True
    assert document["request_parameter_supported"] is False
    assert document["request_uri_parameter_supported"] is False
    assert document["authorization_response_iss_parameter_supported"] is True
    assert document["code_challenge_methods_supported"] == ["S256"]


async def test_no_member_that_is_not_registered(document: dict[str, Any]) -> None:
    """The document holds against the schema of RFC 8414 and its registry."""
    assert set(document) <= _REGISTERED


async def test_endpoints_are_at_the_issuer(document: dict[str, Any]) -> None:
    """Each an address of the issuer without query or fragment: https wherever the issuer is."""
    for name in [each for each in document if each.endswith("_endpoint")] + ["jwks_uri"]:
        parts = urlsplit(document[name])
        assert f"{parts.scheme}://{parts.netloc}" == ISSUER, name
        assert not parts.query + parts.fragment, name


async def test_nothing_unsigned_or_symmetric_is_offered(document: dict[str, Any]) -> None:
    """Neither ``none`` nor a shared secret signs anything here."""
    for name, values in document.items():
        if name.endswith("_alg_values_supported"):
            assert not [value for value in values if value == "none" or value.startswith("HS")], name


async def test_languages_are_tags_of_the_registry(document: dict[str, Any]) -> None:
    """BCP 47, in canonical case."""
    assert set(document["ui_locales_supported"]) <= {"sv", "fi", "pl", "en"}


async def test_both_names_lead_to_it(stage: Stage, document: dict[str, Any]) -> None:
    """RFC 8414 section 3: with an issuer without a path both stand side by side."""
    other = await stage.client.get("/.well-known/oauth-authorization-server")
    assert other.json() == document


async def test_partners_may_keep_it_for_a_while(stage: Stage) -> None:
    """Short enough for keys to be renewed."""
    for path in ("/.well-known/openid-configuration", "/jwks"):
        cache = (await stage.client.get(path)).headers["cache-control"]
        assert cache.startswith("public, max-age=")
        assert int(cache.rpartition("=")[2]) <= 900
