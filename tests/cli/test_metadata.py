"""``stafett metadata``: what operators are told of metadata, and what is not believed."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

from tests.config.test_saml_metadata import SP1, WEEK, pem, soon
from tests.servers import free_port
from tests.wire.federation import aggregate, alone, provider, service, signed

from .conftest import Ran, Terminal


@contextmanager
def metadata_server(
    pages: dict[str, bytes], *, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
) -> Iterator[int]:
    """Serves *pages* by path from a thread, as commands run their own loop, with that status and more headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(404 if body is None else status)
            for name, value in {"Content-Length": str(len(body or b"")), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            # Who was told a length that is too much hangs up.
            with suppress(OSError):
                self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def configured(terminal: Terminal, port: int) -> None:
    path = terminal.write()
    (terminal.folder / "signer.pem").write_bytes(pem())
    base = f"http://127.0.0.1:{port}"
    path.write_text(
        path.read_text("utf-8")
        + f"""
saml:
  metadata:
    federation: {{url: "{base}/all.xml", certificates: [signer.pem]}}
    asked: {{mdq: "{base}", certificates: [signer.pem]}}
""",
        "utf-8",
    )


@pytest.fixture
def here(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(terminal.folder)
    (terminal.folder / "signer.pem").write_bytes(pem())
    return terminal


class TestFile:
    def test_show(self, here: Terminal) -> None:
        """Everybody, with roles, keys and ends; no config is needed."""
        (here.folder / "peers.xml").write_text(aggregate([service(1), provider(2)], until=soon()))
        ran = here.run("metadata", "show", "peers.xml")
        assert ran.code == 0
        head, title, first, second = ran.out.splitlines()
        assert head.startswith("2 entities, valid until 20")
        assert title.split() == ["ENTITY", "ROLES", "KEYS", "VALID", "UNTIL", "NAME"]
        assert first.startswith(SP1)
        assert "service" in first
        assert "provider" in second

    def test_for_machines(self, here: Terminal) -> None:
        """One entity, with its endpoints."""
        (here.folder / "peers.xml").write_text(aggregate([service(1), provider(2)], until=soon()))
        ran = here.run("metadata", "show", "peers.xml", "--entity", SP1, "--format", "json")
        (row,) = json.loads(ran.out)["entities"]
        assert row["service"]["assertion_consumers"] == [
            {"binding": "HTTP-POST", "location": "https://sp1.example.org/acs"}
        ]
        assert [key["use"] for key in row["keys"]] == ["signing", "encryption"]

    def test_verify(self, here: Terminal) -> None:
        """Exit code 0 is: the broker would believe it."""
        (here.folder / "peers.xml").write_bytes(signed(aggregate([service(1)], until=soon())))
        ran = here.run("metadata", "verify", "peers.xml", "--certificate", "signer.pem")
        assert (ran.code, ran.err) == (0, "")
        assert "1 entity, signed by a given key" in ran.out

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            (aggregate([service(1)], until=soon()).encode(), "not signed"),
            (signed(aggregate([service(1)], until=soon()), which=8), "no key of the sender"),
            (signed(aggregate([service(1)], until=soon())).replace(b"sp1", b"sp2"), "what was signed is not"),
            (signed(aggregate([service(1)], until=soon(-WEEK))), "valid until"),
            (b"<html/>", "not SAML metadata"),
            (b"", "is empty"),
            (b"\x1f\x8b\x08\x00", "UTF-8"),
            (b'<!DOCTYPE a [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>' + alone(service(1)).encode(), "document type"),
        ],
        ids=["unsigned", "wrong-key", "changed", "over", "html", "empty", "packed", "bomb"],
    )
    def test_refused(self, here: Terminal, document: bytes, words: str) -> None:
        """One sentence, exit code 1."""
        (here.folder / "peers.xml").write_bytes(document)
        for command in ("verify", "show"):
            ran = here.run("metadata", command, "peers.xml", "--certificate", "signer.pem")
            assert (ran.code, ran.out) == (1, "")
            assert words in ran.err
            assert re.fullmatch(r"stafett: peers\.xml: .+ \(saml\.\w+\)\n", ran.err), (
                "the file, and the code of the log"
            )

    @pytest.mark.parametrize("words", [("nobody.xml",), ("peers.xml", "--certificate", "nobody.pem")])
    def test_a_file_that_is_not_there(self, here: Terminal, words: tuple[str, ...]) -> None:
        """Said by its name; a config, which is not needed for a file, is not asked for."""
        (here.folder / "peers.xml").write_text(aggregate([service(1)], until=soon()))
        ran = here.run("metadata", "verify", *words)
        assert ran.code == 1
        assert ran.err.startswith(f"{words[-1]}: ")
        assert "stafett.yaml" not in ran.err

    def test_who_is_not_there(self, here: Terminal) -> None:
        """Whoever asks for one wants to know that it is missing."""
        (here.folder / "peers.xml").write_text(alone(service(2), until=None))
        assert here.run("metadata", "verify", "peers.xml", "--entity", SP1).code == 1

    def test_a_validity_that_is_too_long(self, here: Terminal) -> None:
        """A week, where three days are the most."""
        (here.folder / "peers.xml").write_bytes(signed(aggregate([service(1)], until=soon())))
        ran = here.run("metadata", "verify", "peers.xml", "--certificate", "signer.pem", "--max-validity-days", "3")
        assert ran.code == 1

    def test_no_certificate(self, here: Terminal) -> None:
        """A file that is none is told as such."""
        (here.folder / "peers.xml").write_text(aggregate([service(1)], until=soon()))
        ran = here.run("metadata", "verify", "peers.xml", "--certificate", "peers.xml")
        assert ran.code == 1
        assert "PEM" in ran.err


