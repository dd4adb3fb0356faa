"""
What providers of national electronic identity want, as defaults of the ``connect`` block of kind ``national-oidc``.

A preset fills in what the config file does not say; a key given there replaces the preset's value whole. What is known from a
provider's own documents and what is not is told in docs/national-eid.md.

Sources: OP Identity Service Broker API for FTN (README), levels as Traficom names them; Signaturgruppen broker documentation
for MitID; Vipps MobilePay Login and Userinfo API guides; itsme OpenID Connect documentation; ID-porten integration guide.
Freja: configurations of its clients.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

PresetName = Literal["freja", "ftn", "id-porten", "itsme", "mitid", "vipps"]

_FREJA: Final = "https://frejaeid.com/oidc"
_ITSME: Final = "http://itsme.services/v2/claim"
_NSIS: Final = "https://data.gov.dk/concept/core/nsis"


def _mitid_asks(level: str) -> dict[str, str]:
    return {"idp_params": f'{{"mitid":{{"loa_value":"{level}"}}}}'}


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    # The whole request is signed, the ID token encrypted; `prompt=login` is answered with an error, since every login is new.
    "ftn": {
        "client_auth": "private_key_jwt",
        "assertion_audience": "token_endpoint",
        "request": "object",
        "request_typ": "JWT",
        "omitted_params": ["prompt", "max_age", "login_hint"],
        "partner_name_param": "ftn_spname",
        "scopes": ["openid", "profile", "personal_identity_code"],
        "encrypted": ["id_token"],
        "id_token_algs": ["RS256"],
        "encryption_algs": ["RSA-OAEP", "RSA-OAEP-256"],
        "encryption_encs": ["A128CBC-HS256", "A256GCM"],
        "acr_levels": {
            "http://ftn.ficora.fi/2017/loa2": "substantial",
            "http://ftn.ficora.fi/2017/loa3": "high",
        },
        # `sub` is another one at every login.
        "subject_claim": "personal_identity_code",
        "personal_number_country": "FI",
        "claims": {
            "name": "name",
            "given_name": "given_name",
            "family_name": "family_name",
            "birthdate": "birthdate",
            "personal_identity_code": "personal_number",
        },
        "required_claims": ["personal_identity_code", "auth_time"],
        "ignored_claims": ["ftn_idp_id"],
    },
    "mitid": {
        "request": "pushed",
        "omitted_params": ["acr_values", "login_hint"],
        "extra_authorize_params": {"idp_values": "mitid"},
        "level_params": {level: _mitid_asks(level) for level in ("low", "substantial", "high")},
        "level_claim": "loa",
        "acr_levels": {f"{_NSIS}/Low": "low", f"{_NSIS}/Substantial": "substantial", f"{_NSIS}/High": "high"},
        "scopes": ["openid", "mitid"],
        "id_token_algs": ["RS256", "ES256"],
        "userinfo": True,
        "subject_claim": "mitid.uuid",
        "personal_number_country": "DK",
        "claims": {
            "mitid.identity_name": "name",
            "mitid.date_of_birth": "birthdate",
            "dk.cpr": "personal_number",
        },
        "required_claims": ["mitid.uuid"],
        "ignored_claims": ["aal", "ial", "idp", "identity_type", "transaction_id"],
    },
    # A person known to a bank, but no level of eIDAS: a proven phone number.
    "vipps": {
        "scopes": ["openid", "name", "phoneNumber"],
        "omitted_params": ["acr_values"],
        "sends_login_hint": False,
        "reauthenticates": False,
        "userinfo": True,
        "claims": {
            "name": "name",
            "given_name": "given_name",
            "family_name": "family_name",
            "birthdate": "birthdate",
            "email": "email",
            "phone_number": "phone_number",
            "nin": "personal_number",
        },
        "personal_number_country": "NO",
        "phone_without_plus": True,
        "vouches_for": ["phone_number"],
        "trusted_contacts": {"phone": "always"},
        "ignored_claims": ["address", "other_addresses", "accounts", "delegatedConsents"],
        "headers": {"Vipps-System-Name": "stafett"},
    },
    "freja": {
        "scopes": [
            "openid",
            "profile",
            "email",
            f"{_FREJA}/scopes/personalIdentityNumber",
            f"{_FREJA}/scopes/registrationLevel",
            f"{_FREJA}/scopes/relyingPartyUserId",
        ],
        "omitted_params": ["acr_values"],
        "sends_login_hint": False,
        "reauthenticates": False,
        "level_claim": f"{_FREJA}/claims/registrationLevel",
        "acr_levels": {"EXTENDED": "low", "PLUS": "substantial"},
        "subject_claim": f"{_FREJA}/claims/relyingPartyUserId",
        "claims": {
            "name": "name",
            "given_name": "given_name",
            "family_name": "family_name",
            "birthdate": "birthdate",
            "email": "email",
            f"{_FREJA}/claims/personalIdentityNumber": "personal_number",
        },
        "required_claims": [f"{_FREJA}/claims/relyingPartyUserId"],
        "ignored_claims": [
            f"{_FREJA}/claims/country",
            f"{_FREJA}/claims/document",
            f"{_FREJA}/claims/loaLevel",
            f"{_FREJA}/claims/transactionReference",
        ],
    },
    # Of several acr values the strongest is taken, so only one is sent.
    "itsme": {
        "client_auth": "private_key_jwt",
        "assertion_audience": "token_endpoint",
        "acr_choice": "least",
        "omitted_params": ["login_hint"],
        "reauthenticates": False,
        "encrypted": ["id_token", "userinfo"],
        "id_token_algs": ["RS256"],
        "encryption_algs": ["RSA-OAEP-256", "RSA-OAEP"],
        "encryption_encs": ["A128CBC-HS256", "A256GCM"],
        "acr_levels": {f"{_ITSME}/acr_basic": "substantial", f"{_ITSME}/acr_advanced": "high"},
        "id_token_claims": ["name", "given_name", "family_name", "birthdate", "phone_number", "phone_number_verified"],
        "claims": {
            "name": "name",
            "given_name": "given_name",
            "family_name": "family_name",
            "birthdate": "birthdate",
            "phone_number": "phone_number",
            "email": "email",
            "locale": "language",
        },
        "trusted_contacts": {"phone": "always"},
        "ignored_claims": ["gender", "picture", "address", f"{_ITSME}/BENationalNumber", f"{_ITSME}/BEeidSn"],
    },
    "id-porten": {
        "client_auth": "private_key_jwt",
        "request": "pushed",
        "omitted_params": ["login_hint"],
        "scopes": ["openid", "profile"],
        "acr_levels": {"idporten-loa-substantial": "substantial", "idporten-loa-high": "high"},
        "personal_number_country": "NO",
        "claims": {"pid": "personal_number", "locale": "language"},
        "required_claims": ["pid"],
    },
}
