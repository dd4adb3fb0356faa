"""Which addresses answers may be sent to: exactly the registered ones, and any port of an app's own listener."""

import pytest

from broker.core.redirects import is_loopback_redirect, is_private_use, is_registered

REGISTERED = (
    "https://app.example/cb",
    "http://127.0.0.1/cb",
    "http://[::1]/cb?from=app",
    "http://127.0.0.1:4000/fixed",
    "com.example.app:/cb",
)


@pytest.mark.parametrize(
    "uri",
    [
        *REGISTERED,
        "http://127.0.0.1:1/cb",
        "http://127.0.0.1:51004/cb",
        "http://127.0.0.1:65535/cb",
        "http://[::1]:51004/cb?from=app",
    ],
)
def test_what_is_registered_is_taken(uri: str) -> None:
    """Character by character; where no port is registered on the loopback address, any (RFC 8252 section 7.3)."""
    assert is_registered(uri, REGISTERED, is_public=True)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:0/cb",
        "http://127.0.0.1:080/cb",
        "http://127.0.0.1:65536/cb",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:51004/cb/",
        "http://127.0.0.1:51004/other",
        "http://127.0.0.1:51004",
        "http://127.0.0.1:51004/cb?from=app",
        "http://127.0.0.1:51004/cb#",
        "http://127.0.0.1:51004@evil.example/cb",
        "http://127.0.0.1:51004\\@evil.example/cb",
        "http://127.0.0.1:51004.evil.example/cb",
        "http://evil.example:51004/cb",
        "http://127.0.0.2:51004/cb",
        "http://localhost:51004/cb",
        "http://localhost/cb",
        "https://127.0.0.1:51004/cb",
        "HTTP://127.0.0.1:51004/cb",
        "http://[::1]:51004/cb",
        "http://[::2]:51004/cb?from=app",
        "http://127.0.0.1:4001/fixed",
        "http://127.0.0.1/fixed",
        "https://app.example:8443/cb",
        "com.example.app:/cb/",
        "com.example.app://cb",
        "com.example.other:/cb",
        "http://127.0.0.1:5\n/cb",
        "http://127.0.0.1:٥/cb",
        "",
    ],
)
def test_anything_else_is_not(uri: str) -> None:
    """The port is the only part that is free, and only where none is registered."""
    assert not is_registered(uri, REGISTERED, is_public=True)


def test_a_client_with_a_server_has_no_free_port() -> None:
    """The exception is for apps."""
    assert not is_registered("http://127.0.0.1:51004/cb", REGISTERED, is_public=False)
    assert is_registered("http://127.0.0.1/cb", REGISTERED, is_public=False)


@pytest.mark.parametrize("uri", ["com.example.app:/cb", "com.example.app://cb/x?a=b", "a.b-c+d:/"])
def test_a_scheme_with_a_dot_is_an_apps_own(uri: str) -> None:
    """A domain name the wrong way round (RFC 8252 section 7.1)."""
    assert is_private_use(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "myapp:/cb",
        "javascript:/alert(1)",
        "data:/text,html",
        "intent:/x",
        "file:/etc/passwd",
        "http://a.b/cb",
        "com.example.app:cb",
        "com..example:/cb",
        ".com:/cb",
        "com.:/cb",
        "Com.Example:/cb",
        "com.example.app:/c b",
        "com.example.app:/cb#x",
        'com.example.app:/"',
        "com.example.app:/\\",
        "com.example.app:/å",
        "com.example.app:/\n",
    ],
)
def test_other_schemes_are_nobodys(uri: str) -> None:
    """What a browser might act on itself, what could not be written into a page, what could be mistaken."""
    assert not is_private_use(uri)


def test_this_machine_by_address_not_by_name() -> None:
    """RFC 8252 section 8.3."""
    for uri in ("http://127.0.0.1/cb", "http://127.0.0.1:5/cb", "http://[::1]/cb", "http://127.0.0.1?a"):
        assert is_loopback_redirect(uri)
    for uri in ("http://localhost/cb", "http://127.0.0.1.evil.example/cb", "https://127.0.0.1/", "http://127.0.0.10/"):
        assert not is_loopback_redirect(uri)