ESCAPES = "https://sp1.example.org/&#x9b;31m&#x202e;&#10;2 entities"
"""Red, backwards and a line of its own: what a terminal makes of it."""


class TestHostileFile:
    def test_what_a_terminal_would_obey_is_written_out(self, here: Terminal) -> None:
        """Entities name themselves: nothing of that moves the cursor, colours or turns the text, or looks like a line of ours."""
        (here.folder / "peers.xml").write_text(
            alone(service(1), until=None)
            .replace(f'entityID="{SP1}"', f'entityID="{ESCAPES}"')
            .replace('Name="urn:oid:2.5.4.42"', 'Name="&#x9b;2J"')
        )
        for format in ("text", "json"):
            ran = here.run("metadata", "show", "peers.xml", "--format", format)
            assert ran.code == 0, ran.err
            assert all(line.isprintable() for line in ran.out.splitlines())
            assert r"https://sp1.example.org/\u009b31m\u202e\n2 entities" in ran.out
            assert ran.out.count("2 entities") == 1
        assert json.loads(ran.out)["entities"][0]["service"]["requested_attributes"][0] == "\x9b2J"

    def test_one_that_cannot_be_used_hides_nobody(self, here: Terminal) -> None:
        """As for the broker, it spoils itself only; whoever asks for that one is told why."""
        nameless, deep = (
            service(3).replace("sp3.example.org/saml", "x" * 2000),
            service(2, more="<x>" * 60 + "</x>" * 60),
        )
        (here.folder / "peers.xml").write_text(aggregate([nameless, deep, service(1)], until=soon()))
        ran = here.run("metadata", "show", "peers.xml")
        assert ran.code == 0
        assert SP1 in ran.out
        assert "unusable: https://sp2.example.org/saml (saml.too_deep)" in ran.out
        told = json.loads(here.run("metadata", "show", "peers.xml", "--format", "json").out)
        assert len(told["entities"]) == 1
        assert told["unusable"]["https://sp2.example.org/saml"] == "saml.too_deep"
        for command in ("show", "verify"):
            ran = here.run("metadata", command, "peers.xml", "--entity", "https://sp2.example.org/saml")
            assert (ran.code, ran.out) == (1, "")
            assert re.fullmatch(r"stafett: peers\.xml: .+ \(saml\.too_deep\)\n", ran.err)

    def test_the_only_one_that_cannot_be_used(self, here: Terminal) -> None:
        """A file that would be believed, and of no use, is not verified."""
        (here.folder / "peers.xml").write_text(alone(service(1), until=None).replace(SP1, "x" * 2000))
        assert here.run("metadata", "verify", "peers.xml").code == 1

    def test_two_of_the_same_name(self, here: Terminal) -> None:
        """The first counts, as for the broker, and stands there once."""
        second = service(2).replace("sp2.example.org/saml", "sp1.example.org/saml")
        (here.folder / "peers.xml").write_text(aggregate([service(1), second], until=soon()))
        ran = here.run("metadata", "show", "peers.xml", "--format", "json")
        (row,) = json.loads(ran.out)["entities"]
        assert row["service"]["assertion_consumers"][0]["location"] == "https://sp1.example.org/acs"

    def test_a_file_without_an_end(self, here: Terminal) -> None:
        """No more of it is read than shows that it is too large: here a gigabyte of nothing."""
        with (here.folder / "peers.xml").open("wb") as file:
            file.truncate(1 << 30)
        ran = here.run("metadata", "verify", "peers.xml")
        assert ran.code == 1
        assert "saml.too_large" in ran.err

    def test_a_file_of_somebody_else(self, here: Terminal) -> None:
        """A folder, a file that goes nowhere: one sentence."""
        (here.folder / "peers.xml").symlink_to(here.folder / "peers.xml")
        ran = here.run("metadata", "verify", "peers.xml")
        assert ran.code == 1
        assert ran.err.count("\n") == 1
        (here.folder / "folder.xml").mkdir()
        assert here.run("metadata", "show", "folder.xml").code == 1


