"""How often codes are sent and tried: what is narrow refuses first, and a peak locks nobody out."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from broker.core.changing import replace
from broker.flows.limits import SMS_WATCHED_LEAST, CodeLimits, Limits, Message, SmsLimits, prefix_of
from broker.stores.memory import MemoryState
from broker.stores.sealing import Digester
from tests.stage import Clock

VALIDITY = timedelta(minutes=5)
NUMBER = "+46701740605"

MAIL = Message("login-1", "maja@example.com", "192.0.2.1", "tyre-shop")
SMS = Message("login-1", NUMBER, "192.0.2.1", "tyre-shop", block=NUMBER[:-4], country="SE")


class World:
    """Limits on a state store whose time is played."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.state = MemoryState(clock=self.clock.monotonic)
        self.digester = Digester(b"0" * 32, "lookup")

    def of(self, kind: str, limits: CodeLimits | None = None) -> Limits:
        given = limits or (SmsLimits() if kind == "sms" else CodeLimits())
        return Limits(kind, given, self.state, self.digester, self.clock)

    async def many(self, limits: Limits, message: Message, count: int) -> list[str | None]:
        """The answers to *count* messages, each of a login of its own."""
        return [await limits.reached(replace(message, login=f"login-{index}")) for index in range(count)]


@pytest.fixture
def world() -> World:
    return World()


# Sending


async def test_three_in_ten_minutes_to_one_address(world: World) -> None:
    """The fourth is refused, whichever login asks; ten minutes later it is not."""
    limits = world.of("email")
    assert await world.many(limits, MAIL, 4) == [None, None, None, "address"]
    world.clock.forward(minutes=10)
    assert await limits.reached(replace(MAIL, login="later")) is None


async def test_ten_a_day_to_one_address(world: World) -> None:
    """However they are spread over the day."""
    limits = world.of("email")
    answers = []
    for index in range(11):
        world.clock.forward(minutes=11)
        answers.append(await limits.reached(replace(MAIL, login=f"login-{index}")))
    assert answers == [None] * 10 + ["address_day"]
    world.clock.forward(hours=24)
    assert await limits.reached(replace(MAIL, login="tomorrow")) is None


async def test_one_login_asks_for_five(world: World) -> None:
    """Of whatever addresses: nobody tries out addresses from one page."""
    limits = world.of("email")
    answers = [await limits.reached(replace(MAIL, address=f"maja{index}@example.com")) for index in range(6)]
    assert answers == [None] * 5 + ["login"]


async def test_whoever_is_refused_uses_up_nothing_wider(world: World) -> None:
    """A thousand refused messages to one address cost its owner no more of the day, and others nothing of their network."""
    limits = world.of("email")
    await world.many(limits, MAIL, 1000)
    world.clock.forward(minutes=10)
    assert await limits.reached(replace(MAIL, login="her own")) is None
    assert await limits.reached(replace(MAIL, login="another", address="karl@example.com")) is None


async def test_a_peak_behind_one_address_is_honest(world: World) -> None:
    """Two hundred customers of one office or mobile carrier log in within ten minutes."""
    limits = world.of("email")
    answers = [
        await limits.reached(replace(MAIL, login=f"login-{index}", address=f"customer{index}@example.com"))
        for index in range(201)
    ]
    assert answers == [None] * 200 + ["network"]


async def test_a_network_of_ipv6_is_counted_as_one(world: World) -> None:
    """One customer has a /64; its addresses are no way around."""
    limits = world.of("email", CodeLimits(per_network_10_minutes=10))
    answers = [
        await limits.reached(Message(f"login-{index}", f"m{index}@example.com", f"2001:db8::{index:x}", ""))
        for index in range(11)
    ]
    assert answers[-1] == "network"


async def test_numbers_of_one_block(world: World) -> None:
    """Numbers that are rented together are counted together, however many there are."""
    limits = world.of("sms")
    answers = [
        await limits.reached(replace(SMS, login=f"login-{index}", address=f"{NUMBER[:-4]}{index:04}"))
        for index in range(31)
    ]
    assert answers == [None] * 30 + ["block"]


