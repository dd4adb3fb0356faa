"""The demo's HTTP browser: what it sees, what it sends, and what it refuses to do."""

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from broker.cli.serve import bind
from broker.demo.driver import HttpPlayer, rasterised
from broker.demo.html_page import HtmlPage, entries
from broker.demo.player import Stuck
from broker.demo.run import Party, running, server_of
from broker.demo.story import Report, StoryEnded
from broker.pages.qr import qr_svg

FORM = """
<form method="post" action="/echo">
  <input type="hidden" name="csrf" value="token">
  <input id="name" name="name" value="Åsa &amp; Co">
  <input type="checkbox" id="off" name="off" value="1"><input type="checkbox" id="on" name="on" value="yes" checked>
  <input type="radio" id="a" name="pick" value="a" checked><input type="radio" id="b" name="pick" value="b">
  <input name="dead" value="x" disabled>
  <select id="many" name="many"><option>1</option><option selected>4</option></select>
  <textarea id="note" name="note">as it was</textarea>
  <button id="one" name="answer" value="one">One</button><button id="two" name="answer" value="two">Two</button>
  <div hidden><button id="unseen" name="answer" value="three">Three</button></div>
  <details><summary id="more">More</summary><button id="folded" name="answer" value="four">Four</button></details>
</form>
"""
CONTINUE = '<head><meta http-equiv="refresh" content="0;url={0}"></head><a id="continue" href="{1}">Continue</a>'

POSTED = """
<form id="response" method="post" action="/echo"><input type="hidden" name="SAMLResponse" value="a+b/c=">
<button id="continue">Continue</button></form>
"""


async def _page(request: Request) -> Response:
    match request.path_params["page"]:
        case "form":
            return HTMLResponse(FORM)
        case "continue":
            return HTMLResponse(CONTINUE.format("/here", "/here"))
        case "continue-elsewhere":
            return HTMLResponse(CONTINUE.format("/here", "/there"))
        case "posted":
            return HTMLResponse(POSTED)
        case "goes-on":
            return HTMLResponse(CONTINUE.format("/here", "/here").replace("continue", "onward"))
        case "round":
            return RedirectResponse("/round", status_code=303)
        case "log-in":
            answer = RedirectResponse("/cookies", status_code=303)
            answer.set_cookie("__Host-session", "secret", secure=True, httponly=True, path="/")
            return answer
        case "problem":
            return HTMLResponse('<p>Sorry <code id="reference">7KQ2MX4P</code></p>', status_code=400)
        case "cookies":
            return PlainTextResponse(";".join(sorted(request.cookies)))
        case page:
            return HTMLResponse(f"<p id=page>{page}</p>")


async def _echo(request: Request) -> Response:
    async with request.form() as form:
        sent = "&".join(f"{name}={value}" for name, value in form.multi_items())
    return PlainTextResponse(f"{sent}|{request.headers.get('origin')}|{request.headers.get('sec-fetch-site')}")


@pytest.fixture
async def player() -> AsyncIterator[HttpPlayer]:
    """At the front page of a small site."""
    app = Starlette(routes=[Route("/echo", _echo, methods=["POST"]), Route("/{page}", _page)])
    listening = bind("127.0.0.1", 0, "port")
    origin = f"http://localhost:{listening.getsockname()[1]}"
    async with running([(server_of(Party("site", "a site", app)), listening)]):
        player = HttpPlayer.started(origin)
        await player.open(f"{origin}/start")
        yield player
        await player.close()


def _at(player: HttpPlayer, path: str) -> str:
    return player.address.rpartition("/")[0] + path


async def test_a_form_is_sent_as_browsers_do(player: HttpPlayer) -> None:
    """Successful controls only, the pressed button among them, with the headers that tell where it came from."""
    await player.open(_at(player, "/form"))
    await player.fill("name", "Örjan")
    await player.fill("note", "new")
    await player.tick("off")
    await player.untick("on")
    await player.tick("b")
    origin = player.address.removesuffix("/form")
    await player.click("two")
    sent, said_origin, site = (await player.source()).split("|")
    assert sent == "csrf=token&name=Örjan&off=1&pick=b&many=4&note=new&answer=two"
    assert (said_origin, site) == (origin, "same-origin")


@pytest.mark.parametrize("element", ["unseen", "nowhere", "csrf", "folded"])
async def test_what_cannot_be_seen_cannot_be_clicked(player: HttpPlayer, element: str) -> None:
    """A hidden or missing button is a failing step, never a silent success."""
    await player.open(_at(player, "/form"))
    assert not await player.has(element)
    with pytest.raises(Stuck, match=element):
        await player.click(element)


