"""
What a customer who waits on our page sees: plain data between a connector and the page.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Poll:
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