async def test_a_country_has_its_hour(world: World) -> None:
    """And another country is not held up by it."""
    limits = world.of("sms", SmsLimits(per_country_hour=10))

    def message(index: int, country: str) -> Message:
        return Message(f"{country}{index}", f"+{country}{index}", f"192.0.2.{index}", "", f"+{country}{index}", country)

    answers = [await limits.reached(message(index, "SE")) for index in range(11)]
    assert answers == [None] * 10 + ["country"]
    assert await limits.reached(message(1, "FI")) is None


async def test_a_partner_has_its_day(world: World) -> None:
    """What one partner's customers may cost; customers of another partner go on."""
    limits = world.of("sms", SmsLimits(per_partner_day=10))

    def message(index: int, partner: str) -> Message:
        return Message(f"{partner}{index}", f"+4670{index:07}", f"192.0.2.{index}", partner, f"+4670{index:03}", "SE")

    answers = [await limits.reached(message(index, "tyre-shop")) for index in range(11)]
    assert answers == [None] * 10 + ["partner"]
    assert await limits.reached(message(99, "garage")) is None


async def test_mail_and_text_messages_are_counted_apart(world: World) -> None:
    """Mail costs a number nothing, and the other way round."""
    await world.many(world.of("email"), MAIL, 4)
    assert await world.of("sms").reached(replace(SMS, address=MAIL.address)) is None


@pytest.mark.parametrize(
    "given",
    [{"per_address_10_minutes": 6}, {"per_address_10_minutes": 0}, {"per_address_day": 21}, {"tries_per_hour": 21},
     {"per_login": 21}, {"per_network_10_minutes": 9}, {"tries_per_network_hour": 99}, {"tries_per_code": 6}],
)  # fmt: skip
def test_limits_stay_within_bounds(given: dict[str, int]) -> None:
    """An operator cannot lift them to where they protect nobody; tries per code cannot be moved at all."""
    with pytest.raises(ValidationError):
        CodeLimits.model_validate(given)


# Trying


async def test_ten_tries_an_hour(world: World) -> None:
    """For one address, over all codes and networks."""
    limits = world.of("email")
    may = [
        limits.may_try(*await world.state.run(*limits.tries(f"code-{index}", MAIL.address, f"192.0.2.{index}")))
        for index in range(11)
    ]
    assert may == [True] * 10 + [False]
    world.clock.forward(hours=1)
    assert limits.may_try(*await world.state.run(*limits.tries("code", MAIL.address, "192.0.2.1")))


async def test_a_network_tries_many_addresses_only_so_often(world: World) -> None:
    """One guess each at very many addresses is guessing too."""
    limits = world.of("email", CodeLimits(tries_per_network_hour=100))
    may = [
        limits.may_try(*await world.state.run(*limits.tries(f"code-{index}", f"m{index}@example.com", "192.0.2.1")))
        for index in range(101)
    ]
    assert may == [True] * 100 + [False]


# SMS pumping


async def sent(world: World, limits: Limits, count: int, *, used: int = 0, number: str = NUMBER) -> None:
    for index in range(count):
        at = world.clock()
        await limits.sent(number, f"code-{at.timestamp()}-{index}", at)
        if index < used:
            await limits.used(number, f"code-{at.timestamp()}-{index}", at)


@pytest.mark.parametrize(
    ("count", "used", "stopped"), [(20, 3, True), (20, 4, False), (19, 0, False), (100, 19, True), (100, 20, False)]
)
async def test_one_in_five_must_be_used(world: World, count: int, used: int, stopped: bool) -> None:
    """Below a fifth, and where there are enough to judge by."""
    limits = world.of("sms")
    await sent(world, limits, count, used=used)
    world.clock.forward(minutes=5)
    assert await limits.is_stopped(NUMBER, VALIDITY) is stopped


async def test_nobody_is_judged_by_what_may_still_be_used(world: World) -> None:
    """A peak of messages a moment ago says nothing yet."""
    limits = world.of("sms")
    await sent(world, limits, 90)
    world.clock.forward(seconds=299)
    assert not await limits.is_stopped(NUMBER, VALIDITY)


