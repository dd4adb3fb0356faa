"""``stafett keys``: what operators are told about signing keys, what they may do, and what is refused them."""

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.stores.key_folder import FILE
from tests.servers import free_port

from .conftest import PRODUCTION, Ran, Terminal
from .test_serve import listening_on

AT = "  data_dir: data\n"
SHORT = {AT: f"{AT}  keys: {{jwks_max_age: 15m}}\n"}


@pytest.fixture
def begun(terminal: Terminal) -> Terminal:
    """With the first keys made."""
    terminal.write(SHORT)
    assert terminal.run("migrate").code == 0
    ran = terminal.run("keys", "rotate")
    assert ran.code == 0, ran.err
    return terminal


def listed(terminal: Terminal) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(terminal.run("keys", "list", "--format", "json").out)
    return found


def of(terminal: Terminal, alg: str, state: str) -> str:
    (kid,) = [row["kid"] for row in listed(terminal) if (row["alg"], row["state"]) == (alg, state)]
    assert isinstance(kid, str)
    return kid


def audited(terminal: Terminal) -> list[tuple[str, str]]:
    database = sqlite3.connect(terminal.folder / "data" / "stafett.db")
    rows = database.execute("SELECT action, facts FROM audit ORDER BY rowid").fetchall()
    database.close()
    return [(action, json.loads(facts)["alg"]) for action, facts in rows if action.startswith("keys.")]


def refused(ran: Ran, *words: str) -> None:
    """One sentence on the error stream, exit code 1, nothing on the output."""
    assert (ran.code, ran.out) == (1, "")
    assert all(word in ran.err for word in words), ran.err


class TestList:
    def test_nothing_yet(self, terminal: Terminal) -> None:
        """Says how to begin, and makes no keys."""
        terminal.write()
        assert terminal.run("keys", "list").out == "there are no keys yet; stafett keys rotate makes them\n"
        assert listed(terminal) == []
        assert not (terminal.folder / "data" / "keys" / FILE).exists()

    def test_for_people(self, begun: Terminal) -> None:
        """A line for each key, with state, since when, and what comes next."""
        begun.run("keys", "rotate", "--alg", "ES256")
        lines = begun.run("keys", "list").out.splitlines()
        assert lines[0].split() == ["KID", "ALG", "STATE", "SINCE", "NEXT"]
        assert [line.split()[1:3] for line in lines[1:]] == [
            ["RS256", "signing"],
            ["ES256", "signing"],
            ["ES256", "published"],
        ]
        assert [line.split()[4] for line in lines[1:]] == ["-", "retired", "signing"]

    def test_for_machines(self, begun: Terminal) -> None:
        """Times are ISO 8601, UTC; what nobody knows is null."""
        begun.run("keys", "rotate", "--alg", "ES256")
        signing, _, published = listed(begun)
        assert set(signing) == {"kid", "alg", "state", "since", "next_state", "next_at"}
        assert (signing["next_state"], signing["next_at"]) == (None, None)
        assert published["next_state"] == "signing"
        lead = datetime.fromisoformat(published["next_at"]) - datetime.fromisoformat(published["since"])
        assert lead.total_seconds() == 20 * 60
        assert datetime.fromisoformat(published["since"]).tzinfo == UTC


