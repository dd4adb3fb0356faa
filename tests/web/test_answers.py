"""Answers and cookies put together from bytes: Starlette and the standard library are the measure."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from broker.web import cookies
from broker.web.answers import redirect


@given(st.text("aZ9-_.~:/%#?=@[]!$&'()*+,; \r\n\"<>\\^`{|}å€", max_size=40) | st.text(st.characters(codec="utf-8")))
def test_a_redirect_is_what_starlette_writes(location: str) -> None:
    """Above all, nothing in an address can begin another header."""
    ours, theirs = redirect(location), RedirectResponse(location, status_code=303)
    assert (ours.status_code, ours.body, ours.raw_headers) == (303, theirs.body, theirs.raw_headers)


def test_cookies_are_written_as_the_standard_library_writes_them() -> None:
    """Attributes, their order, and the empty value that takes a cookie away."""
    ours, theirs = Response(), Response()
    for value, life in (("a-_9" * 10, timedelta(hours=8)), ("", timedelta(0))):
        cookies.set_session(ours, value, life) if value else cookies.clear_session(ours)
        theirs.set_cookie(
            cookies.SESSION, value, max_age=int(life.total_seconds()), secure=True, httponly=True, samesite="lax"
        )
    assert ours.raw_headers == theirs.raw_headers


COOKIES = st.text("ab=; -_\t" + '"', max_size=30)


@given(st.lists(COOKIES, max_size=3))
def test_cookies_are_read_as_starlette_reads_them(headers: list[str]) -> None:
    """Of several that have one name the same one counts; what is in quotes is never one of ours."""
    scope = {"type": "http", "headers": [(b"cookie", each.encode()) for each in headers]}
    theirs = HTTPConnection(scope).cookies
    ours = cookies.sent(HTTPConnection(scope))
    for name, value in ours.items():
        if '"' not in value and name:
            assert theirs[name] == value
