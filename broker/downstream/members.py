"""
Asking a partner's register of customers, by a token of ours that any JOSE library verifies (docs/members.md).
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from broker.core.membership import number_in
from broker.core.policy import MemberRegister, Policy
from broker.errors import UpstreamDown
from broker.flows.context import Tokens
from broker.wire.http import Fetcher
from broker.wire.jose import Keyring

LOOKUP_TYP = "member-lookup+jwt"

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
        token = self._token(partner, subject, contacts, now)
        try:
            async with asyncio.timeout(register.timeout.total_seconds()):
                answer = await self._fetcher.post_form(register.uri, {"lookup_token": token}, operation="members")
        except TimeoutError as error:
            raise UpstreamDown("the register of members is too slow", code="member.slow") from error
        if answer.status != 200:
            raise UpstreamDown(f"the register of members answered {answer.status}", code="member.status")
        try:
            return number_in(answer.json)
        except ValueError as error:
            raise UpstreamDown(f"the register of members: {error}", code="member.malformed") from error

    def _token(self, partner: str, subject: str, contacts: Mapping[str, Any], now: datetime) -> str:
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
            "sub": subject,
            "iat": int(now.timestamp()),
            "exp": int((now + _LIFE).timestamp()),
            "jti": self._tokens.id(),
            **contacts,
        }
        return self._keyring.sign(claims, alg=known.rules.id_token_alg.value, typ=LOOKUP_TYP)