class TestRotate:
    def test_the_first_keys_sign_at_once(self, begun: Terminal) -> None:
        """One for each algorithm."""
        assert [(row["alg"], row["state"]) for row in listed(begun)] == [("RS256", "signing"), ("ES256", "signing")]

    def test_the_next_ones_are_published_first(self, begun: Terminal) -> None:
        """Kid, algorithm and hour are told; log and audit trail have it too."""
        ran = begun.run("keys", "rotate")
        assert ran.code == 0
        assert [line.split()[1:4] for line in ran.out.splitlines()] == [
            ["signs", "RS256", "from"],
            ["signs", "ES256", "from"],
        ]
        assert ran.err.count('"event": "keys.rotated"') == 2
        assert ran.out.split()[0][:16] in ran.err
        assert "PRIVATE" not in ran.said
        assert audited(begun) == [("keys.rotated", "RS256"), ("keys.rotated", "ES256")] * 2

    def test_one_at_a_time(self, begun: Terminal) -> None:
        """The refusal names the key and its hour, and changes nothing."""
        begun.run("keys", "rotate", "--alg", "ES256")
        before = listed(begun)
        refused(begun.run("keys", "rotate"), of(begun, "ES256", "published"), "wait until it does")
        assert listed(begun) == before

    def test_at_once_takes_a_second_word(self, begun: Terminal) -> None:
        """What will break is said first."""
        before = listed(begun)
        refused(begun.run("keys", "rotate", "--now"), "in the last 900 seconds", "--even-if-logins-fail")
        assert listed(begun) == before
        assert begun.run("keys", "rotate", "--now", "--even-if-logins-fail").code == 0
        assert [row["state"] for row in listed(begun)] == ["retired", "retired", "signing", "signing"]

    @pytest.mark.parametrize("alg", ["none", "HS256", "es256", ""])
    def test_an_algorithm_that_is_none(self, begun: Terminal, alg: str) -> None:
        """Those there are are told."""
        refused(begun.run("keys", "rotate", "--alg", alg), "RS256, ES256")


class TestRetire:
    def test_a_signing_key_gets_a_successor(self, begun: Terminal) -> None:
        """And what will happen is shown."""
        ran = begun.run("keys", "retire", of(begun, "ES256", "signing"))
        assert ran.code == 0
        assert "retired 2" in ran.out
        assert [row["state"] for row in listed(begun)] == ["signing", "signing", "published"]
        assert audited(begun)[2:] == [("keys.retired", "ES256"), ("keys.rotated", "ES256")]

    def test_a_key_whose_tokens_are_good_stays(self, begun: Terminal) -> None:
        """With the hour at which it goes by itself."""
        begun.run("keys", "rotate", "--now", "--even-if-logins-fail", "--alg", "ES256")
        refused(begun.run("keys", "retire", of(begun, "ES256", "retired")), "good until", "--compromised")

    @pytest.mark.parametrize("kid", ["x", "no-key-of-this-name", "../../etc/passwd", "*"])
    def test_a_name_that_is_none(self, begun: Terminal, kid: str) -> None:
        """Whatever it is."""
        refused(begun.run("keys", "retire", kid), "no key of that name")
        refused(begun.run("keys", "retire", kid, "--compromised"), "no key of that name")

    @pytest.mark.parametrize("end", ["", "a" * 27])
    @pytest.mark.parametrize(
        "kid", ["-AbC_9efghijklmn", "-cbC_9efghijklmn", "-Ab_9defghijklmc", "--compromised-No", "----------------"]
    )
    def test_a_name_that_begins_with_a_dash(self, begun: Terminal, kid: str, end: str) -> None:
        """One in 64 does, and is no option, wherever it stands and whatever letters of options are in it."""
        for words in ([kid + end], [kid + end, "--compromised"], ["--compromised", kid + end], ["--", kid + end]):
            refused(begun.run("keys", "retire", *words), "no key of that name")

    @pytest.mark.parametrize("option", ["--compromized", "-x", "--now"])
    def test_an_option_that_is_none(self, begun: Terminal, option: str) -> None:
        """Nothing is retired by mistake."""
        before = listed(begun)
        assert begun.run("keys", "retire", of(begun, "ES256", "signing"), option).code == 2
        assert listed(begun) == before

    def test_a_compromised_key_is_out_at_once(self, begun: Terminal) -> None:
        """Named by the beginning that logs show; another signs, and the trail has both."""
        kid = of(begun, "ES256", "signing")
        ran = begun.run("keys", "retire", kid[:16], "--compromised")
        assert ran.code == 0
        assert of(begun, "ES256", "withdrawn") == kid
        assert of(begun, "ES256", "signing") != kid
        assert audited(begun)[2:] == [("keys.withdrawn", "ES256"), ("keys.rotated", "ES256")]

    def test_a_database_that_is_away_stops_nobody(self, terminal: Terminal) -> None:
        """A stolen key cannot wait; what is missing in the trail is said, and is in the log."""
        terminal.write({**PRODUCTION, **SHORT})
        assert terminal.run("keys", "rotate").code == 0
        kid = of(terminal, "ES256", "signing")
        ran = terminal.run("keys", "retire", kid, "--compromised")
        assert ran.code == 0
        assert "not in the audit trail" in ran.err
        assert '"event": "keys.withdrawn"' in ran.err
        assert of(terminal, "ES256", "withdrawn") == kid


