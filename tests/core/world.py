"""
The small world the tables of cases play in: a shop and a garage, four ways to log in, one agreement, one customer.

Every function gives the ordinary thing; what is special about a case is said by keyword.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from broker.core.assurance import Assurance
from broker.core.changing import replace
from broker.core.consent import Consent
from broker.core.handoff import Contact, Handoff, Offer, State
from broker.core.identity import Contact as ProvenContact
from broker.core.identity import Evidence
from broker.core.journey import Ask, Attempt, Journey
from broker.core.policy import MaxAge, PayloadField, Policy, TrustConfig
from broker.core.session import Profile, Session, standing
from broker.core.trust import Available

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TYPE = "fitting/v1"
RETURN = "https://shop.test/back"

CEILINGS = {"letter": "soft", "google": "contact", "bankid": "substantial", "eid": "high"}
"""The connectors, weakest first; of them only BankID may not vouch elsewhere."""

FIELDS = (
    PayloadField(name="vehicle.plate", labels={"en": "Plate"}, is_product=False),
    PayloadField(name="vehicle.tyre_size", labels={"en": "Tyre size"}, is_product=True),
    PayloadField(name="items", labels={"en": "Items"}, is_product=True),
    PayloadField(name="order.reference", labels={"en": "Order"}, is_product=False),
    PayloadField(name="order.paid", labels={"en": "Paid"}, is_product=False),
    PayloadField(name="customer.name", labels={"en": "Name"}, is_product=False),
    PayloadField(name="customer.email", labels={"en": "E-mail"}, is_product=False),
)
REQUIRED = ("vehicle.plate", "items")
OPTIONAL = ("vehicle.tyre_size", "order.reference", "customer.email")
"""``order.paid`` and ``customer.name`` are in the type and in no agreement."""

PAYLOAD: dict[str, Any] = {
    "vehicle": {"plate": "ABC 12D", "tyre_size": "225/50 R17"},
    "items": [{"sku": "NW-7", "quantity": 4}],
    "order": {"reference": "NH-1", "paid": False},
    "customer": {"name": "Maja Lind", "email": "maja@example.com"},
}


def later(**by: float) -> datetime:
    """*by* after the moment everything happens at; negative for before."""
    return NOW + timedelta(**by)


def agreement(**changed: Any) -> dict[str, Any]:
    return {
        "from": "shop",
        "to": "garage",
        "purpose": "fitting",
        "purpose_texts": {"en": "Fitting"},
        "types": [TYPE],
        "claims": {"required": REQUIRED, "optional": OPTIONAL},
        "minimum_assurance": "contact",
        **changed,
    }


def login(**changed: Any) -> dict[str, Any]:
    return {
        "upstreams": ["google", "bankid", "eid"],
        "minimum_assurance": "self-asserted",
        "claims": ["name", "email"],
        "consent": "ask",
        **changed,
    }


def partner(client_id: str, **changed: Any) -> dict[str, Any]:
    home = f"https://{client_id}.test"
    return {
        "names": {"en": client_id.title()},
        "home_uri": f"{home}/",
        "return_uris": [f"{home}/back"],
        "oidc": {"client_id": client_id, "redirect_uris": [f"{home}/callback"]},
        **changed,
    }


def service(client_id: str) -> dict[str, Any]:
    """A partner without an OpenID Connect client."""
    credentials = {"client_id": client_id, "arrive_uri": f"https://{client_id}.test/arrive"}
    return {key: value for key, value in partner(client_id).items() if key != "oidc"} | {"service": credentials}


def policy(
    *,
    agreements: list[dict[str, Any]] | None = None,
    garage_login: dict[str, Any] | None = None,
    upstreams: dict[str, str] | None = None,
    costs: dict[str, float] | None = None,
    fields: tuple[PayloadField, ...] = FIELDS,
) -> Policy:
    """
    A policy of the small world; ``upstreams``: names and ceilings, in the order of the config; ``costs``: in SEK, nothing for
    those that are not named.
    """
    ceilings = CEILINGS if upstreams is None else upstreams
    config = TrustConfig.model_validate(
        {
            "broker": {"issuer": "https://login.test"},
            "upstreams": {
                name: {
                    "kind": "oidc",
                    "titles": {"en": name},
                    "ceiling": ceiling,
                    "may_bootstrap_other_methods": name != "bankid",
                    "cost": {"amount": costs[name], "currency": "SEK"} if costs and name in costs else None,
                    "connect": {},
                }
                for name, ceiling in ceilings.items()
            },
            "partners": {
                "shop": partner("shop", login=login(consent="implied")),
                "garage": partner("garage", login=garage_login or login()),
                "silent": partner("silent"),
                "depot": service("depot"),
            },
            "agreements": [agreement(), agreement(to="depot")] if agreements is None else agreements,
        }
    )
    return Policy(config=config, version="0123456789ab", fields={TYPE: fields}, schemas={})


ALL = Available(frozenset(CEILINGS))

LIMITS = MaxAge().by_level
"""How long each level counts unless the operator says otherwise."""


def proven(visitor: Session | None) -> Assurance:
    """What *visitor* proves at the moment everything happens at."""
    return standing(visitor, LIMITS, NOW) if visitor is not None else Assurance.SOFT


def up(*names: str, **more: Any) -> Available:
    """Only these connectors can be used."""
    return Available(frozenset(names), **more)


def profile(**changed: Any) -> Profile:
    return replace(Profile(name="Maja Lind", email="maja@example.com", email_verified=True, locale="sv"), **changed)


def session(upstream: str = "google", **changed: Any) -> Session:
    """Maja's, five minutes old, as strong as the connector's ceiling."""
    made = Session(
        customer="maja",
        upstream=upstream,
        assurance=Assurance(CEILINGS[upstream]),
        amr=(upstream,),
        contact_proven=upstream == "google",
        may_bootstrap=upstream != "bankid",
        authenticated_at=later(minutes=-5),
        created_at=later(minutes=-5),
        seen_at=later(minutes=-1),
        profile=profile(),
    )
    return replace(made, **changed)


def handoff(state: State = State.CREATED, **changed: Any) -> Handoff:
    """Made for Maja an hour ago, good for a day."""
    is_bound = state not in {State.CREATED, State.OPENED}
    made = Handoff(
        id="h1",
        source="shop",
        recipient="garage",
        purpose="fitting",
        type=TYPE,
        payload=PAYLOAD,
        payload_sha256="0" * 64,
        return_uri=RETURN,
        language="sv",
        customer="maja",
        contact=Contact(),
        policy_version="0123456789ab",
        created_at=later(hours=-1),
        expires_at=later(hours=23),
        state=state,
        bound_to="maja" if is_bound else None,
    )
    return replace(made, **changed)


def guest_order(**contact: str) -> Handoff:
    """A handoff of an order without a known customer."""
    return handoff(customer=None, contact=Contact(**contact))


def offer(**changed: Any) -> Offer:
    made = Offer("shop", "garage", "fitting", TYPE, PAYLOAD, RETURN, "sv", "subject-at-shop", Contact())
    return replace(made, **changed)


def consent(**changed: Any) -> Consent:
    """Maja's remembered yes to everything the agreement names."""
    made = Consent("c1", "shop", "garage", "fitting", TYPE, (*REQUIRED, *OPTIONAL), (), True, later(days=30))
    return replace(made, **changed)