async def test_another_range_goes_on(world: World) -> None:
    """Only numbers that begin alike are stopped."""
    limits = world.of("sms")
    await sent(world, limits, SMS_WATCHED_LEAST)
    world.clock.forward(minutes=5)
    assert await limits.is_stopped("+46701999999", VALIDITY)
    assert not await limits.is_stopped("+46731740605", VALIDITY)
    assert not await limits.is_stopped("+35850123456", VALIDITY)


async def test_it_recovers_by_itself(world: World) -> None:
    """What was sent grows old within the hour; then it is tried again."""
    limits = world.of("sms")
    await sent(world, limits, 50)
    world.clock.forward(minutes=59)
    assert await limits.is_stopped(NUMBER, VALIDITY)
    world.clock.forward(minutes=1)
    assert not await limits.is_stopped(NUMBER, VALIDITY)


async def test_a_code_counts_as_used_once(world: World) -> None:
    """Nobody makes a range look honest by using one code often."""
    limits = world.of("sms")
    at = world.clock()
    await sent(world, limits, 20)
    for _ in range(20):
        await limits.used(NUMBER, f"code-{at.timestamp()}-0", at)
        await limits.used(NUMBER, "invented", at)
    world.clock.forward(minutes=5)
    assert await limits.is_stopped(NUMBER, VALIDITY)


async def test_the_alarm_is_news_once_an_hour(world: World) -> None:
    """The operator reads one line, not one for each message that is refused."""
    limits = world.of("sms")
    assert [await limits.is_alarming(NUMBER) for _ in range(3)] == [True, False, False]
    world.clock.forward(hours=1)
    assert await limits.is_alarming(NUMBER)


def test_a_prefix_names_nobody() -> None:
    """What the log names is a range of very many numbers."""
    assert prefix_of(NUMBER) == "+46701"


async def test_keys_tell_nothing(world: World) -> None:
    """Neither address nor number nor network is in any key of the store."""
    for kind, message in (("email", MAIL), ("sms", SMS)):
        limits = world.of(kind)
        await limits.reached(message)
        await world.state.run(*limits.tries("code", message.address, message.network))
    limits = world.of("sms")
    await sent(world, limits, 2, used=1)
    keys = " ".join([*world.state._entries, *world.state._lists])
    for secret in ("maja", "example.com", "46701", "192.0.2", "tyre-shop"):
        assert secret not in keys


# By a member number


async def by_number(world: World, limits: Limits, count: int) -> list[str | None]:
    """The answers to *count* messages for one number, each of a login of its own."""
    asked = replace(MAIL, address="tyre-shop M-1042")
    logins = [f"{world.clock()} {index}" for index in range(count)]
    return [await limits.reached_by_number(replace(asked, login=login)) for login in logins]


async def on_file(limits: Limits, message: Message, count: int) -> list[str | None]:
    """The same for the contact on file."""
    return [await limits.reached_on_file(message) for _ in range(count)]


async def test_a_number_is_counted_as_an_address(world: World) -> None:
    """Three in ten minutes, ten a day."""
    limits = world.of("email")
    assert await by_number(world, limits, 4) == [None, None, None, "number"]
    for _ in range(7):
        world.clock.forward(minutes=11)
        assert await by_number(world, limits, 1) == [None]
    world.clock.forward(minutes=11)
    assert await by_number(world, limits, 1) == ["number_day"]


async def test_a_number_counts_for_login_and_network(world: World) -> None:
    """Whoever tries many numbers reaches the limit of his network, as with addresses, and shares it with them."""
    limits = world.of("email", CodeLimits(per_network_10_minutes=10))
    for index in range(5):
        assert await limits.reached_by_number(replace(MAIL, login=f"a{index}", address=f"M-{index}")) is None
        assert await limits.reached(replace(MAIL, login=f"b{index}", address=f"{index}@example.com")) is None
    assert await limits.reached_by_number(replace(MAIL, login="c", address="M-9")) == "network"
    limits = world.of("email")
    answers = [
        await limits.reached_by_number(replace(MAIL, address=f"L-{i}", network=f"198.51.100.{i}")) for i in range(6)
    ]
    assert answers[-1] == "login"