class TestSource:
    def test_fetch(self, here: Terminal) -> None:
        """Verified, then written as it came."""
        document = signed(aggregate([service(1)], until=soon()))
        with metadata_server({"/all.xml": document}) as port:
            configured(here, port)
            ran = here.run("metadata", "fetch", "federation", "--out", "got.xml")
            assert ran.code == 0, ran.err
        assert (here.folder / "got.xml").read_bytes() == document

    def test_fetch_from_mdq(self, here: Terminal) -> None:
        """One entity, which has to be named."""
        pages = {"/entities/https:%2F%2Fsp1.example.org%2Fsaml": signed(alone(service(1), until=soon()))}
        with metadata_server(pages) as port:
            configured(here, port)
            assert here.run("metadata", "fetch", "asked", "--out", "sp1.xml", "--entity", SP1).code == 0
            nameless = here.run("metadata", "fetch", "asked", "--out", "sp2.xml")
        assert nameless.code == 1
        assert "--entity" in nameless.err

    @pytest.mark.parametrize(
        ("document", "code"),
        [(None, 3), (aggregate([service(1)], until=soon()).encode(), 1), (b"<html/>", 1)],
        ids=["404", "unsigned", "html"],
    )
    def test_what_is_not_believed_is_not_written(self, here: Terminal, document: bytes | None, code: int) -> None:
        """The file of yesterday stays."""
        (here.folder / "got.xml").write_text("yesterday")
        with metadata_server({} if document is None else {"/all.xml": document}) as port:
            configured(here, port)
            ran = here.run("metadata", "fetch", "federation", "--out", "got.xml")
        assert (ran.code, ran.out) == (code, "")
        assert (here.folder / "got.xml").read_text() == "yesterday"

    def test_nobody_answers(self, here: Terminal) -> None:
        """Exit code 3: not reachable, and why, in words."""
        configured(here, port := free_port())
        ran = here.run("metadata", "fetch", "federation", "--out", "got.xml")
        assert (ran.code, ran.out) == (3, "")
        assert ran.err == (
            f"stafett: GET http://127.0.0.1:{port}/all.xml: the connection is refused: nobody listens there\n"
        )

    def test_doubts_about_the_config_are_told_plainly(self, here: Terminal) -> None:
        """As check-config says them: whoever types this reads sentences, not the lines of a log."""
        with metadata_server({"/all.xml": signed(aggregate([service(1)], until=soon()))}) as port:
            configured(here, port)
            path = here.folder / "stafett.yaml"
            path.write_text("accept_risks: [http_isuer]\n" + path.read_text("utf-8"), "utf-8")
            ran = here.run("metadata", "show", "federation")
        said = [
            each for each in here.run("check-config", "stafett.yaml").out.splitlines() if each.startswith("warning: ")
        ]
        assert (ran.code, ran.err.splitlines()) == (0, said)
        assert "did you mean 'http_issuer'?" in ran.err
        assert ran.out.startswith("1 entity, ")

    def test_no_such_source(self, here: Terminal) -> None:
        """Neither a file nor a source."""
        configured(here, free_port())
        ran = here.run("metadata", "verify", "federatoin")
        assert ran.code == 1
        assert "neither a file nor a metadata source federatoin" in ran.err


