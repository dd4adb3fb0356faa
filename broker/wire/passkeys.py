"""
Web Authentication (WebAuthn level 3): options for the browser, and what its answers are worth. Wraps ``webauthn``.

The user must always have been verified, keys are always discoverable, and no attestation is asked for. Whatever is wrong with
an answer is one error, whose ``code`` tells the operator what; nothing of the answer is in it.
"""

from collections.abc import Sequence

from msgspec import Struct
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    bytes_to_base64url,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from broker.core.discreet import Discreet
from broker.errors import UpstreamRefused

TIMEOUT_MS = 120_000
"""How long the browser waits for the customer (WCAG 2.2.1 asks for patience)."""

_MAX_JSON = 8192
_MAX_ID = 1023
"""Bytes of a credential id (WebAuthn section 4)."""

_ALGORITHMS = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]

_CODES = (
    ("Client data challenge", "passkey.challenge"),
    ("Unexpected client data origin", "passkey.origin"),
    ("Unexpected client data type", "passkey.type"),
    ("Unexpected RP ID", "passkey.rp_id"),
    ("User was not present", "passkey.presence"),
    ("User presence", "passkey.presence"),
    ("User verification", "passkey.verification"),
    ("Could not verify authentication signature", "passkey.signature"),
    ("Unsupported credential public key alg", "passkey.algorithm"),
)
"""How the library's words begin -> what we call it."""


class RelyingParty(Struct, frozen=True):
    """
    Whom passkeys are for. ``id``: the domain they belong to; ``origin``: where they may be used, such as
    ``https://login.example``.
    """

    id: str
    name: str
    origin: str


class Credential(Struct, frozen=True):
    """A passkey that exists, for a browser to leave out."""

    id: bytes
    transports: tuple[str, ...] = ()


class NewPasskey(Struct, frozen=True):
    """A passkey that was just made; see `broker.core.passkey.Passkey`. ``is_backed_up``: there is a copy already."""

    id: bytes
    public_key: bytes
    counter: int
    aaguid: str
    transports: tuple[str, ...]
    is_synced: bool
    is_backed_up: bool


class UnverifiedAssertion(Discreet, frozen=True):
    """
    What a browser answered, read but not checked: enough to look the passkey up. ``user_handle``: None where it says none.
    """

    UNSPOKEN = frozenset({"parsed"})

    id: bytes
    user_handle: bytes | None
    parsed: AuthenticationCredential


class Assertion(Struct, frozen=True):
    """A checked answer: the holder of the key was there and was verified."""

    counter: int
    is_backed_up: bool


def creation_options(
    party: RelyingParty,
    *,
    user_handle: bytes,
    user_name: str,
    challenge: bytes,
    exclude: Sequence[Credential],
) -> str:
    """PublicKeyCredentialCreationOptions as JSON (WebAuthn section 5.4). ``user_name``: what her device lists the passkey by."""
    options = generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_id=user_handle,
        user_name=user_name,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            require_resident_key=True,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=each.id, transports=_known(each.transports) or None) for each in exclude
        ],
        supported_pub_key_algs=_ALGORITHMS,
    )
    return options_to_json(options)


def request_options(rp_id: str, challenge: bytes) -> str:
    """PublicKeyCredentialRequestOptions as JSON (WebAuthn section 5.5): for any passkey the browser has for us."""
    options = generate_authentication_options(
        rp_id=rp_id,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        allow_credentials=[],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def verify_registration(unverified: str, *, expected_challenge: bytes, party: RelyingParty) -> NewPasskey:
    """
    Check the browser's answer to `creation_options` (WebAuthn section 7.1).

    Args:
        unverified: RegistrationResponseJSON.
    Raises: UpstreamRefused.
    """
    try:
        parsed = parse_registration_credential_json(_bounded(unverified))
        _check_own_page(parsed)
        made = verify_registration_response(
            credential=parsed,
            expected_challenge=expected_challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
    except UpstreamRefused:
        raise
    except Exception as error:
        raise _refusal(error) from None
    if not 1 <= len(made.credential_id) <= _MAX_ID or made.credential_id != parsed.raw_id:
        raise UpstreamRefused("the credential id is not as it should be", code="passkey.id")
    return NewPasskey(
        id=made.credential_id,
        public_key=made.credential_public_key,
        counter=made.sign_count,
        aaguid=made.aaguid,
        transports=tuple(each.value for each in parsed.response.transports or ()),
        is_synced=made.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        is_backed_up=made.credential_backed_up,
    )


def read_assertion(unverified: str) -> UnverifiedAssertion:
    """
    Read the browser's answer to `request_options`; nothing of it is checked yet.

    Args:
        unverified: AuthenticationResponseJSON.
    Raises: UpstreamRefused.
    """
    try:
        parsed = parse_authentication_credential_json(_bounded(unverified))
        handle = parsed.response.user_handle
    except UpstreamRefused:
        raise
    except Exception as error:
        raise _refusal(error) from None
    if not 1 <= len(parsed.raw_id) <= _MAX_ID:
        raise UpstreamRefused("the credential id is not as it should be", code="passkey.id")
    return UnverifiedAssertion(parsed.raw_id, handle, parsed)


def verify_assertion(
    unverified: UnverifiedAssertion, *, expected_challenge: bytes, party: RelyingParty, public_key: bytes
) -> Assertion:
    """
    Check an answer by the key it must be signed with (WebAuthn section 7.2). The counter is the caller's matter.

    Raises: UpstreamRefused.
    """
    try:
        _check_own_page(unverified.parsed)
        proven = verify_authentication_response(
            credential=unverified.parsed,
            expected_challenge=expected_challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except UpstreamRefused:
        raise
    except Exception as error:
        raise _refusal(error) from None
    return Assertion(proven.new_sign_count, proven.credential_backed_up)


def credential_text(id: bytes) -> str:
    """A credential id as browsers write it (base64url)."""
    return bytes_to_base64url(id)


def _check_own_page(parsed: AuthenticationCredential | RegistrationCredential) -> None:
    """security: a page of somebody else's with ours inside is not ours (WebAuthn section 13.4.9); the library does not look."""
    if parse_client_data_json(parsed.response.client_data_json).cross_origin:
        raise UpstreamRefused("answered inside another site's page", code="passkey.framed")


def _bounded(unverified: str) -> str:
    if len(unverified) > _MAX_JSON:
        raise UpstreamRefused("the answer is too large", code="passkey.size")
    return unverified


def _refusal(error: Exception) -> UpstreamRefused:
    """
    Any fault in what a stranger wrote: the library answers some of them with whatever Python said.

    security: its words may quote the answer, so only how they begin is looked at.
    """
    code = next((code for words, code in _CODES if str(error).startswith(words)), "passkey.malformed")
    return UpstreamRefused(f"the browser's answer fails a check ({type(error).__name__})", code=code)


def _known(transports: Sequence[str]) -> list[AuthenticatorTransport]:
    return [each for each in AuthenticatorTransport if each.value in transports]