async def test_the_contact_on_file_is_counted_apart(world: World) -> None:
    """What went there by numbers is not told to whoever types the address; what went there by its name counts for both."""
    limits = world.of("email")
    assert await on_file(limits, MAIL, 4) == [None, None, None, "on_file"]
    assert await world.many(limits, MAIL, 4) == [None, None, None, "address"]
    world.clock.forward(minutes=11)
    assert await world.many(limits, MAIL, 3) == [None, None, None]
    assert await on_file(limits, MAIL, 1) == ["address"]


async def test_the_contact_on_file_for_a_day(world: World) -> None:
    """Ten, and then none until tomorrow."""
    limits = world.of("email")
    for _ in range(10):
        world.clock.forward(minutes=11)
        assert await on_file(limits, MAIL, 1) == [None]
    world.clock.forward(minutes=11)
    assert await on_file(limits, MAIL, 1) == ["on_file_day"]


async def test_text_messages_by_a_number_cost_as_much(world: World) -> None:
    """
    Block, country and partner have the same limits, counted apart: else whoever fills a block by name would see by its limit that
    a member's number is in it. What was sent by name counts for both.
    """
    limits = world.of("sms", SmsLimits(per_block_10_minutes=5))
    for index in range(5):
        assert await limits.reached_on_file(replace(SMS, address=f"+4670174060{index}")) is None
    assert await limits.reached_on_file(replace(SMS, address="+46701740609")) == "on_file_block"
    for index in range(5):
        mine = replace(SMS, address=f"+4670174061{index}", login=f"login-{index}")
        assert await limits.reached(mine) is None
    assert await limits.reached(replace(SMS, address="+46701740618", login="login-8")) == "block"
    assert await limits.reached_on_file(replace(SMS, address="+46701740620")) == "block"


async def test_a_partners_text_messages_by_numbers(world: World) -> None:
    """Told to nobody either, who asks by an address."""
    limits = world.of("sms", SmsLimits(per_partner_day=10))
    for index in range(10):
        assert await limits.reached_on_file(replace(SMS, address=f"+4670174060{index}")) is None
    assert await limits.reached_on_file(replace(SMS, address="+46701740610")) == "on_file_partner"
    assert await limits.reached(SMS) is None


async def test_a_range_is_watched_apart_for_numbers_on_file(world: World) -> None:
    """What nobody typed in stops messages by number there, which nobody who gives an address sees; by name it stops both."""
    limits = world.of("sms")
    at = world.clock()
    for index in range(30):
        await limits.sent(NUMBER, f"code-{index}", at, on_file=True)
    world.clock.forward(minutes=6)
    assert await limits.is_stopped(NUMBER, VALIDITY, on_file=True)
    assert not await limits.is_stopped(NUMBER, VALIDITY)
    other = world.of("sms")
    for index in range(30):
        await other.sent("+46731740605", f"code-{index}", at)
    assert await other.is_stopped("+46731740605", VALIDITY, on_file=True)
    assert await other.is_stopped("+46731740605", VALIDITY)


async def test_a_number_that_is_nobodys_costs_nothing(world: World) -> None:
    """Else numbers nobody has would use up what a partner may send in a day."""
    limits = world.of("sms", SmsLimits(per_partner_day=10))
    for index in range(12):
        assert await limits.reached_on_file(Message("login-1", f"tyre-shop M-{index}", "", "tyre-shop")) is None
    assert await limits.reached(SMS) is None
    assert await limits.reached_on_file(replace(SMS, address="+46701740699")) is None


async def test_tries_by_number_and_on_file(world: World) -> None:
    """Ten an hour for the number, and ten for the contact however many numbers it has."""
    limits = world.of("email")
    for count in range(1, 12):
        counts = await world.state.run(*limits.tries_by_number(f"code-{count}", "tyre-shop M-1042", "192.0.2.1"))
        assert limits.may_try(*counts) is (count <= 10)
        (of_contact,) = await world.state.run(limits.tries_on_file("maja@example.com"))
        assert limits.may_try_on_file(of_contact) is (count <= 10)
    assert limits.may_try(*await world.state.run(*limits.tries("code", "maja@example.com", "192.0.2.1")))
