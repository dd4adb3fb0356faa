"""``stafett metadata``: what operators are told of metadata, and what is not believed."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.config.test_saml_metadata import SP1, WEEK, pem, soon
from tests.servers import free_port
from tests.wire.federation import aggregate, alone, provider, service, signed

from .conftest import Terminal


@contextmanager
def metadata_server(pages: dict[str, bytes]) -> Iterator[int]:
    """Serves *pages* by path from a thread, as commands run their own loop."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
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
        assert "1 entities, signed by a given key" in ran.out

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            (aggregate([service(1)], until=soon()).encode(), "not signed"),
            (signed(aggregate([service(1)], until=soon()), which=8), "no key of the sender"),
            (signed(aggregate([service(1)], until=soon())).replace(b"sp1", b"sp2"), "what was signed is not"),
            (signed(aggregate([service(1)], until=soon(-WEEK))), "valid until"),
            (b"<html/>", "not SAML metadata"),
            (b"", "UTF-8"),
        ],
        ids=["unsigned", "wrong-key", "changed", "over", "html", "empty"],
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
        """Exit code 3: not reachable."""
        configured(here, free_port())
        assert here.run("metadata", "show", "federation").code == 3

    def test_no_such_source(self, here: Terminal) -> None:
        """Neither a file nor a source."""
        configured(here, free_port())
        ran = here.run("metadata", "verify", "federatoin")
        assert ran.code == 1
        assert "neither a file nor a metadata source federatoin" in ran.err
