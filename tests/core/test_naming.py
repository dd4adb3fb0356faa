"""Names under which secrets are remembered."""

import pytest

from broker.core.naming import name_of, neighbourhood


def test_a_name_does_not_hold_its_secret() -> None:
    """Whoever reads a store key cannot use it, and two secrets never share one."""
    tokens = [f"token-{number}" for number in range(1000)]
    names = {name_of(token) for token in tokens}
    assert len(names) == len(tokens)
    assert not any("token" in name for name in names)
    assert name_of("token-1") == name_of("token-1")


def test_a_name_fits_a_store_key() -> None:
    """ASCII and short, whatever the token."""
    for token in ("", "å", "x" * 5000, "a:b/c"):
        name = name_of(token)
        assert name.isascii()
        assert len(name) == 32
        assert ":" not in name


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_address_is_counted_with_its_neighbours(address: str, counted_as: str) -> None:
    """An IPv6 customer has 2^64 addresses; limits per address would be none."""
    assert neighbourhood(address) == counted_as
