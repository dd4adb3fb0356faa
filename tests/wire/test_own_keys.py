"""Keys that development makes for itself: once, for this user only, whoever is first."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from broker.wire.jose import Keyring
from broker.wire.own_keys import own_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


def test_a_restart_finds_the_same_keys(folder: Path) -> None:
    """So sessions and subjects outlive it; what is there is not touched."""
    first = own_keys(folder)
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert own_keys(folder) == first
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_the_keys_are_what_the_broker_needs(folder: Path) -> None:
    """RSA of 2048 bits, EC P-256 and 32 random bytes; the keyring takes them."""
    made = own_keys(folder)
    rsa_key, ec_key = (load_pem_private_key(pem, password=None) for pem in made.signing)
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    assert rsa_key.key_size == 2048
    assert isinstance(ec_key, ec.EllipticCurvePrivateKey)
    assert len(made.secret) == 32
    assert len(json.loads(Keyring(made.signing).jwks())["keys"]) == 2


def test_only_this_user_reads_them(folder: Path) -> None:
    """0700 and 0600, and nothing left over from the making."""
    own_keys(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["secret", "signing-ec.pem", "signing-rsa.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_two_folders_share_nothing(tmp_path: Path) -> None:
    """Keys are random, not derived from where they are."""
    one, other = own_keys(tmp_path / "a"), own_keys(tmp_path / "b")
    assert one.secret != other.secret
    assert not set(one.signing) & set(other.signing)


def test_many_at_once_agree(folder: Path) -> None:
    """Several processes may start together: whoever finishes first wins, and nobody gets half a file."""
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(own_keys, [folder] * 6))
    assert all(each == made[0] for each in made)
    assert len(list(folder.iterdir())) == 3


def test_a_key_that_was_kept_stays(folder: Path) -> None:
    """One file lost is made anew; the others are not."""
    first = own_keys(folder)
    (folder / "signing-ec.pem").unlink()
    second = own_keys(folder)
    assert second.secret == first.secret
    assert second.signing[0] == first.signing[0]
    assert second.signing[1] != first.signing[1]
