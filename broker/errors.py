"""
The error family: raised anywhere below the edges, turned into words only at the edges.

Every error has a stable ``code`` (for logs, metrics and the choice of text), a ``detail`` that only
the operator reads, and no personal data in either. `web/faults.py` words it for the customer,
`downstream/*` for the partner; both show the same short reference id as the log line.
"""

from collections.abc import Mapping


class StafettError(Exception):
    """
    Base of everything the broker raises on purpose.

    Args:
        code: stable, lower-case, dotted or snake words; an interface (docs/events.md).
        detail: for the operator's log only; never shown to customers or partners.
        facts: small non-personal values that belong beside the detail (rule, step, config version).
    """

    default_code = "error"

    def __init__(self, detail: str, *, code: str | None = None, **facts: str | int | bool | None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.facts: Mapping[str, str | int | bool | None] = facts


class BadAsk(StafettError):
    """
    The request itself is wrong.

    ``oauth_error`` is the registered error code for the partner (RFC 6749 section 4.1.2.1 and 5.2). Whether
    it may be sent by redirect depends on whether client and redirect URI were already proven; the edge knows.
    """

    default_code = "bad_ask"

    def __init__(
        self,
        detail: str,
        *,
        oauth_error: str = "invalid_request",
        code: str | None = None,
        **facts: str | int | bool | None,
    ) -> None:
        super().__init__(detail, code=code, **facts)
        self.oauth_error = oauth_error


class BadClient(StafettError):
    """Client authentication failed (RFC 6749 section 5.2, ``invalid_client``)."""

    default_code = "bad_client"


class NeedsCustomer(StafettError):
    """``prompt=none`` was asked but a step is due; ``oauth_error`` says which (Core section 3.1.2.6)."""

    default_code = "needs_customer"

    def __init__(
        self,
        detail: str,
        *,
        oauth_error: str = "login_required",
        code: str | None = None,
        **facts: str | int | bool | None,
    ) -> None:
        super().__init__(detail, code=code, **facts)
        self.oauth_error = oauth_error


class Stopped(StafettError):
    """The customer cancelled or said no. Nothing was shared; there is always a way back."""

    default_code = "stopped"


class UpstreamRefused(StafettError):
    """
    An identity provider answered, and the answer is no or not acceptable.

    ``message_key`` names the customer text (a key of the page catalogue), when there is a special one.
    """

    default_code = "upstream_refused"

    def __init__(
        self,
        detail: str,
        *,
        message_key: str | None = None,
        code: str | None = None,
        **facts: str | int | bool | None,
    ) -> None:
        super().__init__(detail, code=code, **facts)
        self.message_key = message_key


class UpstreamDown(StafettError):
    """An identity provider could not be reached, timed out, or failed on its own side."""

    default_code = "upstream_down"


class StoreDown(StafettError):
    """The state store or the records could not be reached in time. Nothing was acknowledged; retrying is safe."""

    default_code = "store_down"


class TooWeak(StafettError):
    """The assurance that is needed is out of reach: ``facts`` carry ``wanted`` and ``had``."""

    default_code = "too_weak"


class Spent(StafettError):
    """A one-time thing was used before, is too old, or never existed: one error, so guessing teaches nothing."""

    default_code = "spent"


class Expired(StafettError):
    """A journey ran out of time; the customer is offered a fresh start at ``partner`` (its id, None if unknown)."""

    default_code = "expired"

    def __init__(self, detail: str, *, partner: str | None = None) -> None:
        super().__init__(detail)
        self.partner = partner


class WrongBrowser(StafettError):
    """The journey belongs to another browser, or this browser dropped our cookie."""

    default_code = "wrong_browser"


class WrongCustomer(StafettError):
    """The logged-in customer is not the one this handoff was made for."""

    default_code = "wrong_customer"


class Gone(StafettError):
    """Consent withdrawn, payload erased, handoff expired or revoked: it existed, and may not be read any more."""

    default_code = "gone"


class ConsentWithdrawn(Gone):
    """The customer took back the consent it rests on."""

    default_code = "consent.withdrawn"


class Denied(StafettError):
    """The trust config forbids it: ``facts`` carry ``rule`` and ``config_version``."""

    default_code = "denied"


class TooMany(StafettError):
    """A rate limit was reached; ``retry_after_s`` seconds until it is worth trying again."""

    default_code = "too_many"

    def __init__(
        self, detail: str, *, retry_after_s: int, code: str | None = None, **facts: str | int | bool | None
    ) -> None:
        super().__init__(detail, code=code, **facts)
        self.retry_after_s = retry_after_s


class ConfigError(StafettError):
    """
    One or more mistakes in the operator's config, found at start, at reload or by ``check-config``.

    ``problems`` are complete sentences with file, line, key and what to do.
    """

    default_code = "config"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
