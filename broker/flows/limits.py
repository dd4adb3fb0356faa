"""
How often codes are sent to somebody and how often they are guessed at: the one place with the numbers.

Everything is counted in the state store, which all processes share, under keyed digests: neither an address nor a number
can be read there. What is narrow is asked first (the login, then the address), what many honest people share comes last and
is wide (a mobile carrier's address, a country, a partner in its campaign); whoever is refused at one limit counts at none of
the wider ones, so that nobody uses up what belongs to all.

Against SMS pumping (somebody earns by the messages we pay for): see `Limits.is_stopped`.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final

from msgspec import Struct
from pydantic import Field

from broker.core.changing import replace
from broker.core.naming import neighbourhood
from broker.core.policy import Strict
from broker.flows.context import Clock
from broker.stores.ports import Count, Enlist, Get, Listed, Op, PutNew, StateStore
from broker.stores.sealing import Digester

TRIES_PER_CODE: Final = 5
RESEND_AFTER: Final = timedelta(seconds=30)

TRY_AFTER: Final = tuple(timedelta(seconds=seconds) for seconds in (0, 0, 1, 3, 8))
"""How long after so many wrong codes the next one is looked at: people take longer to type it, programs do not."""

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR

SMS_WATCHED_S: Final = _HOUR
_SMS_WATCHED_MOST: Final = 100
SMS_WATCHED_LEAST: Final = 20
"""Fewer messages to a prefix than this prove nothing."""

SMS_LEAST_USED: Final = 0.2
_PREFIX: Final = 6
"""The plus sign and five digits: a country and the first digits of a range within it."""


class CodeLimits(Strict):
    """
    Limits for codes by any way; each may be moved within bounds that stay safe.

    ``per_login``: messages for one login, in an hour. ``per_address_10_minutes``, ``per_address_day``: messages to one
    address or number. ``per_network_10_minutes``: messages asked for from one network address (an IPv6 address being its
    /64), which offices and mobile carriers share. ``tries_per_hour``: codes tried for one address or number, over all logins.
    ``tries_per_network_hour``: codes tried from one network address.
    """

    per_login: Annotated[int, Field(ge=1, le=20)] = 5
    per_address_10_minutes: Annotated[int, Field(ge=1, le=5)] = 3
    per_address_day: Annotated[int, Field(ge=3, le=20)] = 10
    per_network_10_minutes: Annotated[int, Field(ge=10, le=10_000)] = 200
    tries_per_hour: Annotated[int, Field(ge=5, le=20)] = 10
    tries_per_network_hour: Annotated[int, Field(ge=100, le=100_000)] = 1000


class SmsLimits(CodeLimits):
    """
    Limits for text messages, which cost.

    ``per_block_10_minutes``: messages to numbers that differ in their last four digits only. ``per_country_hour``: to one
    country. ``per_partner_day``: for logins at one partner.
    """

    per_network_10_minutes: Annotated[int, Field(ge=10, le=10_000)] = 100
    per_block_10_minutes: Annotated[int, Field(ge=5, le=1000)] = 30
    per_country_hour: Annotated[int, Field(ge=10, le=1_000_000)] = 5000
    per_partner_day: Annotated[int, Field(ge=10, le=1_000_000)] = 5000


_ON_FILE: Final = {
    "address": "on_file",
    "address_day": "on_file_day",
    "block": "on_file_block",
    "country": "on_file_country",
    "partner": "on_file_partner",
}
"""What is counted apart for messages to a contact on file."""


class Message(Struct, frozen=True):
    """
    A message that somebody asks for.

    ``login``: id of the journey. ``address``: canonical. ``network``: the customer's network address. ``partner``: where she
    is heading, may be empty. ``block``, ``country``: of a phone number.
    """

    login: str
    address: str
    network: str
    partner: str
    block: str | None = None
    country: str | None = None


class _Limit(Struct, frozen=True):
    name: str
    whom: str
    most: int
    window_s: int


class Limits:
    """
    The limits of one way of sending codes.

    Args:
        kind: ``email`` or ``sms``; addresses of one kind are counted together, whatever the upstream is called.
    """

    def __init__(self, kind: str, limits: CodeLimits, state: StateStore, digester: Digester, clock: Clock) -> None:
        self._kind = kind
        self._limits = limits
        self._state = state
        self._digester = digester
        self._clock = clock

    async def reached(self, message: Message) -> str | None:
        """Count *message*. Returns: the name of the limit that refuses it (docs/events.md), None when it may be sent."""
        return await self._reached(self._stages(message))

    # security: codes by a member number. What is counted by the number may be told, for it is the same whether there is such a
    # member or not. What is counted by the contact on file is told to nobody, and neither uses up what others are told of that
    # contact (nor are they told what was used up here): else the one could be searched for by the other.

    async def reached_by_number(self, message: Message) -> str | None:
        """As `reached`, for a message to whoever the member number is of that stands in for the ``address``."""
        limits = self._limits
        return await self._reached(
            (
                [_Limit("login", message.login, limits.per_login, _HOUR)],
                [_Limit("number", message.address, limits.per_address_10_minutes, 600)],
                [_Limit("number_day", message.address, limits.per_address_day, _DAY)],
                [_Limit("network", neighbourhood(message.network), limits.per_network_10_minutes, 600)],
            )
        )

    async def reached_on_file(self, message: Message) -> str | None:
        """As `reached`, for the contact on file, after `reached_by_number`: for nobody but the operator to know."""
        limits = self._limits
        shared = [
            _Limit("address", message.address, limits.per_address_10_minutes, 600),
            _Limit("address_day", message.address, limits.per_address_day, _DAY),
            *self._places(message),
            *self._partners(message),
        ]
        used = await self._state.run(*(Get(self._key(each.name, each.whom)) for each in shared))
        for limit, raw in zip(shared, used, strict=True):
            if raw is not None and int(raw) >= limit.most:
                return limit.name
        address, day, *costs = (replace(each, name=_ON_FILE[each.name]) for each in shared)
        return await self._reached(([address], [day], costs[:-1], costs[-1:]))

    def tries_by_number(self, code: str, number: str, network: str) -> tuple[Op, Op, Op]:
        """As `tries`, by the member number that was given."""
        return self._tries(code, _Limit("tries_number", number, self._limits.tries_per_hour, _HOUR), network)

    def tries_on_file(self, address: str) -> Op:
        """One more try of a code that went to the contact on file; the result is for `may_try_on_file`."""
        return self._count(_Limit("tries_on_file", address, self._limits.tries_per_hour, _HOUR))

    def may_try_on_file(self, of_address: int) -> bool:
        """As `may_try`, by the result of `tries_on_file`."""
        return of_address <= self._limits.tries_per_hour

    async def _reached(self, stages: Iterable[Sequence[_Limit]]) -> str | None:
        for stage in filter(None, stages):
            counts = await self._state.run(*(self._count(limit) for limit in stage))
            for limit, count in zip(stage, counts, strict=True):
                if count > limit.most:
                    return limit.name
        return None

    def tries(self, code: str, address: str, network: str) -> tuple[Op, Op, Op]:
        """One more try of *code*: operations for the caller's own round trip, their results being for `may_try`."""
        return self._tries(code, _Limit("tries_address", address, self._limits.tries_per_hour, _HOUR), network)

    def _tries(self, code: str, of: _Limit, network: str) -> tuple[Op, Op, Op]:
        limits = self._limits
        return (
            Count(self._key("tries", code), _HOUR),
            self._count(of),
            self._count(_Limit("tries_network", neighbourhood(network), limits.tries_per_network_hour, _HOUR)),
        )

    def may_try(self, of_code: int, of_address: int, of_network: int) -> bool:
        """Whether a code may be compared at all, by the results of `tries`, as far as address and network go."""
        return of_address <= self._limits.tries_per_hour and of_network <= self._limits.tries_per_network_hour

    # security: SMS pumping. Whoever lets us send to numbers of a range that pays him types no codes in.

    async def is_stopped(self, number: str, validity: timedelta, *, on_file: bool = False) -> bool:
        """
        Whether nothing is sent to numbers like *number* (E.164) for now, because hardly anybody there uses the codes.

        security: what went to numbers *on file* is watched apart, and does not stop others, who would be told by it.

        Looks at those that had *validity* to be used, at most the latest hundred of an hour. It ends by itself: what is not
        sent grows old, until there is too little left to judge by.
        """
        kinds = ("sms", "sms_on_file") if on_file else ("sms",)
        keys = [self._key(f"{kind}_{what}", prefix_of(number)) for kind in kinds for what in ("sent", "used")]
        listed = await self._state.run(*(Listed(key) for key in keys))
        pairs = zip(listed[::2], listed[1::2], strict=True)
        return any(self._is_unused(sent, used, validity) for sent, used in pairs)

    def _is_unused(self, sent: Sequence[str], used: Sequence[str], validity: timedelta) -> bool:
        past = (self._clock() - validity).timestamp()
        judged = [member for member in sent if _when(member) <= past]
        was_used = len(set(judged).intersection(used))
        return len(judged) >= SMS_WATCHED_LEAST and was_used < SMS_LEAST_USED * len(judged)

    async def is_alarming(self, number: str) -> bool:
        """That nothing is sent there is news: True once an hour."""
        (is_news,) = await self._state.run(PutNew(self._key("alarm", prefix_of(number)), b"1", SMS_WATCHED_S))
        return bool(is_news)

    async def sent(self, number: str, code: str, at: datetime, *, on_file: bool = False) -> None:
        """A code went to *number*."""
        await self._state.run(self._watched("sms_on_file_sent" if on_file else "sms_sent", number, code, at))

    async def used(self, number: str, code: str, at: datetime, *, on_file: bool = False) -> None:
        """The code that went there *at* that time was typed in."""
        await self._state.run(self._watched("sms_on_file_used" if on_file else "sms_used", number, code, at))

    def _watched(self, what: str, number: str, code: str, at: datetime) -> Enlist:
        key, member = self._key(what, prefix_of(number)), f"{int(at.timestamp())}.{code}"
        return Enlist(key, member, SMS_WATCHED_S, _SMS_WATCHED_MOST)

    def _stages(self, message: Message) -> Iterator[list[_Limit]]:
        limits = self._limits
        yield [_Limit("login", message.login, limits.per_login, _HOUR)]
        yield [_Limit("address", message.address, limits.per_address_10_minutes, 600)]
        yield [_Limit("address_day", message.address, limits.per_address_day, _DAY)]
        network = _Limit("network", neighbourhood(message.network), limits.per_network_10_minutes, 600)
        yield [network, *self._places(message)]
        yield self._partners(message)

    def _places(self, message: Message) -> list[_Limit]:
        """The limits of where messages that cost go; none for mail."""
        limits = self._limits
        if not isinstance(limits, SmsLimits) or message.block is None or message.country is None:
            return []
        block = _Limit("block", message.block, limits.per_block_10_minutes, 600)
        return [block, _Limit("country", message.country, limits.per_country_hour, _HOUR)]

    def _partners(self, message: Message) -> list[_Limit]:
        """The limit of who messages that cost are for; none for mail."""
        limits = self._limits
        if not isinstance(limits, SmsLimits) or message.block is None:
            return []
        return [_Limit("partner", message.partner, limits.per_partner_day, _DAY)]

    def _count(self, limit: _Limit) -> Count:
        return Count(self._key(limit.name, limit.whom), limit.window_s)

    def _key(self, what: str, whom: str) -> str:
        return f"rate:code_{what}:{self._digester.digest('limit', self._kind, what, whom)[:32]}"


def prefix_of(number: str) -> str:
    """The first digits of *number* (E.164): what is watched, and named in the log, together."""
    return number[:_PREFIX]


def _when(member: str) -> float:
    return float(member.partition(".")[0])