def refused_by_rule(ran: Ran) -> bool:
    """One sentence, exit code 3."""
    return (ran.code, ran.out) == (3, "") and re.fullmatch(r"stafett: [^\n]+\n", ran.err) is not None


class TestHostileSource:
    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (302, {"Location": "/elsewhere.xml"}),
            (302, {"Location": "http://169.254.169.254/latest/meta-data"}),
            (200, {"Content-Encoding": "gzip"}),
            (200, {"Content-Length": str(1 << 40)}),
            (500, {}),
            (204, {}),
        ],
        ids=["redirect", "redirect-inside", "packed", "endless", "broken", "nothing"],
    )
    def test_an_answer_that_is_none(self, here: Terminal, status: int, headers: dict[str, str]) -> None:
        """Nothing is followed, unpacked or waited for; the file of yesterday stays."""
        document = signed(aggregate([service(1)], until=soon()))
        (here.folder / "got.xml").write_text("yesterday")
        with metadata_server(
            {"/all.xml": document, "/elsewhere.xml": document}, status=status, headers=headers
        ) as port:
            configured(here, port)
            ran = here.run("metadata", "fetch", "federation", "--out", "got.xml")
        assert refused_by_rule(ran), ran
        assert (here.folder / "got.xml").read_text() == "yesterday"
        assert [each.name for each in here.folder.glob(".got*")] == []

    @pytest.mark.parametrize(
        "address",
        [
            "https://169.254.169.254/metadata.xml",
            "https://10.0.0.1/metadata.xml",
            "https://[::ffff:10.0.0.1]/metadata.xml",
            "https://[fd00::1]/metadata.xml",
        ],
    )
    def test_an_address_inside(self, here: Terminal, address: str) -> None:
        """The rules for all outgoing calls hold on the command line, too; nobody is asked."""
        configured(here, free_port())
        path = here.folder / "stafett.yaml"
        path.write_text(re.sub(r'url: "[^"]+/all.xml"', f'url: "{address}"', path.read_text("utf-8")), "utf-8")
        ran = here.run("metadata", "show", "federation")
        assert refused_by_rule(ran), ran

    @pytest.mark.parametrize(
        "answer",
        [alone(service(2), until=soon()), aggregate([service(1), service(2)], until=soon())],
        ids=["instead", "besides"],
    )
    def test_an_answer_about_somebody_else(self, here: Terminal, answer: str) -> None:
        """Signed as it should be, and about another entity than was asked for: the broker would not take it either."""
        pages = {"/entities/https:%2F%2Fsp1.example.org%2Fsaml": signed(answer)}
        with metadata_server(pages) as port:
            configured(here, port)
            ran = here.run("metadata", "fetch", "asked", "--out", "sp1.xml", "--entity", SP1)
        assert ran.code == 1
        assert "about another entity (saml.metadata_entity)" in ran.err
        assert not (here.folder / "sp1.xml").exists()

    def test_where_nothing_can_be_written(self, here: Terminal) -> None:
        """Said with the name of the file."""
        with metadata_server({"/all.xml": signed(aggregate([service(1)], until=soon()))}) as port:
            configured(here, port)
            ran = here.run("metadata", "fetch", "federation", "--out", "nowhere/got.xml")
        assert ran.code == 1
        assert re.fullmatch(r"stafett: [^\n]*nowhere[^\n]+\n", ran.err)
