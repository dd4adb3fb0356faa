"""
What a customer who stays on our page to log in sees and does there: plain data between a connector and the page.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from broker.core.identity import ContactKind


class Poll(Struct, frozen=True):
    """
    Stay on our page and ask again after ``again_after_s`` seconds.

    ``phase``: which picture the page shows: ``choose_device``, ``qr``, ``launch``, ``working``, ``failed``.
    ``message_key``: customer text, a key of the page catalogue such as ``bankid.RFA1``.
    ``qr_text``: what the drawn code says right now; the page gets only the image. ``launch_url``: opens the app here.
    ``actions``: what the customer may do now: of ``same``, ``other``, ``retry``, ``cancel``.
    """

    phase: str
    message_key: str
    qr_text: str | None = None
    launch_url: str | None = None
    actions: tuple[str, ...] = ("cancel",)
    again_after_s: float = 1.0


class Addressee(StrEnum):
    """How we came to the address that a code goes to."""

    TYPED = "typed"
    """She typed it herself, and reads it again on the page."""
    NEWSLETTER = "newsletter"
    """A newsletter went there whose link was followed in her browser: it may be somebody else's, and no page shows it."""
    MEMBER = "member"
    """A member number was given: it goes to what the merchant has on file, if there is such a member, which no page tells."""


class EnterCode(Struct, frozen=True):
    """
    Type the code in that was sent to ``to``, which is as she typed it herself; empty for any other ``addressee``.

    ``kind``: e-mail or phone. ``message_key``: customer text about how it stands, such as ``code.sent``, ``code.wrong``.
    ``until``: how long the code counts; ``again_at``: when another may be asked for, None for never (both aware UTC).
    ``has_link``: the message holds a link too. ``actions``: of ``code`` (with the field ``code``), ``again``, ``cancel``.
    """

    kind: ContactKind
    to: str
    message_key: str
    until: datetime
    again_at: datetime | None = None
    has_link: bool = False
    actions: tuple[str, ...] = ("code", "again", "cancel")
    addressee: Addressee = Addressee.TYPED


class AskPasskey(Struct, frozen=True):
    """
    Let the browser ask for a passkey.

    ``options``: PublicKeyCredentialRequestOptions as JSON (WebAuthn section 5.5). ``actions``: of ``passkey`` (with the field
    ``credential``: the answer as JSON), ``cancel``.
    """

    options: str
    message_key: str
    actions: tuple[str, ...] = ("passkey", "cancel")


Waiting = Poll | EnterCode | AskPasskey