class TestFolder:
    CHOSEN = {AT: f"{AT}  keys: {{folder: chosen}}\n"}

    def test_production_makes_no_keys_by_starting(self, terminal: Terminal) -> None:
        """An empty folder is the wrong one more often than a new one."""
        terminal.write({**PRODUCTION, **self.CHOSEN, **listening_on(free_port())})
        terminal.run("migrate")
        ran = terminal.run("serve")
        assert ran.code == 1
        assert "there are no signing keys yet; make them with: stafett keys rotate" in ran.err
        assert not (terminal.folder / "chosen").exists()
        assert terminal.run("keys", "rotate").code == 0
        assert (terminal.folder / "chosen" / FILE).exists()

    def test_a_file_that_is_spoiled_stops_the_start(self, terminal: Terminal) -> None:
        """New keys in its place would be keys that nobody has."""
        terminal.write({**self.CHOSEN, **listening_on(free_port())})
        terminal.run("keys", "rotate")
        file = terminal.folder / "chosen" / FILE
        file.write_bytes(file.read_bytes()[:100])
        for command in (["serve"], ["keys", "list"], ["keys", "rotate"]):
            ran = terminal.run(*command)
            assert ran.code == 1
            assert "is cut short or was changed; restore it from a backup" in ran.err

    def test_another_secret_stops_the_start(self, terminal: Terminal) -> None:
        """And says which key of the config is meant."""
        terminal.write(self.CHOSEN)
        terminal.run("keys", "rotate")
        (terminal.folder / "data" / "keys" / "secret").write_bytes(b"x" * 32)
        refused(terminal.run("keys", "list"), "sealed with another secret", "previous_secrets")

    def test_it_begins_with_the_keys_there_were(self, terminal: Terminal) -> None:
        """From files to a folder without a failed login: the files' keys are the folder's first."""
        files(terminal)
        given = "signing: [file:rsa.pem, file:ec.pem]"
        terminal.write({AT: f"{AT}  keys: {{{given}}}\n"})
        before = [row["kid"] for row in listed(terminal)]
        terminal.write({AT: f"{AT}  keys: {{{given}, folder: chosen}}\n"})
        assert terminal.run("keys", "rotate").code == 0
        assert [(row["kid"], row["state"]) for row in listed(terminal)] == [(kid, "signing") for kid in before]


def files(terminal: Terminal) -> None:
    """PEM files of an operator's own; one more of EC."""
    for name, key in (
        ("rsa", rsa.generate_private_key(65537, 2048)),
        ("ec", ec.generate_private_key(ec.SECP256R1())),
        ("ec-2", ec.generate_private_key(ec.SECP256R1())),
    ):
        path = terminal.folder / f"{name}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)


class TestFiles:
    def test_they_are_listed(self, terminal: Terminal) -> None:
        """With the one that is to take over, and when."""
        files(terminal)
        following = 'next: [{key: "file:ec-2.pem", signs_from: "2099-01-31T04:00:00+01:00"}]'
        terminal.write({AT: f"{AT}  keys: {{signing: [file:rsa.pem, file:ec.pem], {following}}}\n"})
        rows = [(row["alg"], row["state"], row["since"], row["next_at"]) for row in listed(terminal)]
        assert rows == [
            ("RS256", "signing", None, None),
            ("ES256", "signing", None, "2099-01-31T03:00:00Z"),
            ("ES256", "published", None, "2099-01-31T03:00:00Z"),
        ]

    @pytest.mark.parametrize("order", [["rotate"], ["rotate", "--now", "--even-if-logins-fail"]])
    def test_they_are_changed_in_the_config(self, terminal: Terminal, order: list[str]) -> None:
        """A command would be undone by the next restart."""
        files(terminal)
        terminal.write({AT: f"{AT}  keys: {{signing: [file:rsa.pem, file:ec.pem]}}\n"})
        refused(terminal.run("keys", *order), "broker.keys.signing", "broker.keys.folder")
        kid = listed(terminal)[0]["kid"]
        refused(terminal.run("keys", "retire", kid, "--compromised"), "broker.keys.signing")
