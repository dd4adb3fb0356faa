"""
Asking a partner's register of customers, by a token of ours that any JOSE library verifies (docs/members.md).
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from broker.core.membership import OnFile, number_in, on_file_in
from broker.core.policy import MemberRegister, Policy
from broker.errors import UpstreamDown
from broker.flows.context import Tokens
from broker.wire.http import Fetcher
from broker.wire.jose import Keyring

LOOKUP_TYP = "member-lookup+jwt"
NUMBER_TYP = "member-number-lookup+jwt"
"""Another question: a register that only knows the first one refuses it, and then knows nobody."""

_LIFE = timedelta(minutes=2)


class MemberRegisters:
    """
    `broker.flows.members.Registers`; one per process.

    Args:
        fetcher: the way out to partners; whoever made it closes it.
    """

    def __init__(self, policy: Callable[[], Policy], keyring: Keyring, tokens: Tokens, fetcher: Fetcher) -> None:
        self._policy = policy
        self._keyring = keyring
        self._tokens = tokens
        self._fetcher = fetcher

    async def find(
        self, partner: str, register: MemberRegister, *, subject: str, contacts: Mapping[str, Any], now: datetime
    ) -> str | None:
        """
        POST ``lookup_token`` to the register and read its JSON.

        Raises: UpstreamDown ``member.slow``, ``member.status``, ``member.malformed``, or as `Fetcher.post_form`.
        """
        answer = await self._asked(partner, register, {"sub": subject, **contacts}, LOOKUP_TYP, now)
        try:
            return number_in(answer)
        except ValueError as error:
            raise _malformed(error) from error

    async def on_file(self, partner: str, register: MemberRegister, *, number: str, now: datetime) -> OnFile | None:
        """As `find`, by a number; nobody is logged in, so that the token has no ``sub``."""
        if register.by_number is None:
            raise UpstreamDown("the partner's numbers are gone", code="member.gone")
        answer = await self._asked(partner, register, {"member_number": number}, NUMBER_TYP, now)
        try:
            return on_file_in(answer, register.by_number.contact)
        except ValueError as error:
            raise _malformed(error) from error

    async def _asked(
        self, partner: str, register: MemberRegister, by: Mapping[str, Any], typ: str, now: datetime
    ) -> Mapping[str, Any]:
        token = self._token(partner, by, typ, now)
        try:
            async with asyncio.timeout(register.timeout.total_seconds()):
                answer = await self._fetcher.post_form(register.uri, {"lookup_token": token}, operation="members")
        except TimeoutError as error:
            raise UpstreamDown("the register of members is too slow", code="member.slow") from error
        if answer.status != 200:
            raise UpstreamDown(f"the register of members answered {answer.status}", code="member.status")
        return answer.json

    def _token(self, partner: str, by: Mapping[str, Any], typ: str, now: datetime) -> str:
        """
        security: a ``typ`` and no nonce of an ID token's, and an audience that is the register: it serves for nothing else.
        """
        policy = self._policy()
        known = policy.partner(partner)
        if known is None or known.oidc is None or known.members is None:
            raise UpstreamDown("the partner is gone", code="member.gone")
        claims = {
            "iss": policy.issuer,
            "aud": known.members.uri,
            "client_id": known.oidc.client_id,
            "iat": int(now.timestamp()),
            "exp": int((now + _LIFE).timestamp()),
            "jti": self._tokens.id(),
            **by,
        }
        return self._keyring.sign(claims, alg=known.rules.id_token_alg.value, typ=typ)


def _malformed(error: ValueError) -> UpstreamDown:
    return UpstreamDown(f"the register of members: {error}", code="member.malformed")