def login_consent(**changed: Any) -> Consent:
    """Maja's remembered yes to the garage's own login."""
    made = Consent("c2", None, "garage", "login", "login", ("name", "email"), (), True, later(days=30))
    return replace(made, **changed)


def ask(partner: str = "garage", **changed: Any) -> Ask:
    made = Ask(partner, f"https://{partner}.test/callback", "s", "n", ("openid", "profile", "email"), "c" * 43)
    return replace(made, **changed)


def journey(**changed: Any) -> Journey:
    """Begun a minute ago, good for half an hour; the broker's own pages unless ``ask`` or ``handoff`` is given."""
    made = Journey("j1", "b", "csrf", "garage", "sv", later(minutes=-1), later(minutes=29))
    return replace(made, **changed)


def attempt(upstream: str = "bankid", **changed: Any) -> Attempt:
    return replace(Attempt(upstream, b"kept", "token", later(seconds=-30)), **changed)


def evidence(*contacts: ProvenContact, **changed: Any) -> Evidence:
    made = Evidence(
        upstream="eid",
        issuer="https://eid.test",
        subject="s-1",
        assurance=Assurance.HIGH,
        amr=("eid",),
        authenticated_at=later(minutes=-2),
        given_name="Maja",
        family_name="Lind",
        birthdate=date(1990, 5, 27),
        contacts=contacts,
    )
    return replace(made, **changed)
