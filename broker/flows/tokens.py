"""
Codes, access tokens and what they open.

Both are sealed: they carry the ids of their grant, consent and handoff, so that one round trip fetches everything a check
needs. A grant lives in the state store; when it is gone its tokens are worth nothing.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from broker.core import refresh as refreshing
from broker.core.challenge import fits
from broker.core.changing import replace
from broker.core.consent import Consent
from broker.core.handoff import Handoff
from broker.core.journey import Ask
from broker.core.naming import name_of
from broker.core.policy import Policy, TokenFormat
from broker.core.refresh import Family
from broker.core.release import OFFLINE, Release
from broker.core.session import Session
from broker.errors import BadAsk, ConsentWithdrawn, Denied, Spent, StoreDown, TooMany
from broker.flows.answers import Answers, Due
from broker.flows.context import Context, withdrawn_key
from broker.flows.handoff import Handoffs, Reading
from broker.flows.login import Turn
from broker.flows.sessions import grants_of
from broker.flows.values import DESK_SCOPE, Grant, PushedRequest, Target, TokenKind
from broker.observe.telemetry import about
from broker.stores.ports import Enlist, Get, Op, PutNew, Take
from broker.stores.shelf import TOMBSTONE, Held

HANDOFF_SCOPE = "handoff:read"
_REUSE_KNOWN_S = 600.0
_SKEW_S = 120.0
_PUSHED_PER_MINUTE = 300
_TRIES = 60
_FAMILIES = 200
"""Families of one customer that are remembered as hers, the ones that end last: more than she has partners and devices."""


class Redeemed(Struct, frozen=True):
    """
    A code was exchanged: what the ID token is made of, and the ``access_token``; ``expires_in`` seconds.

    Where the grant's target has JWTs, ``access_token`` is the ``jti`` of the one to make.
    """

    grant: Grant
    access_token: str
    expires_in: int
    refresh_token: str | None = None


class TokenFlow:
    """The flow; one per process."""

    def __init__(self, context: Context, handoffs: Handoffs, answers: Answers) -> None:
        self._c = context
        self._handoffs = handoffs
        self._answers = answers

    async def issue(self, ask: Ask, turn: Turn, consent: Consent | None) -> str:
        """
        The authorization code that answers *ask* for the turn's customer.

        Raises: as `broker.flows.answers.Answers`.
        """
        due = await self._answers.prepare(ask, turn, consent)
        policy, now = due.policy, due.now
        release = due.release()
        grant = self._grant(due, release)
        grant_id = self._c.tokens.id()
        times = policy.broker.lifetimes
        code = self._c.tokens.seal(
            "code", grant_id, grant.consent or "", grant.handoff or "", expires_at=now + times.code
        )
        shelves = self._c.shelves
        ops: list[Op] = [
            PutNew(f"code:{grant_id}", b"1", times.code.total_seconds()),
            # security: a family begins when its code is redeemed; codes nobody redeems do not fill the store for weeks
            shelves.grants.put_new(grant_id, grant, max(times.code, times.access_token).total_seconds()),
        ]
        if grant.family is not None:
            # security: so that whoever is put out now does not redeem his code afterwards and stay
            ops.append(Enlist(grants_of(grant.customer), grant_id, times.code.total_seconds(), _FAMILIES))
        if ask.pushed is not None:
            ops.append(shelves.pushed.spend(ask.pushed, unless=due.unless))
        await self._answers.settle(due, ops)
        self._answers.note(due, release, acr=grant.acr, handoff=grant.handoff, consent=grant.consent)
        about("grant", grant_id)
        return code

    async def redeem(self, code: str, *, partner: str, redirect_uri: str | None, code_verifier: str | None) -> Redeemed:
        """
        Exchange a code, once.

        Raises:
            Spent: unknown, used, expired, of another client, or its redirect URI or PKCE verifier do not fit; using a
                code twice also ends the tokens it gave (RFC 6749 section 4.1.2).
            Gone: the consent it rests on was withdrawn, or the handoff died.
        """
        now = self._c.now()
        grant_id, consent, handoff_id = self._c.tokens.open("code", code, now=now)
        about("grant", grant_id)
        shelves = self._c.shelves
        ops: list[Op] = [
            Take(f"code:{grant_id}", leave=TOMBSTONE, leave_ttl_s=_REUSE_KNOWN_S),
            shelves.grants.get(grant_id),
        ]
        if consent:
            ops.append(Get(withdrawn_key(consent)))
        if handoff_id:
            ops.append(shelves.handoffs.get(handoff_id))
        taken, raw_grant, *rest = await self._c.state.run(*ops)
        withdrawn = rest.pop(0) if consent else None
        held = shelves.handoffs.read(handoff_id, rest.pop(0)) if handoff_id else None
        if taken is None or taken == TOMBSTONE:
            await self._c.state.run(shelves.grants.drop(grant_id))
            self._c.audit.note("code.reused" if taken else "code.unknown", partner=partner, grant=grant_id)
            raise Spent("code was used before", code="code.reused")
        grant = shelves.grants.read(grant_id, raw_grant)
        if grant is None:
            raise Spent("grant of the code is gone")
        await self._check_redemption(grant_id, grant.value, partner, redirect_uri, code_verifier)
        if withdrawn is not None:
            raise ConsentWithdrawn("consent was withdrawn")
        if handoff_id:
            await self._handoffs.redeem(held, partner)
        if grant.value.family is not None:
            await self._begin_family(grant_id, grant, now)
        return self._given(grant_id, grant.value, now)

    async def _begin_family(self, grant_id: str, grant: Held[Grant], now: datetime) -> None:
        """From now on the grant lives as long as its refresh tokens. Raises: Spent when it was ended meanwhile."""
        ttl_s = _grant_ttl_s(grant.value, now)
        family_s = max(ttl_s, (grant.value.family.ends_at - now).total_seconds()) if grant.value.family else ttl_s
        swapped, _ = await self._c.state.run(
            self._c.shelves.grants.renew(grant_id, grant, ttl_s),
            Enlist(grants_of(grant.value.customer), grant_id, family_s, _FAMILIES),
        )
        if not swapped:
            raise Spent("the grant ended while its code was redeemed", code="code.reused")

    async def refresh(self, token: str, *, partner: str, scopes: Collection[str]) -> Redeemed:
        """
        A new access token, for *scopes* only where they are given, and by the partner's policy the successor of the
        refresh token, which stays for all that was granted (RFC 6749 section 6).

        Of many at once one turns the family, the others get the same successor (`broker.core.refresh`).

        Args:
            scopes: asked for again; nothing new may be among them (RFC 6749 section 6).
        Raises:
            BadAsk: a scope that was not granted.
            Spent: unknown, run out, or of another client. `Reused` ends the family and everything it gave.
            Gone: the consent it rests on was withdrawn.
        """
        now = self._c.now()
        grant_id, consent, number = self._c.tokens.open("refresh", token, now=now)
        about("grant", grant_id)
        self._check_may_refresh(partner)
        for _ in range(_TRIES):
            held, family = await self._stored(grant_id, consent, partner)
            if not set(scopes) <= set(held.value.scopes):
                raise BadAsk("scope asks for more than was granted", oauth_error="invalid_scope", code="token.scope")
            turned = await self._turned(grant_id, held, family, int(number), now)
            if turned is not None:
                return self._given(grant_id, turned, now, tuple(scopes))
        raise StoreDown("grant kept changing under us")

    async def stored(self, refresh_token: str) -> tuple[Held[Grant], Family, int]:
        """The grant behind a refresh token, its family, and the token's number in it. Raises: as `refresh`."""
        grant_id, consent, number = self._c.tokens.open(TokenKind.REFRESH, refresh_token, now=self._c.now())
        about("grant", grant_id)
        held, family = await self._stored(grant_id, consent, None)
        self._check_may_refresh(held.value.partner)
        return held, family, int(number)

    def _check_may_refresh(self, partner: str) -> None:
        """security: the operator's switch counts for families that began before it."""
        known = self._c.policy().partner(partner)
        if known is None or known.refresh_tokens is None:
            raise Spent("this partner gets no refresh tokens any more", code="refresh.ended")

    async def _stored(self, grant_id: str, consent: str, partner: str | None) -> tuple[Held[Grant], Family]:
        """The grant of a refresh token, which must be *partner*'s if one is named."""
        grants = self._c.shelves.grants
        ops: list[Op] = [grants.get(grant_id)]
        if consent:
            ops.append(Get(withdrawn_key(consent)))
        raw, *withdrawn = await self._c.state.run(*ops)
        held = grants.read(grant_id, raw)
        if held is None or held.value.family is None:
            raise Spent("grant is gone or was ended")
        if partner is not None and held.value.partner != partner:
            raise Spent("refresh token of another client", code="refresh.foreign")
        if consent and withdrawn[0] is not None:
            raise ConsentWithdrawn("consent was withdrawn")
        return held, held.value.family

    async def _turned(
        self, grant_id: str, held: Held[Grant], family: Family, number: int, now: datetime
    ) -> Grant | None:
        """The grant after a use of refresh token *number*; None when another worker was faster."""
        grant, grants = held.value, self._c.shelves.grants
        try:
            after = refreshing.use(family, presented=number, now=now)
        except refreshing.Reused:
            await self._c.state.run(grants.drop(grant_id))
            self._c.audit.note("refresh.reused", customer=grant.customer, partner=grant.partner, grant=grant_id)
            raise
        turned = replace(grant, family=after, expires_at=now + self._c.policy().broker.lifetimes.access_token)
        if after == family:
            return turned
        (swapped,) = await self._c.state.run(grants.swap(grant_id, held, turned, _grant_ttl_s(turned, now)))
        return turned if swapped else None

    def _given(self, grant_id: str, grant: Grant, now: datetime, scopes: tuple[str, ...] = ()) -> Redeemed:
        """The tokens *grant* gives now; the access token for *scopes* only, unless that is empty."""
        consent = grant.consent or ""
        kind = TokenKind.SIGNED if grant.target is not None and grant.target.alg is not None else TokenKind.ACCESS
        access = self._c.tokens.seal(kind, grant_id, consent, grant.handoff or "", *scopes, expires_at=grant.expires_at)
        refresh = None
        if grant.family is not None:
            refresh = self._c.tokens.seal_same(
                "refresh", grant_id, consent, str(grant.family.current), expires_at=grant.family.ends_at
            )
        expires_in = int((grant.expires_at - now).total_seconds())
        return Redeemed(self._as_allowed(grant).narrowed_to(scopes), access, expires_in, refresh)

    def _as_allowed(self, grant: Grant) -> Grant:
        """security: *grant* without what the operator took off the partner's list since it was given."""
        known = self._c.policy().partner(grant.partner)
        return grant.permitted_to(known.login.claims if known is not None and known.login is not None else ())

    async def push(self, partner: str, params: Mapping[str, str], *, unproven: str | None = None) -> tuple[str, int]:
        """
        Keep a pushed authorization request.

        Args:
            unproven: the address of one who only says that it is *partner*, as public clients do.
        Returns: the secret part of its ``request_uri``, and its lifetime in seconds.
        Raises: TooMany.
        """
        reference = self._c.tokens.random()
        name, shelf = _pushed_name(reference, partner), self._c.shelves.pushed
        lifetime_s = int(self._c.policy().broker.lifetimes.pushed_request.total_seconds())
        ops: list[Op] = [shelf.put_new(name, PushedRequest(params), lifetime_s)]
        if unproven is not None:
            ops.append(self._c.counted("pushed", unproven))
        _, *pushed = await self._c.state.run(*ops)
        if pushed and pushed[0] > _PUSHED_PER_MINUTE:
            # security: nobody fills the store, which is everybody's
            await self._c.state.run(shelf.drop(name))
            raise TooMany("pushed requests per address", retry_after_s=60, code="rate.pushed")
        return reference, lifetime_s

    async def pushed(self, reference: str, partner: str) -> tuple[Mapping[str, str], str]:
        """
        The parameters behind a ``request_uri``; from its first use on it may be opened again until it is answered, so
        that a reload works (RFC 9126 section 4).

        Returns: the parameters, and the name of the pushed request (`Ask.pushed`).
        Raises: BadAsk for one that is unknown, expired, answered or another client's.
        """
        name, shelf = _pushed_name(reference, partner), self._c.shelves.pushed
        journey_s = self._c.policy().broker.lifetimes.journey.total_seconds()
        (raw,) = await self._c.state.run(shelf.get(name, renew_s=journey_s))
        held = shelf.read(name, raw)
        if held is None:
            raise BadAsk("request_uri is unknown, expired, used or another client's", oauth_error="invalid_request_uri")
        return held.value.params, name

    async def first_use(self, one_time: str, *, expires_at: int) -> bool:
        """
        Whether *one_time* (a client assertion's ``jti``, say) was never seen before; exactly one of many gets True.

        Args:
            expires_at: seconds since the epoch after which it is refused anyway, and need not be remembered.
        Raises: StoreDown; then nothing was accepted (docs/security.md A10: fail closed).
        """
        (first,) = await self._c.state.run(
            PutNew(f"seen:{name_of(one_time)}", b"1", max(60.0, expires_at - self._c.now().timestamp() + _SKEW_S))
        )
        return bool(first)

    async def userinfo(self, access_token: str, kind: TokenKind = TokenKind.ACCESS) -> Grant:
        """
        The live grant behind *access_token*.

        Raises: Spent (unknown, expired, ended), Gone (consent withdrawn), Denied (not for the scope ``openid``).
        """
        grant, _ = await self.opened(access_token, kind)
        if "openid" not in grant.scopes:
            raise Denied("token lacks openid", code="token.scope")
        return self._as_allowed(grant)

    async def opened(self, access_token: str, kind: TokenKind) -> tuple[Grant, int]:
        """The live grant behind an access token, and until when it lives, in seconds since the epoch. Raises: Spent, Gone."""
        grant, _, until = await self._open(access_token, None, kind)
        return grant, until

    async def read_handoff(self, access_token: str, handoff: str) -> Reading:
        """
        What the token's partner may read of *handoff*.

        Raises: Spent for a token that is not for it; Gone when it may not be read any more.
        """
        grant, held, _ = await self._open(access_token, handoff)
        return self._handoffs.reading(held.value if held else None, recipient=grant.partner)

    async def may_write_handoff(self, access_token: str, handoff: str) -> str:
        """The partner that may acknowledge *handoff* by this token. Raises as `read_handoff`."""
        grant, *_ = await self._open(access_token, handoff)
        return grant.partner

    async def _open(
        self, access_token: str, handoff: str | None, kind: TokenKind = TokenKind.ACCESS
    ) -> tuple[Grant, Held[Handoff] | None, int]:
        parts, until = self._c.tokens.open_until(kind, access_token, now=self._c.now())
        grant_id, consent, handoff_id, *scopes = parts
        about("grant", grant_id)
        if handoff is not None and handoff != handoff_id:
            raise Spent("token is not for this handoff", code="handoff.foreign")
        shelves = self._c.shelves
        ops: list[Op] = [shelves.grants.get(grant_id)]
        if consent:
            ops.append(Get(withdrawn_key(consent)))
        if handoff is not None:
            ops.append(shelves.handoffs.get(handoff_id))
        raw_grant, *rest = await self._c.state.run(*ops)
        withdrawn = rest.pop(0) if consent else None
        held = shelves.handoffs.read(handoff_id, rest.pop(0)) if handoff is not None else None
        if withdrawn is not None:
            raise ConsentWithdrawn("consent was withdrawn")
        grant = shelves.grants.read(grant_id, raw_grant)
        if grant is None:
            raise Spent("grant is gone or was ended")
        if handoff is not None and HANDOFF_SCOPE not in grant.value.scopes:
            raise Denied("token lacks handoff:read", code="token.scope")
        return grant.value.narrowed_to(tuple(scopes)), held, until

    async def _check_redemption(
        self, grant_id: str, grant: Grant, partner: str, redirect_uri: str | None, code_verifier: str | None
    ) -> None:
        """security: code injection and substitution, RFC 9700 section 4.5; any failure also ends the grant."""
        wrong = None
        if grant.partner != partner:
            wrong = "code of another client"
        elif redirect_uri != grant.redirect_uri:
            wrong = "redirect_uri differs from the request"
        elif grant.code_challenge is None and code_verifier is not None:
            wrong = "verifier without challenge"
        elif grant.code_challenge is not None and not fits(grant.code_challenge, code_verifier):
            wrong = "code_verifier does not fit"
        if wrong is not None:
            await self._c.state.run(self._c.shelves.grants.drop(grant_id))
            raise Spent(wrong, code="code.binding")

    def _grant(self, due: Due, release: Release) -> Grant:
        ask, session, handoff, policy, now = due.ask, due.session, due.handoff, due.policy, due.now
        subject, consent = due.subject, due.consent
        claims: dict[str, Any] = {"sub": subject}
        if handoff is None:
            claims |= release.nested()
        id_token_claims = release.id_token_claims if handoff is None else {}
        is_for_desk = handoff is None and DESK_SCOPE in ask.scopes and _is_agent(ask.partner, session, policy)
        # security: a role is what the provider said at this login; who has lost it must not go on by refreshing
        family = _family(ask.partner, release, policy, now) if handoff is None and not is_for_desk else None
        ineffective = {HANDOFF_SCOPE} if family is not None else {HANDOFF_SCOPE, OFFLINE}
        if not is_for_desk:
            ineffective.add(DESK_SCOPE)
        scopes = tuple(scope for scope in ask.scopes if scope not in ineffective)
        return Grant(
            partner=ask.partner,
            subject=subject,
            sid=due.sid,
            redirect_uri=ask.redirect_uri,
            scopes=(*scopes, HANDOFF_SCOPE) if handoff else scopes,
            nonce=ask.nonce,
            code_challenge=ask.code_challenge,
            acr=release.acr or "",
            amr=release.amr,
            auth_time=int(session.authenticated_at.timestamp()) if session.is_time_proven else None,
            claims=claims,
            id_token_claims=id_token_claims,
            created_at=now,
            expires_at=now + policy.broker.lifetimes.access_token,
            customer=session.customer,
            consent=handoff.consent if handoff else (consent.id if consent else None),
            handoff=handoff.id if handoff else None,
            handoff_claim=_handoff_claim(handoff) if handoff else {},
            family=family,
            target=_target(ask.partner, session, policy) if handoff is None else None,
            way=session.way,
            lenders=tuple(way for name, way in session.lent.items() if name in claims or name in id_token_claims),
        )


