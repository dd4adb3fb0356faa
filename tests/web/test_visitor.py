"""Who is at the other end: what a stranger may write into a header decides nothing and fills nothing."""

import tracemalloc
from ipaddress import ip_network

import pytest

from broker.web.visitor import Proxies

OURS = Proxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))


@pytest.mark.parametrize(
    ("forwarded_for", "found"),
    [
        ("", "10.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("198.51.100.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("198.51.100.9, nonsense, 10.0.0.2", "10.0.0.1"),
        (f"{'198.51.100.9, ' * 5_000}192.0.2.7, fd00::2", "192.0.2.7"),
        (f"{'x' * 60_000}, 192.0.2.7", "192.0.2.7"),
        (f"{'x' * 60_000}", "10.0.0.1"),
        (f"198.51.100.9, {'10.0.0.2, ' * 6_000}10.0.0.3", "10.0.0.2"),
        (f"11.0.0.4,{','.join(['10.0.0.2'] * 200)}", "10.0.0.2"),
    ],
    ids=["none", "one", "nearest", "no-address", "many", "long", "only-long", "ours-only", "cut"],
)
def test_the_nearest_hop_that_is_not_ours(forwarded_for: str, found: str) -> None:
    """Of what was said to our proxies only the end counts; what stands before it was written by anybody (docs/security.md E3)."""
    assert OURS.client_address("10.0.0.1", forwarded_for) == found
    assert OURS.client_address("192.0.2.1", forwarded_for) == "192.0.2.1"


def test_strangers_fill_no_memory() -> None:
    """security: what is kept of headers is small, however long and however many they are (docs/security.md E5)."""
    proxies = Proxies((ip_network("10.0.0.0/8"),))
    tracemalloc.start()
    try:
        for number in range(2_500):
            for peer in ("10.0.0.1", "192.0.2.1"):
                proxies.client_address(peer, f"{'x' * 20_000}, {number}")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3_000_000
