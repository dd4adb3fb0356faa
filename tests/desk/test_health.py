"""The probes: alive, ready, and what the broker was told to put up with."""

from tests.stage import Stage


async def test_alive_says_so_and_no_more(staged: Stage) -> None:
    """No store is asked; any host name may ask."""
    answer = await staged.client.get("/healthz", headers={"host": "10.0.0.7:8700"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"status", "version"}


async def test_ready_names_its_parts_and_no_secrets(staged: Stage) -> None:
    """Parts, versions, ill connectors, accepted risks; neither addresses nor names of customers or files."""
    answer = await staged.client.get("/readyz", headers={"host": "10.0.0.7:8700"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    assert body["checks"] == {"state": "ok", "records": "ok"}
    assert body["config_version"] == staged.loaded.policy.version
    assert (body["unavailable_upstreams"], body["alarming_metadata"], body["accepted_risks"]) == ([], [], [])
    assert "/" not in answer.text.replace("application/json", "")


async def test_not_ready_when_the_state_is_gone(staged: Stage) -> None:
    """503 naming the part, while being alive goes on; an ill provider does not make the broker unready."""
    for connector in staged.connectors.values():
        connector.is_down = True
    assert (await staged.client.get("/readyz")).status_code == 200
    await staged.state.close()
    answer = await staged.client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (503, {"state": "down", "records": "ok"})
    assert (await staged.client.get("/healthz")).status_code == 200