def _pushed_name(reference: str, partner: str) -> str:
    """security: under this name there is nothing for another client, not even to be kept alive."""
    return name_of(f"{reference}.{partner}")


def _target(partner: str, session: Session, policy: Policy) -> Target | None:
    """
    Whom the partner's access tokens are for besides ourselves.

    security: never for a handoff, whose data right would then be in the hands of a resource server.
    """
    resource = policy.resource_of(partner)
    known = policy.partner(partner)
    if resource is None or known is None or known.oidc is None:
        return None
    alg = resource.token_alg.value if known.oidc.access_token.format is TokenFormat.JWT else None
    return Target(resource.id, resource.audience, session.subjects[resource.sector], alg)


def _is_agent(partner: str, session: Session, policy: Policy) -> bool:
    """Whether the partner's tokens for this session may do what an agent of customer service may."""
    desk = policy.config.service_desk
    if desk is None or partner not in desk.clients:
        return False
    return session.upstream in desk.upstreams and desk.role in session.roles


def _family(partner: str, release: Release, policy: Policy, now: datetime) -> Family | None:
    """Refresh tokens where the customer (or the agreement) lets the partner stay; never for a handoff."""
    known = policy.partner(partner)
    terms = known.refresh_tokens if known else None
    if known is None or terms is None or not release.is_offline:
        return None
    return refreshing.begin(now=now, lifetime=terms.lifetime, idle=terms.idle, rotates=known.rules.rotates)


def _grant_ttl_s(grant: Grant, now: datetime) -> float:
    until = refreshing.expires_at(grant.family) if grant.family else grant.expires_at
    return max(1.0, (max(until, grant.expires_at) - now).total_seconds())


def _handoff_claim(handoff: Handoff) -> dict[str, str]:
    """The ``handoff`` claim of the ID token: references only, never the data."""
    return {
        "id": handoff.id,
        "source": handoff.source,
        "purpose": handoff.purpose,
        "type": handoff.type,
        "consent_id": handoff.consent or "",
        "created_at": handoff.created_at.isoformat(timespec="seconds"),
        "expires_at": handoff.expires_at.isoformat(timespec="seconds"),
    }
