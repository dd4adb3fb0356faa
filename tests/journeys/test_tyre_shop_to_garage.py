"""The story everything is measured by, on the protocols alone."""

from tests.stage import PAYLOAD, SHOP_RETURN, Stage


async def test_she_stands_logged_in_at_the_garage_with_what_she_agreed_to(staged: Stage) -> None:
    """Log in at the shop, follow the link, consent once, arrive: the garage gets exactly what was ticked."""
    browser = staged.browser()
    at_shop = await staged.shop_login(browser)
    assert at_shop["claims"]["acr"] == "http://eidas.europa.eu/LoA/substantial"

    created = await staged.offer(at_shop["claims"]["sub"])
    assert created.status == 201, created.text
    page = await browser.follow(await browser.get(created.json["link"]))
    assert page.status == 200
    assert "ABC 12D" in page.text
    assert "Norrsken 7" in page.text

    started = await browser.press("share", ("field", "customer.phone"))
    arrived = await staged.arrive(browser, started)
    tokens = await staged.garage.exchange(arrived)

    claims = tokens["claims"]
    assert claims["sub"] != at_shop["claims"]["sub"]
    assert claims["acr"] == "federated"
    assert "amr" not in claims
    handoff = claims["handoff"]["id"]
    assert tokens["authorization_details"][0]["handoff"] == handoff
    data = await staged.garage.read(handoff, tokens["access_token"])
    assert data.status == 200
    assert data.json["claims"]["vehicle"]["registration_number"] == "ABC 12D"
    assert data.json["claims"]["items"] == PAYLOAD["items"]
    assert data.json["claims"]["customer"] == {"name": "Maja Lind", "phone": "+46701234567"}
    assert "customer.email" in data.json["withheld"]

    done = await staged.garage.acknowledge(handoff, tokens["access_token"], {"result": "booked", "reference": "B-1"})
    assert done.json["state"] == "acknowledged"

    again = await browser.get(created.json["link"])
    assert again.location == "http://127.0.0.1:8702/?handoff=already"


async def test_a_remembered_consent_goes_straight_through_until_withdrawn(staged: Stage) -> None:
    """Ticked "do not ask again": the second time neither page is seen; after withdrawing she is asked again."""
    browser = staged.browser()
    at_shop = await staged.shop_login(browser)
    first = await staged.offer(at_shop["claims"]["sub"])
    await browser.follow(await browser.get(first.json["link"]))
    started = await browser.press("share", ("remember", "yes"))
    tokens = await staged.garage.exchange(await staged.arrive(browser, started))

    second = await staged.offer(at_shop["claims"]["sub"])
    straight = await browser.get(second.json["link"])
    assert straight.status == 303
    assert "login_hint" in straight.query
    later = await staged.garage.exchange(await staged.arrive(browser, straight))

    shared = await browser.get("/shared")
    assert "Verkstan i Hammarby" in shared.text
    button = next(each for each in shared.ids if each.startswith("withdraw-"))
    assert (await browser.press(button)).status == 303

    for each in (tokens, later):
        refused = await staged.garage.read(each["claims"]["handoff"]["id"], each["access_token"])
        assert refused.status == 410
        assert (await staged.garage.userinfo(each["access_token"])).status == 401

    third = await staged.offer(at_shop["claims"]["sub"])
    asked = await browser.follow(await browser.get(third.json["link"]))
    assert "share" in asked.ids


async def test_without_sharing_she_arrives_as_a_guest_with_product_data_only(staged: Stage) -> None:
    """Continue without sharing: no sub, no plate, no order number, no name; the reference works once."""
    browser = staged.browser()
    at_shop = await staged.shop_login(browser, "google")
    created = await staged.offer(at_shop["claims"]["sub"])
    await browser.follow(await browser.get(created.json["link"]))
    gone = await browser.press("continue-guest")
    assert gone.location.startswith("http://127.0.0.1:8702/guest?ref=")

    data = await staged.garage.call("/handoffs/guest", {"ref": gone.query["ref"]})
    assert data.status == 200
    assert data.json["claims"] == {
        "vehicle": {"tyre_size_front": "225/50 R17"},
        "items": PAYLOAD["items"],
    }
    for personal in ("ABC 12D", "Maja", "NH-1001", "sub"):
        assert personal not in data.text
    assert (await staged.garage.call("/handoffs/guest", {"ref": gone.query["ref"]})).status == 400


async def test_cancel_leads_back_to_the_shop_and_the_link_still_works(staged: Stage) -> None:
    """Cancelling shares nothing and burns nothing."""
    browser = staged.browser()
    at_shop = await staged.shop_login(browser)
    created = await staged.offer(at_shop["claims"]["sub"])
    await browser.follow(await browser.get(created.json["link"]))
    assert (await browser.press("cancel")).location == f"{SHOP_RETURN}?handoff=cancelled"
    again = await browser.follow(await browser.get(created.json["link"]))
    assert "share" in again.ids


async def test_what_she_shares_twice_is_shown_and_stopped_as_one(staged: Stage) -> None:
    """Two handoffs, each agreed to once: one card with all that is shared; one press ends both."""
    browser = staged.browser()
    at_shop = await staged.shop_login(browser)
    taken = []
    for extra in ("customer.phone", "customer.email"):
        created = await staged.offer(at_shop["claims"]["sub"])
        await browser.follow(await browser.get(created.json["link"]))
        started = await browser.press("share", ("field", extra))
        taken.append(await staged.garage.exchange(await staged.arrive(browser, started)))
    shared = await browser.get("/shared")
    buttons = [each for each in shared.ids if each.startswith("withdraw-")]
    assert len(buttons) == 1
    assert "E-mail" in shared.text
    assert "Phone" in shared.text
    await browser.press(buttons[0])
    for each in taken:
        assert (await staged.garage.read(each["claims"]["handoff"]["id"], each["access_token"])).status == 410
    assert not [each for each in (await browser.get("/shared")).ids if each.startswith("withdraw-")]


async def test_looking_at_the_link_changes_nothing_going_on_opens_it(staged: Stage) -> None:
    """The shop sees ``opened`` only once somebody pressed continue: scanners and prefetch leave no trace."""
    created = await staged.offer(None)
    path = f"/handoffs/{created.json['handoff_id']}/status"
    browser = staged.browser()
    for _ in range(3):
        await browser.follow(await browser.get(created.json["link"]))
    assert (await staged.client.get(path, auth=staged.shop.auth)).json()["state"] == "created"
    await browser.press("continue")
    assert (await staged.client.get(path, auth=staged.shop.auth)).json()["state"] == "opened"
