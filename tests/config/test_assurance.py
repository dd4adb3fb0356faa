"""What is refused of costs and age limits, and what an operator reads then."""

import pytest

from broker.core.policy import Cost

from .conftest import Bench

COST = "    cost: {amount: 0.25, currency: SEK}\n"
GOOGLE = "    # A Google account proves an e-mail address"


@pytest.mark.parametrize(
    ("cost", "key", "advice"),
    [
        ('{amount: "0.25", currency: SEK}', "amount", "an amount is a number, such as 0.25"),
        ("{amount: true, currency: SEK}", "amount", "an amount is a number, such as 0.25"),
        ("{amount: -1, currency: SEK}", "amount", "must be at least 0"),
        ("{amount: 1001, currency: SEK}", "amount", "must be at most 1000"),
        (
            "{amount: 0.25, currency: kr}",
            "currency",
            "must be the three capital letters of a currency, such as SEK (ISO 4217)",
        ),
        ("{amount: 0.25}", "currency", "is missing"),
    ],
)
def test_a_cost_is_an_amount_and_a_currency(bench: Bench, cost: str, key: str, advice: str) -> None:
    """Each mistake at its own key."""
    bench.edit((COST, f"    cost: {cost}\n"))
    (problem,) = bench.problems()
    assert problem.split(" ", 1)[1].startswith(f"upstreams.bankid.cost.{key}: {advice}"), problem


def test_costs_are_in_one_currency(bench: Bench) -> None:
    """They are compared with each other: the second currency is the mistake."""
    bench.edit((GOOGLE, f"    cost: {{amount: 1, currency: EUR}}\n{GOOGLE}"))
    assert bench.problems() == (
        bench.sentence(
            "currency: EUR",
            "upstreams.google.cost.currency",
            "is another one than SEK of upstreams.bankid: costs are compared",
        ),
    )


def test_a_stronger_proof_never_counts_longer_than_a_weaker_one(bench: Bench) -> None:
    """Else a login would get stronger by waiting."""
    bench.edit(("\nupstreams:\n", "\nassurance:\n  max_age: {low: 6h}\nupstreams:\n"))
    (problem,) = bench.problems()
    assert problem.endswith("assurance.max_age: a weaker level must count at least as long as a stronger one")


def test_amounts_are_what_was_written(bench: Bench) -> None:
    """No binary fraction of it."""
    bench.edit((COST, "    cost: {amount: 0.1, currency: SEK}\n"))
    cost = bench.load().policy.config.upstreams["bankid"].cost
    assert isinstance(cost, Cost)
    assert str(cost.amount) == "0.1"
