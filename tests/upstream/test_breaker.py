"""A provider that keeps failing rests, customers see the other ways in, and it comes back by itself."""

from broker.upstream.breaker import FAILURES, REST, Breaker
from tests.stage import Clock, Stage


def test_so_many_failures_in_a_row_and_it_rests() -> None:
    """Fewer change nothing; an answer in between starts the count anew."""
    breaker = Breaker(Clock())
    for _ in range(2):
        assert [breaker.failed("google") for _ in range(FAILURES - 1)] == [False] * (FAILURES - 1)
        breaker.worked("google")
    assert breaker.resting() == frozenset()


def test_it_rests_for_a_while_and_one_more_failure_is_a_new_rest() -> None:
    """After the rest the next customer tries; nobody else's provider is touched."""
    clock = Clock()
    breaker = Breaker(clock)
    assert [breaker.failed("google") for _ in range(FAILURES)][-1] is True
    assert breaker.resting() == {"google"}
    clock.forward(seconds=REST.total_seconds())
    assert breaker.resting() == frozenset()
    assert breaker.failed("google") is True
    assert breaker.resting() == {"google"}
    clock.forward(seconds=REST.total_seconds())
    breaker.worked("google")
    assert breaker.failed("google") is False


async def test_customers_are_shown_the_other_ways_in(staged: Stage) -> None:
    """Each failure leads back to the choice with a word about it; then it is shown as unavailable, until it is well."""
    staged.connectors["google"].is_down = True
    for _ in range(FAILURES):
        browser = staged.browser()
        await browser.follow(await browser.get(staged.shop.request()))
        page = await browser.follow(await browser.press("method-google"))
        assert "method-bankid" in page.ids
    other = staged.browser()
    page = await other.follow(await other.get(staged.shop.request()))
    assert "method-bankid" in page.ids, "she is not sent there without a word"
    assert "ill-google" in page.ids
    assert "method-google" not in page.ids
    assert "google" in (await staged.client.get("/readyz")).json()["unavailable_upstreams"]
    assert (await staged.client.get("/readyz")).status_code == 200

    staged.connectors["bankid"].is_down = True
    for _ in range(FAILURES):
        page = await other.follow(await other.press("method-bankid"))
    assert (page.status, page.headers["retry-after"]) == (503, str(int(REST.total_seconds())))
    assert {"ill-google", "ill-bankid", "try-again", "cancel"} <= page.ids
    assert "method-bankid" not in page.ids

    staged.connectors["google"].is_down = staged.connectors["bankid"].is_down = False
    staged.clock.forward(seconds=REST.total_seconds())
    again = staged.browser()
    await again.follow(await again.get(staged.shop.request()))
    assert (await staged.shop.exchange(await again.log_in("google", "maja")))["claims"]["sub"]
