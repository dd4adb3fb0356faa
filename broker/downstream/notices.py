"""
Telling partners what is in the outbox; so far, that a session ended (OpenID Connect Back-Channel Logout 1.0).

What was posted in this process a moment ago goes out at once, what is due from earlier in rounds. A token is made for each
attempt, so that it is fresh however long it had to wait. One slow partner holds up neither customers nor other partners.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any

from broker.core.notice import Outcome, outcome_of
from broker.core.policy import PartnerOidc, Policy
from broker.errors import StoreDown, UpstreamDown
from broker.flows.context import Context
from broker.flows.outbox import Errand
from broker.observe.logging import log
from broker.wire.http import Blocked, Fetcher
from broker.wire.jose import Keyring

LOGOUT_TYP = "logout+jwt"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

_LIFE = timedelta(minutes=2)
_EVERY_S = 5.0
_AT_ONCE = 32
_AT_ONE_PARTNER = 4


class Notices:
    """
    The courier; one per process.

    Args:
        fetcher: the way out to partners; closed by `stop`.
        listens: called once in the courier's own task, so that whoever counts events hears its.
    """

    def __init__(
        self, context: Context, keyring: Keyring, fetcher: Fetcher, *, listens: Callable[[], None] = lambda: None
    ) -> None:
        self._c = context
        self._keyring = keyring
        self._fetcher = fetcher
        self._listens = listens
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._slots_of: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONE_PARTNER))

    def start(self) -> None:
        """Begin delivering in the background."""
        self._ending.clear()
        self._c.outbox.is_served = True
        self._task = asyncio.create_task(self._run(), name="notices")

    async def stop(self) -> None:
        """Let what is under way finish (each call has its time limit) and end; what waits is in the database."""
        self._c.outbox.is_served = False
        self._ending.set()
        self._c.outbox.wake.set()
        if self._task is not None:
            await self._task
        await asyncio.gather(*self._running)
        await self._fetcher.close()

    async def round(self) -> int:
        """
        Deliver what is due, whoever posted it. Returns: how many attempts were made.

        A partner that does not answer is not called again in the same round: its other notices wait for the next.
        """
        made = 0
        while claimed := await self._c.outbox.claim():
            silent: set[str] = set()
            await asyncio.gather(*(self._deliver(each, silent) for each in claimed))
            made += len(claimed)
        return made

    async def _run(self) -> None:
        self._listens()
        rounds: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        next_round = loop.time()
        while not self._ending.is_set():
            for each in self._c.outbox.take_fresh():
                self._begin(self._deliver(each, set()))
            if loop.time() >= next_round:
                next_round = loop.time() + _EVERY_S
                if rounds is None or rounds.done():
                    rounds = self._begin(self._quiet_round())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._c.outbox.wake.wait(), next_round - loop.time())

    async def _quiet_round(self) -> None:
        with contextlib.suppress(StoreDown):
            await self.round()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _deliver(self, errand: Errand, silent: set[str]) -> None:
        async with self._slots_of[errand.partner], self._slots:
            if self._c.now() >= errand.until:
                # The lease ran out while we were busy: somebody else may be at it.
                return
            try:
                outcome, result = await self._attempt(errand, silent)
            except Exception as error:
                # A bug of ours is no reason to forget a partner: it is told, or given up, like any other.
                log("fault", "error", kind=type(error).__name__, where="downstream/notices.py")
                outcome, result = Outcome.FAILED, "fault"
        await self._c.outbox.settle(errand, outcome, result)

    async def _attempt(self, errand: Errand, silent: set[str]) -> tuple[Outcome, str]:
        """How it went, and that in a word: a status, or what kept the call from getting one."""
        client = self._client(errand.partner)
        if client is None or client.backchannel_logout_uri is None:
            return Outcome.REFUSED, "no_address"
        if errand.content is None:
            return Outcome.REFUSED, "unreadable"
        if errand.partner in silent:
            return Outcome.FAILED, "unreachable"
        token = self._token(client, errand.content)
        try:
            status = await self._fetcher.post_status(client.backchannel_logout_uri, {"logout_token": token})
        except Blocked as error:
            log("logout.blocked", "warning", partner=errand.partner, detail=error.detail)
            return Outcome.FAILED, "blocked"
        except UpstreamDown:
            silent.add(errand.partner)
            return Outcome.FAILED, "unreachable"
        return outcome_of(status), str(status)

    def _client(self, partner: str) -> PartnerOidc | None:
        known = self._c.policy().partner(partner)
        return known.oidc if known is not None else None

    def _token(self, client: PartnerOidc, content: Mapping[str, str]) -> str:
        claims = logout_claims(self._c.policy(), client.client_id, content, jti=self._c.tokens.id(), now=self._c.now())
        return self._keyring.sign(claims, alg=client.rules.id_token_alg.value, typ=LOGOUT_TYP)


def logout_claims(
    policy: Policy, client_id: str, content: Mapping[str, str], *, jti: str, now: datetime
) -> dict[str, Any]:
    """
    The claims of a logout token (Back-Channel Logout section 2.4); ``sub`` and ``sid`` as in the client's ID tokens.

    security: never a nonce, so that it cannot be passed off as an ID token, and a ``typ`` of its own.
    """
    return {
        "iss": policy.issuer,
        "aud": client_id,
        "iat": int(now.timestamp()),
        "exp": int((now + _LIFE).timestamp()),
        "jti": jti,
        "events": {LOGOUT_EVENT: {}},
        "sub": content["sub"],
        "sid": content["sid"],
    }
