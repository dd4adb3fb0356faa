"""What a client must and may do: one table for all endpoints."""

import pytest

from broker.core.client_rules import (
    ClientAuth,
    ClientProfile,
    Refinements,
    SigningAlg,
    contradictions,
    rules_of,
)

NOTHING = Refinements()


def test_standard_asks_for_pkce_and_takes_what_libraries_send() -> None:
    """Today's defaults: a secret, RS256, the token endpoint as audience of an assertion."""
    rules = rules_of(ClientProfile.STANDARD, NOTHING)
    assert (rules.auth, rules.id_token_alg) == (ClientAuth.SECRET_BASIC, SigningAlg.RS256)
    assert rules.require_pkce
    assert rules.rotates
    assert not rules.require_par
    assert rules.assertion_to_token_endpoint
    assert rules.assertion_max_age_s == 3600


def test_strict_is_pushed_signed_and_short() -> None:
    """PAR and PKCE, a key, the issuer as the only audience for five minutes, RS256 nowhere, no rotation."""
    rules = rules_of(ClientProfile.STRICT, NOTHING)
    assert (rules.auth, rules.id_token_alg) == (ClientAuth.PRIVATE_KEY_JWT, SigningAlg.ES256)
    assert rules.require_pkce
    assert rules.require_par
    assert not rules.assertion_to_token_endpoint
    assert rules.assertion_max_age_s == 300
    assert "RS256" not in rules.assertion_algs
    assert "ES256" in rules.assertion_algs
    assert not rules.rotates


def test_legacy_differs_from_standard_by_pkce_alone() -> None:
    """RFC 9700 section 2.1.1: support it always, insist where clients can."""
    standard, legacy = (rules_of(each, NOTHING) for each in (ClientProfile.STANDARD, ClientProfile.LEGACY))
    assert not legacy.require_pkce
    assert rules_of(ClientProfile.LEGACY, Refinements(require_pkce=True)) == standard


@pytest.mark.parametrize("profile", [ClientProfile.STANDARD, ClientProfile.LEGACY])
def test_a_public_client_has_pkce_and_rotation_whatever_is_configured(profile: ClientProfile) -> None:
    """RFC 8252 section 8.1, RFC 9700 section 2.2.2: it has nothing else."""
    rules = rules_of(profile, Refinements(auth=ClientAuth.NONE, require_pkce=False, rotates=False))
    assert rules.is_public
    assert rules.require_pkce
    assert rules.rotates


@pytest.mark.parametrize(
    ("profile", "given", "keys"),
    [
        (ClientProfile.STRICT, Refinements(auth=ClientAuth.SECRET_BASIC), ["auth"]),
        (ClientProfile.STRICT, Refinements(auth=ClientAuth.NONE), ["auth"]),
        (ClientProfile.STRICT, Refinements(require_pkce=False), ["require_pkce"]),
        (ClientProfile.STRICT, Refinements(require_par=False), ["require_par"]),
        (ClientProfile.STRICT, Refinements(id_token_alg=SigningAlg.RS256), ["id_token_alg"]),
        (ClientProfile.STANDARD, Refinements(rotates=False), ["rotates"]),
        (ClientProfile.STANDARD, Refinements(auth=ClientAuth.NONE, require_pkce=False), ["require_pkce"]),
        (ClientProfile.LEGACY, Refinements(auth=ClientAuth.NONE, rotates=False), ["rotates"]),
    ],
    ids=str,
)
def test_what_cannot_be_together_is_told_by_its_key(
    profile: ClientProfile, given: Refinements, keys: list[str]
) -> None:
    """Each with what to do."""
    found = dict(contradictions(profile, given))
    assert list(found) == keys
    assert all("remove it" in advice for advice in found.values())


@pytest.mark.parametrize(
    ("profile", "given"),
    [
        (ClientProfile.STRICT, Refinements(auth=ClientAuth.PRIVATE_KEY_JWT, require_pkce=True, require_par=True)),
        (ClientProfile.STRICT, Refinements(id_token_alg=SigningAlg.ES256, rotates=True)),
        (ClientProfile.STANDARD, Refinements(require_pkce=False, require_par=True)),
        (ClientProfile.STANDARD, Refinements(auth=ClientAuth.PRIVATE_KEY_JWT, rotates=False)),
        (ClientProfile.LEGACY, Refinements(auth=ClientAuth.NONE)),
        (ClientProfile.LEGACY, Refinements(require_pkce=True)),
    ],
    ids=str,
)
def test_what_goes_together_is_not_told(profile: ClientProfile, given: Refinements) -> None:
    """A refinement that repeats or tightens is none to complain about."""
    assert list(contradictions(profile, given)) == []
