"""``stafett risc``: where Google sends its security events, at an API that is as strict as Google's page says."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from .conftest import Terminal

KEY = RSAKey.generate_key(2048, {"kid": "key-7"})
EMAIL = "risc@project.iam.gserviceaccount.test"
HERE = "http://localhost:8700/up/google/events"


class Api:
    """The management API of one Cloud project. ``stream``: what is registered; ``asked``: states of tests asked for."""

    def __init__(self) -> None:
        self.stream: dict[str, Any] | None = None
        self.asked: list[str] = []
        self.status = 200
        self.url = ""

    def answer(self, path: str, authorization: str, body: Any) -> tuple[int, Any]:
        if self.status != 200:
            return self.status, {"error": {"code": self.status, "status": "PERMISSION_DENIED", "message": EMAIL}}
        token = jwt.decode(authorization.removeprefix("Bearer "), KEY, algorithms=["RS256"])
        claims = token.claims
        assert token.header["kid"] == "key-7"
        assert (claims["iss"], claims["sub"]) == (EMAIL, EMAIL)
        assert claims["aud"].endswith("google.identity.risc.v1beta.RiscManagementService")
        assert claims["iat"] <= time.time() <= claims["exp"] == claims["iat"] + 3600
        match path:
            case "/v1beta/stream":
                return (200, self.stream) if self.stream else (404, {"error": {"status": "NOT_FOUND"}})
            case "/v1beta/stream:update":
                self.stream = body
            case "/v1beta/stream:verify":
                self.asked.append(body["state"])
            case _:
                return 404, {}
        return 200, {}


@pytest.fixture
def api() -> Iterator[Api]:
    simulated = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("content-length", "0"))
            body = json.loads(self.rfile.read(size)) if size else None
            status, said = simulated.answer(self.path, self.headers["authorization"], body)
            sent = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    simulated.url = f"http://127.0.0.1:{server.server_address[1]}/v1beta"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield simulated
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def key(terminal: Terminal) -> Path:
    terminal.write()
    path = terminal.folder / "service-account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": EMAIL,
                "private_key_id": "key-7",
                "private_key": KEY.as_pem(private=True).decode(),
            }
        )
    )
    return path


def run(terminal: Terminal, api: Api, key: Path, *arguments: str) -> Any:
    return terminal.run("risc", *arguments, "--key", str(key), "--api", api.url)


def test_registered_shown_and_tried(terminal: Terminal, api: Api, key: Path) -> None:
    """Nothing is there at first, which is a failure; then all that the broker acts on comes here."""
    nothing = run(terminal, api, key, "show")
    assert (nothing.code, nothing.out) == (1, "events go nowhere\n")
    assert "stafett risc register" in nothing.err
    assert run(terminal, api, key, "register").code == 0
    assert api.stream is not None
    assert api.stream["delivery"]["url"] == HERE
    shown = run(terminal, api, key, "show")
    assert shown.code == 0
    assert f"events go to {HERE}" in shown.out
    assert "risc/event-type/account-disabled" in shown.out
    tried = run(terminal, api, key, "verify")
    assert tried.code == 0
    assert api.asked[0] in tried.out


def test_a_stream_that_goes_elsewhere_or_lacks_a_kind_is_a_failure(terminal: Terminal, api: Api, key: Path) -> None:
    """For whoever watches by exit code."""
    run(terminal, api, key, "register")
    assert api.stream is not None
    api.stream["events_requested"].pop(0)
    lacking = run(terminal, api, key, "show")
    assert lacking.code == 1
    assert "sessions-revoked is not sent" in lacking.err
    api.stream["delivery"]["url"] = "https://old.example/events"
    assert f"https://old.example/events and not to {HERE}" in run(terminal, api, key, "show").err


@pytest.mark.parametrize("command", ["show", "register", "verify"])
def test_a_refusal_is_told_by_its_word_only(terminal: Terminal, api: Api, key: Path, command: str) -> None:
    """Not with what else the API says."""
    api.status = 403
    refused = run(terminal, api, key, command)
    assert refused.code == 1
    assert "403 (PERMISSION_DENIED)" in refused.err
    assert EMAIL not in refused.said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"client_email": 1, "private_key_id": "k", "private_key": "x"}'])
def test_what_is_no_key_file(terminal: Terminal, api: Api, key: Path, text: str) -> None:
    """Named, never quoted."""
    key.write_text(text)
    refused = run(terminal, api, key, "show")
    assert refused.code == 1
    assert "not the JSON key file of a service account" in refused.err


def test_a_key_file_that_is_not_there(terminal: Terminal, api: Api, key: Path) -> None:
    """A sentence with the option it belongs to."""
    key.unlink()
    refused = run(terminal, api, key, "show")
    assert refused.code == 1
    assert refused.err == f"--key: {key} cannot be read (No such file or directory)\n"


def test_an_upstream_that_tells_no_events(terminal: Terminal, api: Api, key: Path) -> None:
    """Which there are is said."""
    refused = run(terminal, api, key, "show", "--upstream", "bankid")
    assert refused.code == 1
    assert "there are: google" in refused.err
