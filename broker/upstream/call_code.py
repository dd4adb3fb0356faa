"""
Customer service asks a caller by a code: it goes to the contact she says is hers, if a customer of ours has proven it, and she
reads it out.

* The agent sees the same, equally fast, whether the contact is anybody's or not: whose it is, is looked up beside the request,
  by whoever sends the message. Limits are those of the address, as for logins.
* Such a code is no login's, and a login's is none of these: it is bound to the agent's case, under a digest of its own. The
  message says whom it is for, and has no line that a browser would fill in by itself.
* She reads it to a person. Somebody may pass for that person, as on any phone: it proves a contact, and not more.
"""

import hmac
import secrets
from datetime import datetime, timedelta
from typing import Final

import msgspec

from broker.errors import BadAsk, StoreDown, UpstreamRefused
from broker.flows.limits import TRIES_PER_CODE, TRY_AFTER
from broker.notify.ports import Accepted, Reason, Rejected, Sent
from broker.observe.logging import log
from broker.upstream.one_time_code import Address, CodeConnector, Letter, read_code
from broker.upstream.port import Call, Done, Ringing

_SENT: Final = "call.code.sent"


class CallState(msgspec.Struct, frozen=True):
    """A code that is to be read out. ``id``: what its tries are counted by; ``mac``: keyed digest of it."""

    stated: str
    binding: str
    id: str
    mac: str
    sent_at: datetime
    until: datetime
    try_at: datetime


_decoder = msgspec.msgpack.Decoder(CallState)


class CallCodeConnector(CodeConnector):
    """A `CodeConnector` that customer service can ask callers by (`broker.upstream.port.CodeCallConnector`)."""

    @property
    def code_life(self) -> timedelta:
        """How long a code may be read out."""
        return self._validity

    async def begin_call(self, call: Call) -> bytes:
        """
        Have a code sent, if somebody has proven the contact that she states.

        Raises: BadAsk: it cannot be one. UpstreamRefused: a limit is reached.
        """
        stated = call.identifier.strip()
        to = self.read(stated)
        if isinstance(to, str):
            raise BadAsk("not a contact a code can go to", code="call.contact")
        if (limit := await self._limit_reached(to, call.binding, call.network, "")) is not None:
            raise UpstreamRefused("a limit is reached", code=f"rate.code_{limit}", message_key="call.code.limit")
        digits, ref = self._draw(), secrets.token_urlsafe(12)
        mac = self._call_mac(call.binding, digits)
        held = CallState(stated, call.binding, ref, mac, call.now, call.now + self._validity, call.now)
        self._post(to, held, self._call_letter(call, digits))
        return msgspec.msgpack.encode(held)

    async def look_at_call(self, state: bytes, now: datetime) -> Ringing:
        """There is nothing to learn but from the agent. Raises: UpstreamRefused: it is too late."""
        self._living(state, now)
        return Ringing(state, _SENT)

    async def try_code(self, state: bytes, typed: str, network: str, now: datetime) -> Done | Ringing:
        """
        The agent *typed* what she read out.

        Raises: UpstreamRefused: too late, or too many wrong ones.
        """
        held, to, digits = *self._living(state, now), read_code(typed)
        if digits is None:
            return Ringing(state, "call.code.malformed")
        if now < held.try_at:
            # security: not compared, so it need not be counted
            return Ringing(state, "call.code.slow")
        # security: counted before it is compared
        tried = await self._codes.tried(held.id, to.canonical, network)
        if tried.is_void:
            raise self._over()
        if tried.is_refused:
            log("one_time_code.refused", "warning", upstream=self.id, code="rate.code_tries")
            return Ringing(state, "call.code.too_many_tries")
        if hmac.compare_digest(held.mac, self._call_mac(held.binding, digits)):
            return await self._read_out(held, to, now)
        log("one_time_code.wrong", upstream=self.id, tried=tried.count)
        if tried.count >= TRIES_PER_CODE:
            raise self._over()
        later = msgspec.structs.replace(held, try_at=now + TRY_AFTER[tried.count])
        return Ringing(msgspec.msgpack.encode(later), "call.code.wrong")

    async def hang_up(self, state: bytes) -> None:
        """The code goes with the state it is kept in."""
        return

    async def _read_out(self, held: CallState, to: Address, now: datetime) -> Done:
        # security: a code that was never sent proves nothing, not even to whoever guesses it
        if await self._contacts.owner(self.takes, to.canonical) is None:
            raise self._over()
        log(
            "one_time_code.used",
            upstream=self.id,
            way="call",
            took_s={"sent_to_used": (now - held.sent_at).total_seconds()},
        )
        await self.was_used(to, held.id, held.sent_at)
        return self._done(to, now, self.amr_code)

    def _living(self, state: bytes, now: datetime) -> tuple[CallState, Address]:
        held = _decoder.decode(state)
        to = self.read(held.stated)
        if isinstance(to, str) or now >= held.until:
            raise UpstreamRefused("the code counts no more", code="call.code_expired", message_key="call.code.expired")
        return held, to

    def _over(self) -> UpstreamRefused:
        log("one_time_code.void", "warning", upstream=self.id)
        return UpstreamRefused("too many wrong codes", code="call.code_void", message_key="call.code.void")

    def _post(self, to: Address, held: CallState, letter: Letter) -> None:
        async def send() -> Sent:
            if await self._contacts.owner(self.takes, to.canonical) is None:
                return Rejected(Reason.RECIPIENT, code="not_on_file")
            log("one_time_code.sent", upstream=self.id, ref=held.id)
            return await self.send(to, letter, held.id)

        async def tell(sent: Sent) -> None:
            # What became of it is nobody's to know: the agent would learn that there was somebody to write to.
            try:
                if isinstance(sent, Accepted):
                    await self.was_sent(to, held.id, held.sent_at)
            except StoreDown as error:
                log("one_time_code.untold", "warning", upstream=self.id, detail=error.detail)

        self.courier.post(send, tell)

    def _call_letter(self, call: Call, digits: str) -> Letter:
        return Letter(
            code=digits,
            link="",
            disown_link="",
            partner=call.party,
            broker=call.party,
            origin=self._policy().issuer,
            language=call.language,
            minutes=int(self._validity.total_seconds() // 60),
            is_read_out=True,
        )

    def _call_mac(self, binding: str, digits: str) -> str:
        """security: under a name of its own, so that it is nobody's code for logging in, and the other way round."""
        return self._digester.digest("call-code", self.kind, binding, digits)
