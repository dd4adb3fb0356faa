"""
Which of the garage's own customers is this? The order of the partner contract, first hit wins.

1. The link table of (issuer, subject): nothing overrides it.
2. A customer whose e-mail address *we* once verified and the login service verified now: maybe the same
person, so the
   customer is told, and the two accounts become one only after a proof at the counter. Never silently.
3. A new account.

Names, plates, order numbers, and addresses that somebody merely typed are never matched on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Account:
    """A customer of the garage. `verified_email` is an address this garage has itself checked, else empty."""

    number: int
    name: str
    since: date
    verified_email: str = ""


@dataclass(frozen=True)
class Recognition:
    """
    `account`: the customer's account. `is_regular`: she was linked to it before. `maybe_known`: somebody with
    the same verified address is in our books; to be settled at the counter.
    """

    account: Account
    is_regular: bool
    maybe_known: bool = False


class Accounts:
    """The garage's customers, and the links from the login service's subjects to them."""

    def __init__(self, regulars: Iterable[Account] = ()) -> None:
        self._accounts = {account.number: account for account in regulars}
        self._links: dict[tuple[str, str], int] = {}

    def recognise(self, *, issuer: str, subject: str, name: str, verified_email: str, today: date) -> Recognition:
        """
        Find or make the account of a customer who logged in.

        Args:
            issuer, subject: who the login service says it is; the only thing that opens an existing account.
            name: what to call a new account.
            verified_email: an address the login service has verified, else empty.
        """
        linked = self._links.get((issuer, subject))
        if linked is not None:
            return Recognition(self._accounts[linked], is_regular=True)
        maybe_known = len(self._candidates(verified_email)) == 1
        account = Account(max(self._accounts, default=1000) + 1, name, today)
        self._accounts[account.number] = account
        self._links[(issuer, subject)] = account.number
        return Recognition(account, is_regular=False, maybe_known=maybe_known)

    def _candidates(self, verified_email: str) -> list[Account]:
        wanted = verified_email.strip().casefold()
        return [known for known in self._accounts.values() if wanted and known.verified_email.casefold() == wanted]
