"""The simulator as one object: both apps on one set of orders."""

from collections.abc import Callable
from datetime import UTC, datetime

from broker.demo.providers.bankid.app_page import make_app_page
from broker.demo.providers.bankid.certificates import Certificates
from broker.demo.providers.bankid.control import Control
from broker.demo.providers.bankid.orders import OrderBook
from broker.demo.providers.bankid.rp_api import make_rp_api
from broker.demo.providers.bankid.signature import Signer


def system_clock() -> datetime:
    """The wall clock, aware UTC."""
    return datetime.now(UTC)


class BankIdSimulator:
    """
    ``rp_api`` and ``app_page`` are ASGI apps; ``orders`` and ``control`` are theirs, for tests.

    Args:
        certificates: from `make_certificates`.
        clock: aware UTC.
        qr_max_age_s: oldest QR code accepted, in seconds. The real app wants a few; a person who carries
            codes by copy and paste needs more.
    """

    def __init__(
        self,
        certificates: Certificates,
        *,
        clock: Callable[[], datetime] = system_clock,
        qr_max_age_s: int = 5,
    ) -> None:
        self.control = Control()
        rp_name = certificates.rp_name()
        self.orders = OrderBook(Signer(certificates), self.control, clock, rp_name=rp_name, qr_max_age_s=qr_max_age_s)
        self.rp_api = make_rp_api(self.orders, self.control)
        self.app_page = make_app_page(self.orders, rp_name=rp_name)
