"""Whom partners know a customer as: pairwise and public subjects (OpenID Connect Core section 8)."""

import shutil
import tempfile
from pathlib import Path

import pytest

from broker.config.load import Refused
from tests.downstream.apis import Apis, open_apis
from tests.stage import open_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECTOR = "    home_uri: https://writer.example/\n"
URIS = "      redirect_uris: [https://writer.example/cb]\n"
TWO_HOSTS = "      redirect_uris: [https://writer.example/cb, https://writer.example.net/cb]\n"
LOOPBACK = '      redirect_uris: [https://page.example/cb, "http://127.0.0.1/cb", "com.page.app:/cb"]\n'


async def test_public_partners_share_a_subject(apis: Apis) -> None:
    """One number for all of them, another for everybody else, the same each time, and not the broker's own."""
    plain, page = await apis.log_in(apis.plain), await apis.log_in(apis.page)
    again, karl = await apis.log_in(apis.page), await apis.log_in(apis.page, who="karl")
    writer, reader = await apis.log_in(apis.writer), await apis.log_in(apis.reader)
    assert plain["claims"]["sub"] == page["claims"]["sub"] == again["claims"]["sub"]
    assert len({each["claims"]["sub"] for each in (plain, karl, writer, reader)}) == 4
    customer = await apis.stage.records.customer_of_subject("*", plain["claims"]["sub"])
    assert customer is not None
    assert customer != plain["claims"]["sub"]
    assert plain["claims"]["sid"] != page["claims"]["sid"]


async def test_a_public_subject_is_known_again(apis: Apis) -> None:
    """As id_token_hint; a pairwise one of another sector is nobody's."""
    browser = apis.stage.browser()
    await browser.follow(await browser.get(apis.plain.request()))
    code = (await browser.log_in("google", "maja")).query["code"]
    tokens = (await apis.token(apis.plain, code=code)).json
    silent = await browser.get(apis.plain.request(id_token_hint=tokens["id_token"], prompt="none"))
    assert "code" in silent.query


async def test_subjects_outlive_changes_of_the_config(prepared_stage: Path) -> None:
    """Redirect URIs, names and APIs come and go; nobody becomes somebody else."""
    folder = Path(tempfile.mkdtemp(dir=prepared_stage.parent))
    shutil.copytree(prepared_stage, folder, dirs_exist_ok=True)
    seen, callback, moved = [], "http://127.0.0.1:8701/login/callback", "http://127.0.0.1:8701/elsewhere"
    for edit in ({}, {callback: moved}, {"      sv: Nordhjul\n": "      sv: Söderhjul\n"}):
        async with open_stage(folder, edit=edit) as stage:
            stage.shop.redirect_uri = edit.get(callback, callback)
            seen.append((await stage.shop_login(stage.browser()))["claims"]["sub"])
    assert len(set(seen)) == 1
    shutil.rmtree(folder)


async def test_several_hosts_need_a_sector(prepared_stage: Path) -> None:
    """Core section 8.1: otherwise nobody has said who may compare notes; its own id keeps the numbers it has."""
    with pytest.raises(Refused) as refused:
        async with open_apis(prepared_stage, edit={URIS: TWO_HOSTS}):
            pass
    (problem,) = refused.value.found
    assert problem.key == "partners.writer.sector"
    assert "writer.example, writer.example.net" in str(problem)
    async with open_apis(prepared_stage, edit={URIS: TWO_HOSTS, SECTOR: f"{SECTOR}    sector: writer\n"}):
        pass


async def test_an_apps_own_addresses_are_no_other_host(prepared_stage: Path) -> None:
    """The customer's machine, and a scheme of the app's own (RFC 8252)."""
    edit = {"      redirect_uris: [https://page.example/cb]\n": LOOPBACK}
    async with open_apis(prepared_stage, edit=edit):
        pass


async def test_public_and_a_sector_contradict_each_other(prepared_stage: Path) -> None:
    """One of them would silently not hold."""
    place = "    home_uri: https://plain.example/\n"
    with pytest.raises(Refused) as refused:
        async with open_apis(prepared_stage, edit={place: f"{place}    sector: together\n"}):
            pass
    assert [problem.key for problem in refused.value.found] == ["partners.plain.sector"]


async def test_one_sector_shares_a_subject(prepared_stage: Path) -> None:
    """Two partners the operator put together see the same number."""
    places = [f"    home_uri: https://{name}.example/\n" for name in ("writer", "reader")]
    async with open_apis(prepared_stage, edit={place: f"{place}    sector: together\n" for place in places}) as apis:
        writer, reader = await apis.log_in(apis.writer), await apis.log_in(apis.reader)
        assert writer["claims"]["sub"] == reader["claims"]["sub"]
        assert writer["claims"]["sid"] != reader["claims"]["sid"]