async def test_what_is_folded_away_is_opened_first(player: HttpPlayer) -> None:
    """Its summary is seen; what is below it only then, and it stays open."""
    await player.open(_at(player, "/form"))
    with pytest.raises(Stuck, match="name is the summary of nothing"):
        await player.unfold("name")
    for _ in range(2):
        await player.unfold("more")
        assert await player.has("folded")
    await player.click("folded")
    assert "answer=four" in await player.source()


async def test_continue_pages_are_followed(player: HttpPlayer) -> None:
    """A page that moves on by itself is shown and left."""
    await player.open(_at(player, "/continue"))
    assert player.address.endswith("/here")
    assert [page.rpartition("/")[2] for page in player.shown] == ["start", "continue", "here"]


async def test_the_last_page_of_a_logout_goes_on(player: HttpPlayer) -> None:
    """Where its link says, too."""
    await player.open(_at(player, "/goes-on"))
    assert player.address == _at(player, "/here")


async def test_posted_answers_are_posted(player: HttpPlayer) -> None:
    """What the broker's page would send by a script, and nothing else."""
    await player.open(_at(player, "/posted"))
    assert (await player.source()).startswith("SAMLResponse=a+b/c=|")


async def test_a_continue_page_must_say_where(player: HttpPlayer) -> None:
    """Moving on to another address than the visible link's is refused."""
    with pytest.raises(Stuck, match="another address"):
        await player.open(_at(player, "/continue-elsewhere"))


async def test_redirects_end(player: HttpPlayer) -> None:
    """A redirect that comes back to itself is a failing step."""
    with pytest.raises(Stuck, match="redirects"):
        await player.open(_at(player, "/round"))


async def test_loopback_is_a_secure_origin(player: HttpPlayer) -> None:
    """``__Host-`` cookies come back over http on loopback, in another tab too, and never on another device."""
    await player.open(_at(player, "/log-in"))
    assert await player.source() == "__Host-session"
    tab = await player.new_tab()
    await tab.open(player.address)
    assert await tab.source() == "__Host-session"
    phone = await player.other_device()
    await phone.open(player.address)
    assert await phone.source() == ""
    await phone.close()


async def test_secure_cookies_stay_at_their_origin(player: HttpPlayer) -> None:
    """Another host of the same machine does not get them."""
    await player.open(_at(player, "/log-in"))
    await player.open(player.address.replace("localhost", "127.0.0.1"))
    assert await player.source() == ""


async def test_a_failing_step_says_where_and_shows_the_reference(player: HttpPlayer) -> None:
    """The id on a problem page leads to the line in the broker's log."""
    said: list[str] = []
    await player.open(_at(player, "/problem"))
    with pytest.raises(StoryEnded):
        async with Report(said.append).step("she shares", player):
            await player.click("share")
    text = "\n".join(said)
    assert "FAILED  she shares" in text
    assert "/problem" in text
    assert "7KQ2MX4P" in text


def test_a_drawn_code_is_read_from_its_picture() -> None:
    """What the broker draws is what the phone reads."""
    import zxingcpp

    (found,) = zxingcpp.read_barcodes(rasterised(qr_svg("bankid.one.2.three").decode()))
    assert found.text == "bankid.one.2.three"


@pytest.mark.parametrize("drawing", ["", "<svg></svg>", "<html>"])
def test_what_is_no_drawing_is_refused(drawing: str) -> None:
    """An error page in place of the code is a failing step."""
    with pytest.raises(Stuck):
        rasterised(drawing)


def test_refresh_inside_noscript_is_no_redirect() -> None:
    """The waiting page reloads itself for browsers without scripts; that leads nowhere else."""
    page = HtmlPage('<noscript><meta http-equiv="refresh" content="2"></noscript><p id="wait">wait</p>')
    assert page.moves_on_to() is None


def test_hidden_words_are_not_read() -> None:
    """Text counts only where it can be seen."""
    page = HtmlPage('<div id="all"><p>one</p><p hidden>two</p><script>three</script>four</div>')
    assert page.get("all").text() == "one four"


def test_nothing_but_the_form_is_sent() -> None:
    """Fields outside the form stay where they are."""
    page = HtmlPage('<input name="outside" value="1"><form><button id="go">Go</button></form>')
    button = page.get("go")
    form = button.within("form")
    assert form is not None
    assert entries(form, button) == []


def test_void_elements_swallow_nothing() -> None:
    """Neither void elements nor drawings take in what follows them."""
    page = HtmlPage('<p>a<br>b</p><svg><path d="M0"/><circle r="1"></svg><p id="after">c</p>')
    assert page.get("after").text() == "c"
    assert page.get("after").within("svg") is None
