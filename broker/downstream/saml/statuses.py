"""
Errors as a service provider's software reads them: status codes of SAML (saml-core-2.0-os, section 3.2.2.2).
"""

from collections.abc import Mapping

from broker.downstream.replies import oauth_error
from broker.errors import Denied, StafettError, TooWeak
from broker.wire.saml.answer import Status

_STATUSES: Mapping[str, tuple[str, str | None]] = {
    "access_denied": ("Responder", "RequestDenied"),
    "consent_required": ("Responder", "NoPassive"),
    "interaction_required": ("Responder", "NoPassive"),
    "invalid_name_id_policy": ("Requester", "InvalidNameIDPolicy"),
    "invalid_request": ("Requester", None),
    "login_required": ("Responder", "NoPassive"),
    "no_authn_context": ("Responder", "NoAuthnContext"),
    "proxy_count_exceeded": ("Responder", "ProxyCountExceeded"),
    "request_unsupported": ("Requester", "RequestUnsupported"),
    "server_error": ("Responder", None),
    "temporarily_unavailable": ("Responder", None),
    "unauthorized_client": ("Responder", "RequestDenied"),
    "unmet_authentication_requirements": ("Responder", "NoAuthnContext"),
    "unsupported_binding": ("Requester", "UnsupportedBinding"),
    "upstream_refused": ("Responder", "AuthnFailed"),
}
"""Our words for errors, most of them OpenID Connect's."""


def status_of(error: str, sentence: str) -> Status:
    """The status for *error*, one of our words; *sentence* is for the developer."""
    code, second = _STATUSES.get(error, ("Responder", None))
    return Status(code, second, sentence)


def untold(error: str, sentence: str, partner: str) -> StafettError:
    """*error*, one of our words, where no partner asked and so none is told: for the customer's page."""
    if error in {"no_authn_context", "unmet_authentication_requirements"}:
        return TooWeak(sentence, partner=partner)
    return Denied(sentence, code=f"saml.{error}", partner=partner)


def status_of_error(error: StafettError) -> Status:
    """The status for an error raised on the way; nothing of its detail but what is meant for partners."""
    return status_of(*oauth_error(error))
