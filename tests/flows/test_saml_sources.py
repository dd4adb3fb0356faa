"""Sources of SAML metadata: what they answer while servers are well, ill, slow or lying, and after a restart."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from broker.core.saml_copies import CopyState
from broker.errors import StafettError, UpstreamDown
from broker.flows.saml_peers import SamlPeers
from broker.flows.saml_sources import FeedSource, FileSource, QuerySource, Source
from broker.observe.logging import put_back
from broker.stores.saml_files import CopyFolder, PinnedFile
from broker.wire.saml.aggregate import Demands, Metadata, read
from tests.wire.federation import NOW, UNTIL, aggregate, alone, provider, service, signed, trusted

FEED = "https://metadata.example/all.xml"
MDQ = "https://mdq.example/"
SP1, SP2, IDP3 = (f"https://{name}.example.org/saml" for name in ("sp1", "sp2", "idp3"))
HOUR = timedelta(hours=1)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Now:
    """A clock that is put forward."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time

    def pass_(self, delta: timedelta) -> None:
        self.time += delta


class Server:
    """A metadata server: answers by address, or is down; remembers what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.is_down = False
        self.gate: asyncio.Event | None = None

    async def __call__(self, url: str, headers: Mapping[str, str]) -> Answer:
        self.asked.append((url, headers))
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise UpstreamDown("down")
        page = self.pages.get(url, Answer(404))
        if page.headers.get("etag") and headers.get("If-None-Match") == page.headers["etag"]:
            return Answer(304, b"", page.headers)
        return page


def believing(octets: bytes, now: datetime) -> Metadata:
    return read(octets, demands=Demands(trusted(), timedelta(days=28)), now=now)


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    """What is logged, as it would be read."""
    told: list[dict[str, Any]] = []

    def keep(_: Any, level: str, event: dict[str, Any]) -> dict[str, Any]:
        told.append({"level": level, **event})
        raise structlog.DropEvent

    with put_back():
        structlog.configure(processors=[keep])
        yield told


def names(told: list[dict[str, Any]]) -> list[str]:
    return [each["event"] for each in told]


def feed(server: Server, now: Now, folder: Path, refresh: timedelta = HOUR) -> FeedSource:
    return FeedSource(
        "federation", FEED, fetch=server, read=believing, copies=CopyFolder(folder), refresh=refresh, clock=now
    )


def published(*entities: str, until: datetime = UNTIL, etag: str = "", more: str = "") -> Answer:
    return Answer(200, signed(aggregate(entities, until=until, attributes=more)), {"etag": etag} if etag else {})


class TestFeed:
    async def test_the_first_question_fetches(self, server: Server, now: Now, tmp_path: Path) -> None:
        """Nobody has to have looked before."""
        server.pages[FEED] = published(service(1), provider(3))
        found = await feed(server, now, tmp_path).find(IDP3)
        assert found is not None
        assert found.provider is not None
        assert "samlmetadata+xml" in server.asked[0][1]["Accept"]

    async def test_many_first_questions_are_one_fetch(self, server: Server, now: Now, tmp_path: Path) -> None:
        """Whoever comes meanwhile waits for the same."""
        server.pages[FEED], server.gate = published(service(1)), asyncio.Event()
        source = feed(server, now, tmp_path)
        asking = [asyncio.create_task(source.find(SP1)) for _ in range(20)]
        await asyncio.sleep(0)
        server.gate.set()
        assert all(await asyncio.gather(*asking))
        assert len(server.asked) == 1

    async def test_unchanged(self, server: Server, now: Now, tmp_path: Path) -> None:
        """A server that knows tags is asked whether there is anything new, and nothing is read twice."""
        server.pages[FEED] = published(service(1), etag='"v1"')
        source = feed(server, now, tmp_path)
        await source.renew()
        before = await source.find(SP1)
        await source.renew()
        assert server.asked[1][1]["If-None-Match"] == '"v1"'
        assert await source.find(SP1) is before

    async def test_last_modified(self, server: Server, now: Now, tmp_path: Path) -> None:
        """One that knows dates only is asked by date."""
        server.pages[FEED] = published(service(1))
        server.pages[FEED].headers = {"last-modified": "Sun, 22 Nov 2026 08:00:00 GMT"}
        source = feed(server, now, tmp_path)
        await source.renew()
        await source.renew()
        assert server.asked[1][1]["If-Modified-Since"] == "Sun, 22 Nov 2026 08:00:00 GMT"

    async def test_the_new_takes_the_place_of_the_old(self, server: Server, now: Now, tmp_path: Path) -> None:
        """Whoever left the federation is gone, whoever joined is there."""
        server.pages[FEED] = published(service(1))
        source = feed(server, now, tmp_path)
        await source.renew()
        server.pages[FEED] = published(service(2))
        await source.renew()
        assert await source.find(SP1) is None
        assert await source.find(SP2) is not None

    async def test_questions_during_a_renewal_are_answered_from_the_old(
        self, server: Server, now: Now, tmp_path: Path
    ) -> None:
        """A slow server keeps nobody waiting, and nobody sees half of a document."""
        server.pages[FEED] = published(service(1))
        source = feed(server, now, tmp_path)
        await source.renew()
        server.pages[FEED], server.gate = published(service(1), service(2)), asyncio.Event()
        renewal = asyncio.create_task(source.renew())
        for _ in range(50):
            assert await source.find(SP1) is not None
            assert await source.find(SP2) is None
            await asyncio.sleep(0)
        server.gate.set()
        await renewal
        assert await source.find(SP2) is not None

    @pytest.mark.parametrize(
        "page",
        [
            Answer(404),
            Answer(403),
            Answer(200, b"<html>login please</html>"),
            Answer(200, aggregate([service(2)]).encode()),
            Answer(200, signed(aggregate([service(2)]), which=8)),
            Answer(200, signed(aggregate([service(2)], until=NOW - HOUR))),
            Answer(200, signed(aggregate([service(2)], until=None))),
            Answer(200, signed(aggregate([service(2)], until=NOW + timedelta(days=99)))),
            Answer(200, b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + signed(aggregate([service(2)]))),
        ],
        ids=["404", "403", "html", "unsigned", "wrong-key", "expired", "endless", "distant", "doctype"],
    )
    async def test_a_lying_server_changes_nothing(self, server: Server, now: Now, tmp_path: Path, page: Answer) -> None:
        """What is not believed is told, and the last good copy goes on being used, also after a restart."""
        server.pages[FEED] = published(service(1))
        source = feed(server, now, tmp_path)
        await source.renew()
        server.pages[FEED] = page
        with pytest.raises(StafettError):
            await source.renew()
        for each in (source, feed(server, now, tmp_path)):
            assert await each.find(SP1) is not None
            assert await each.find(SP2) is None

    async def test_nothing_from_a_server_that_is_down(self, server: Server, now: Now, tmp_path: Path) -> None:
        """Without any copy there is no answer; and the server is not asked for each customer anew."""
        server.is_down = True
        source = feed(server, now, tmp_path)
        for _ in range(5):
            with pytest.raises(UpstreamDown) as down:
                await source.find(SP1)
            assert down.value.code == "saml.metadata_missing"
        assert len(server.asked) == 1
        server.is_down = False
        server.pages[FEED] = published(service(1))
        now.pass_(timedelta(minutes=1))
        assert await source.find(SP1) is not None

    async def test_the_last_good_copy_after_a_restart(self, server: Server, now: Now, tmp_path: Path) -> None:
        """A broker that starts while the federation is down has its peers; its tag goes on being used."""
        server.pages[FEED] = published(service(1), etag='"v1"')
        await feed(server, now, tmp_path).renew()
        server.is_down = True
        restarted = feed(server, now, tmp_path)
        assert await restarted.find(SP1) is not None
        assert len(server.asked) == 1
        server.is_down = False
        await restarted.renew()
        assert server.asked[1][1]["If-None-Match"] == '"v1"'

    async def test_a_copy_until_its_end_and_no_longer(self, server: Server, now: Now, tmp_path: Path) -> None:
        """What is past its validUntil is not used, however long the server has been away."""
        server.pages[FEED] = published(service(1))
        source = feed(server, now, tmp_path)
        await source.renew()
        server.is_down = True
        now.time = UNTIL + timedelta(minutes=2)
        assert await source.find(SP1) is not None
        now.time = UNTIL + timedelta(minutes=4)
        for each in (source, feed(server, now, tmp_path)):
            with pytest.raises(UpstreamDown):
                await each.find(SP1)

    async def test_a_copy_that_somebody_changed(self, server: Server, now: Now, tmp_path: Path) -> None:
        """security: the disk is not believed; a copy is verified like anything else."""
        server.pages[FEED] = published(service(1))
        await feed(server, now, tmp_path).renew()
        (file,) = tmp_path.glob("*.copy")
        file.write_bytes(file.read_bytes().replace(b"sp1.example.org", b"sp1.example.com"))
        server.is_down = True
        with pytest.raises(UpstreamDown):
            await feed(server, now, tmp_path).find("https://sp1.example.com/saml")

    @pytest.mark.parametrize("content", [b"", b"{}\n", b"garbage", b'{"fetched_at": "x"}\n<a/>'])
    async def test_a_copy_that_is_broken(self, server: Server, now: Now, tmp_path: Path, content: bytes) -> None:
        """As if there were none."""
        (tmp_path / "federation.copy").write_bytes(content)
        server.pages[FEED] = published(service(1))
        assert await feed(server, now, tmp_path).find(SP1) is not None

    async def test_a_folder_that_cannot_be_written(
        self, server: Server, now: Now, tmp_path: Path, events: list[dict[str, Any]]
    ) -> None:
        """Metadata is used all the same; the operator is told that a restart would need the server."""
        (tmp_path / "file").write_text("in the way")
        server.pages[FEED] = published(service(1))
        assert await feed(server, now, tmp_path / "file").find(SP1) is not None
        assert "saml.metadata_copy" in names(events)

    async def test_how_often(self, server: Server, now: Now, tmp_path: Path) -> None:
        """As configured; more often if it wishes so, or has not long to live; never more often than every five minutes."""
        for wish, until, expected in (
            ("", UNTIL, HOUR),
            (' cacheDuration="PT20M"', UNTIL, timedelta(minutes=20)),
            (' cacheDuration="PT1S"', UNTIL, timedelta(minutes=5)),
            (' cacheDuration="P30D"', UNTIL, HOUR),
            ("", NOW + HOUR, timedelta(minutes=15)),
        ):
            server.pages[FEED] = published(service(1), until=until, more=wish)
            source = feed(server, now, tmp_path / re.sub(r"\W", "", wish + str(until)))
            await source.renew()
            assert source.period() == expected


class TestFile:
    async def test_a_changed_file_is_read_again(self, now: Now, tmp_path: Path) -> None:
        """Operators replace pinned metadata while the broker runs."""
        path = tmp_path / "peer.xml"
        path.write_text(alone(service(1), until=None))
        source = FileSource("pinned", PinnedFile(path), lambda octets, at: read(octets, demands=Demands(), now=at), now)
        assert await source.find(SP1) is not None
        path.write_text(alone(service(2), until=None))
        await source.renew()
        assert await source.find(SP1) is None
        assert await source.find(SP2) is not None

    @pytest.mark.parametrize("content", [None, "", "<a/>", alone(service(2), until=NOW - HOUR)])
    async def test_a_spoiled_file_changes_nothing(self, now: Now, tmp_path: Path, content: str | None) -> None:
        """Half-written, of something else, over, or away: the last good one is used."""
        path = tmp_path / "peer.xml"
        path.write_text(alone(service(1), until=None))
        source = FileSource("pinned", PinnedFile(path), lambda octets, at: read(octets, demands=Demands(), now=at), now)
        await source.renew()
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(StafettError):
            await source.renew()
        assert await source.find(SP1) is not None

    async def test_a_file_with_keys_is_held_to_them(self, now: Now, tmp_path: Path) -> None:
        """Where the operator gave certificates, also a file must be signed."""
        path = tmp_path / "peer.xml"
        path.write_text(aggregate([service(1)]))
        with pytest.raises(UpstreamDown):
            await FileSource("pinned", PinnedFile(path), believing, now).find(SP1)


def mdq(server: Server, now: Now, folder: Path, *, by_hash: bool = False) -> QuerySource:
    return QuerySource(
        "mdq",
        MDQ,
        by_hash=by_hash,
        fetch=server,
        read=believing,
        copies=CopyFolder(folder, limit=3),
        refresh=HOUR,
        clock=now,
    )


AT_SP1 = "https://mdq.example/entities/https:%2F%2Fsp1.example.org%2Fsaml"


def one(entity: str, until: datetime = UNTIL) -> Answer:
    return Answer(200, signed(alone(entity, until=until)))


@pytest.fixture
async def query(server: Server, now: Now, tmp_path: Path) -> AsyncIterator[QuerySource]:
    source = mdq(server, now, tmp_path)
    yield source
    await source.close()


class TestQuery:
    async def test_asks_for_the_one(self, server: Server, now: Now, query: QuerySource) -> None:
        """By its name, with every special character encoded; the second time from memory."""
        server.pages[AT_SP1] = one(service(1))
        assert await query.find(SP1) is not None
        assert await query.find(SP1) is not None
        assert [url for url, _ in server.asked] == [AT_SP1]

    async def test_by_hash(self, server: Server, now: Now, tmp_path: Path) -> None:
        """The other form of the protocol (draft-young-md-query-saml, section 2.1.1)."""
        source = mdq(server, now, tmp_path, by_hash=True)
        at = f"https://mdq.example/entities/%7Bsha1%7D{hashlib.sha1(SP1.encode(), usedforsecurity=False).hexdigest()}"
        server.pages[at] = one(service(1))
        assert await source.find(SP1) is not None

    async def test_another_than_was_asked_for(self, server: Server, now: Now, query: QuerySource) -> None:
        """security: genuine metadata of somebody else, under the name of this one."""
        server.pages[AT_SP1] = one(service(2))
        with pytest.raises(UpstreamDown) as down:
            await query.find(SP1)
        assert down.value.code == "saml.metadata_entity"

    async def test_more_than_was_asked_for(self, server: Server, now: Now, query: QuerySource) -> None:
        """An aggregate is no answer to a question for one, not even if that one is in it."""
        server.pages[AT_SP1] = published(service(1), service(2))
        with pytest.raises(UpstreamDown):
            await query.find(SP1)

    async def test_unsigned(self, server: Server, now: Now, query: QuerySource) -> None:
        """The server need not be believed; the signature must."""
        server.pages[AT_SP1] = Answer(200, alone(service(1)).encode())
        with pytest.raises(StafettError, match="not signed"):
            await query.find(SP1)

    async def test_who_is_unknown_is_remembered_briefly(self, server: Server, now: Now, query: QuerySource) -> None:
        """Strangers with invented names cannot make us hammer the server; somebody who joined is found a minute later."""
        for _ in range(5):
            assert await query.find(SP1) is None
        assert len(server.asked) == 1
        server.pages[AT_SP1] = one(service(1))
        now.pass_(timedelta(minutes=1))
        assert await query.find(SP1) is not None

    async def test_a_server_that_is_ill_is_left_alone(self, server: Server, now: Now, query: QuerySource) -> None:
        """However many invented names are asked for."""
        server.is_down = True
        for number in range(5):
            with pytest.raises(UpstreamDown):
                await query.find(f"https://invented{number}.example")
        assert len(server.asked) == 1

    async def test_at_once_for_all(self, server: Server, now: Now, query: QuerySource) -> None:
        """Those who ask for the same at the same time share one question."""
        server.pages[AT_SP1], server.gate = one(service(1)), asyncio.Event()
        asking = [asyncio.create_task(query.find(SP1)) for _ in range(20)]
        await asyncio.sleep(0)
        server.gate.set()
        assert all(await asyncio.gather(*asking))
        assert len(server.asked) == 1

    async def test_whoever_gives_up_takes_nothing_from_the_others(
        self, server: Server, now: Now, query: QuerySource
    ) -> None:
        """A customer who leaves while the server is slow does not end the question."""
        server.pages[AT_SP1], server.gate = one(service(1)), asyncio.Event()
        impatient, patient = (asyncio.create_task(query.find(SP1)) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.sleep(0)
        server.gate.set()
        assert await patient is not None

    async def test_an_old_answer_while_a_newer_is_looked_for(
        self, server: Server, now: Now, query: QuerySource
    ) -> None:
        """Nobody waits for what can be given from the copy."""
        server.pages[AT_SP1] = one(service(1))
        await query.find(SP1)
        now.pass_(2 * HOUR)
        server.gate = asyncio.Event()
        assert await query.find(SP1) is not None
        server.pages[AT_SP1] = one(service(1).replace("/acs", "/acs2"))
        server.gate.set()
        await query.renew()
        found = await query.find(SP1)
        assert found is not None
        assert found.service is not None
        assert found.service.acs[0].location.endswith("/acs2")

    async def test_the_last_good_copy(self, server: Server, now: Now, tmp_path: Path) -> None:
        """While the server is down, also after a restart, until its validUntil."""
        server.pages[AT_SP1] = one(service(1))
        await mdq(server, now, tmp_path).find(SP1)
        server.is_down = True
        restarted = mdq(server, now, tmp_path)
        assert await restarted.find(SP1) is not None
        now.time = UNTIL + timedelta(minutes=4)
        with pytest.raises(UpstreamDown):
            await restarted.find(SP1)
        await restarted.close()

    async def test_who_is_taken_off_the_list(
        self, server: Server, now: Now, query: QuerySource, tmp_path: Path
    ) -> None:
        """404 is an answer: the copy goes, too."""
        server.pages[AT_SP1] = one(service(1))
        await query.find(SP1)
        del server.pages[AT_SP1]
        now.pass_(2 * HOUR)
        await query.renew()
        assert await query.find(SP1) is None
        assert not list(tmp_path.glob("*.copy"))

    async def test_bounded_on_disk(self, server: Server, now: Now, query: QuerySource, tmp_path: Path) -> None:
        """The oldest copies make room."""
        for number in range(1, 6):
            at = f"https://mdq.example/entities/https:%2F%2Fsp{number}.example.org%2Fsaml"
            server.pages[at] = one(service(number))
            await query.find(f"https://sp{number}.example.org/saml")
        assert len(list(tmp_path.glob("*.copy"))) == 3


def peers_of(sources: Mapping[str, Source], *, clock: Now, spread: Callable[[], float]) -> SamlPeers:
    def pinned(file: str) -> Source:
        return FileSource(
            file, PinnedFile(Path(file)), lambda octets, at: read(octets, demands=Demands(), now=at), clock
        )

    return SamlPeers(sources, pinned=pinned, clock=clock, spread=spread)


class TestPeers:
    async def test_roles(self, server: Server, now: Now, tmp_path: Path) -> None:
        """A provider is no service, and nobody is neither."""
        server.pages[FEED] = published(service(1), provider(3))
        peers = peers_of({"federation": feed(server, now, tmp_path)}, clock=now, spread=lambda: 0.5)
        assert await peers.service("federation", SP1) is not None
        assert await peers.service("federation", IDP3) is None
        assert await peers.provider("federation", IDP3) is not None
        assert await peers.provider("federation", "https://nobody.example") is None

    async def test_a_role_that_ended(self, server: Server, now: Now, tmp_path: Path) -> None:
        """Before its entity does."""
        ended = service(1).replace("<md:SPSSODescriptor ", '<md:SPSSODescriptor validUntil="2026-11-22T07:00:00Z" ')
        server.pages[FEED] = published(ended)
        peers = peers_of({"federation": feed(server, now, tmp_path)}, clock=now, spread=lambda: 0.5)
        assert await peers.service("federation", SP1) is None

    async def test_looks_when_it_is_time(self, server: Server, now: Now, tmp_path: Path) -> None:
        """Not before; and a little earlier or later than others that started with it."""
        server.pages[FEED] = published(service(1))
        for spread, minutes in ((0.0, 54), (1.0, 66)):
            peers = peers_of(
                {"federation": feed(server, now, tmp_path / str(spread))}, clock=now, spread=lambda at=spread: at
            )
            server.asked.clear()
            await peers.look()
            now.pass_(timedelta(minutes=minutes - 1))
            await peers.look()
            assert len(server.asked) == 1
            now.pass_(timedelta(minutes=1))
            await peers.look()
            assert len(server.asked) == 2

    async def test_the_alarm(self, server: Server, now: Now, tmp_path: Path, events: list[dict[str, Any]]) -> None:
        """At half of what was left of its life, told once; again when it is over; and that all is well again."""
        server.pages[FEED] = published(service(1))
        peers = peers_of({"federation": feed(server, now, tmp_path)}, clock=now, spread=lambda: 0.5)
        await peers.look()
        assert peers.alarms() == []
        server.is_down = True
        now.time = NOW + (UNTIL - NOW) / 2
        await peers.look()
        assert peers.alarms() == []
        now.pass_(timedelta(minutes=6))
        for _ in range(3):
            await peers.look()
        assert names(events).count("saml.metadata_expiring") == 1
        assert peers.alarms() == ["federation"]
        assert peers.standings()[0].state is CopyState.EXPIRING
        now.time = UNTIL + HOUR
        await peers.look()
        assert names(events)[-1] == "saml.metadata_unusable"
        assert events[-1]["level"] == "error"
        server.is_down = False
        server.pages[FEED] = published(service(1), until=now() + timedelta(days=7))
        now.pass_(HOUR)
        await peers.look()
        assert names(events)[-1] == "saml.metadata_well"
        assert peers.alarms() == []

    async def test_the_same_document_again_is_no_renewal(self, server: Server, now: Now, tmp_path: Path) -> None:
        """A federation whose signing stopped, behind a web server that is well, is alarming all the same."""
        for name, page in (("etag", published(service(1), etag='"v1"')), ("plain", published(service(1)))):
            server.pages[FEED] = page
            now.time = NOW
            peers = peers_of({"federation": feed(server, now, tmp_path / name)}, clock=now, spread=lambda: 0.5)
            await peers.look()
            now.time = NOW + timedelta(days=4)
            await peers.look()
            assert peers.alarms() == ["federation"]

    async def test_one_that_fails_does_not_stop_the_others(
        self, server: Server, now: Now, tmp_path: Path, events: list[dict[str, Any]]
    ) -> None:
        """Each source is on its own, whatever happens inside it."""

        def spoiled(octets: bytes, at: datetime) -> Metadata:
            raise RuntimeError("not foreseen")

        server.pages[FEED] = published(service(1))
        broken = FeedSource(
            "broken", FEED, fetch=server, read=spoiled, copies=CopyFolder(tmp_path), refresh=HOUR, clock=now
        )
        sources: dict[str, Source] = {"broken": broken, "federation": feed(server, now, tmp_path)}
        peers = peers_of(sources, clock=now, spread=lambda: 0.5)
        await peers.look()
        assert await peers.service("federation", SP1) is not None
        failed = [each for each in events if each["event"] == "saml.metadata_failed"]
        assert failed[0]["source"] == "broken"
        assert "not foreseen" not in str(failed)

    async def test_a_file_in_place_of_a_source(self, now: Now, tmp_path: Path) -> None:
        """Partners may name a file of their own; it is looked after like a source."""
        path = tmp_path / "sp1.xml"
        path.write_text(alone(service(1)))
        peers = peers_of({}, clock=now, spread=lambda: 0.5)
        peers.pin(str(path))
        await peers.look()
        assert await peers.service(str(path), SP1) is not None
        assert [each.source for each in peers.standings()] == [str(path)]
        now.time = UNTIL + HOUR
        assert peers.alarms() == ["pinned"]

    async def test_starts_and_stops(self, server: Server, now: Now, tmp_path: Path) -> None:
        """Beside the requests."""
        server.pages[FEED] = published(service(1))
        peers = peers_of({"federation": feed(server, now, tmp_path)}, clock=now, spread=lambda: 0.5)
        peers.start()
        while not server.asked:
            await asyncio.sleep(0)
        await peers.stop()
        none = peers_of({}, clock=now, spread=lambda: 0.5)
        none.start()
        await none.stop()
        assert none.standings() == ()
