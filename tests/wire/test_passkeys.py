"""Answers of browsers and authenticators: good ones pass, everything else is one error that says what was wrong."""

import json
from secrets import token_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.changing import replace
from broker.errors import UpstreamRefused
from broker.wire.passkeys import (
    Assertion,
    Credential,
    NewPasskey,
    RelyingParty,
    creation_options,
    read_assertion,
    request_options,
    verify_assertion,
    verify_registration,
)
from tests.upstream.authenticator import EDDSA, ES256, ES384, RS256, UP, UV, Authenticator, Faults, b64, unb64

PARTY = RelyingParty("localhost", "Stafett", "http://localhost:8700")
CHALLENGE = b"c" * 64


def asked(challenge: bytes = CHALLENGE, exclude: tuple[Credential, ...] = ()) -> str:
    return creation_options(PARTY, user_handle=b"h" * 64, user_name="maja", challenge=challenge, exclude=exclude)


def made(device: Authenticator, faults: Faults | None = None) -> NewPasskey:
    answer = device.create(asked(), faults or Faults())
    return verify_registration(answer, expected_challenge=CHALLENGE, party=PARTY)


def shown(
    device: Authenticator, passkey: NewPasskey, faults: Faults | None = None, party: RelyingParty = PARTY
) -> Assertion:
    answer = device.get(request_options("localhost", CHALLENGE), faults or Faults())
    return verify_assertion(
        read_assertion(answer), expected_challenge=CHALLENGE, party=party, public_key=passkey.public_key
    )


FAULTS = {
    "passkey.origin": Faults(origin="http://localhost:8701"),
    "passkey.rp_id": Faults(rp_id="example.com"),
    "passkey.verification": Faults(flags=UV),
    "passkey.presence": Faults(flags=UP),
    "passkey.challenge": Faults(challenge=b64(b"d" * 64)),
    "passkey.type": Faults(kind="payment.get"),
    "passkey.framed": Faults(framed=True),
}


@pytest.mark.parametrize("alg", [ES256, EDDSA, RS256])
def test_a_passkey_of_each_algorithm_serves(alg: int) -> None:
    """The three that browsers are asked for."""
    device = Authenticator(alg=alg, counts=True)
    passkey = made(device)
    assert (passkey.id, passkey.counter, passkey.transports) == (device.keys[0].id, 0, ("internal", "hybrid"))
    assert shown(device, passkey) == Assertion(counter=1, is_backed_up=True)


def test_what_is_asked_for() -> None:
    """A discoverable key, a verified user, no attestation, and not a second one where there is one."""
    options = json.loads(asked(exclude=(Credential(b"old", ("usb", "carrier-pigeon")),)))
    assert options["rp"] == {"id": "localhost", "name": "Stafett"}
    assert options["authenticatorSelection"] == {
        "residentKey": "required",
        "requireResidentKey": True,
        "userVerification": "required",
    }
    assert options["attestation"] == "none"
    assert [each["alg"] for each in options["pubKeyCredParams"]] == [ES256, EDDSA, RS256]
    assert options["excludeCredentials"] == [{"id": b64(b"old"), "type": "public-key", "transports": ["usb"]}]
    assert unb64(options["challenge"]) == CHALLENGE


def test_any_passkey_may_answer() -> None:
    """No list of credentials: nobody is told which there are."""
    options = json.loads(request_options("localhost", CHALLENGE))
    assert options["allowCredentials"] == []
    assert options["userVerification"] == "required"
    assert options["rpId"] == "localhost"


def test_a_synced_key_is_told_from_one_that_stays() -> None:
    """By the flags of the authenticator."""
    assert made(Authenticator(is_synced=True)).is_synced
    kept = made(Authenticator(is_synced=False))
    assert (kept.is_synced, kept.is_backed_up) == (False, False)


@pytest.mark.parametrize("code", FAULTS)
def test_no_passkey_is_made_of_a_bad_answer(code: str) -> None:
    """Each check of WebAuthn section 7.1, and frames."""
    with pytest.raises(UpstreamRefused) as refused:
        made(Authenticator(), FAULTS[code])
    assert refused.value.code == code


@pytest.mark.parametrize("code", FAULTS)
def test_no_login_by_a_bad_answer(code: str) -> None:
    """Each check of WebAuthn section 7.2, and frames."""
    device = Authenticator()
    passkey = made(device)
    with pytest.raises(UpstreamRefused) as refused:
        shown(device, passkey, FAULTS[code])
    assert refused.value.code == code


def test_a_changed_signature_is_refused() -> None:
    """Another key's signature is none."""
    device = Authenticator()
    passkey = made(device)
    with pytest.raises(UpstreamRefused) as refused:
        shown(device, passkey, Faults(spoils_signature=True))
    assert refused.value.code == "passkey.signature"


def test_another_key_does_not_open() -> None:
    """Whoever has a passkey of his own has no one else's."""
    maja, karl = Authenticator(), Authenticator()
    passkey = made(maja)
    made(karl)
    with pytest.raises(UpstreamRefused) as refused:
        shown(karl, passkey)
    assert refused.value.code == "passkey.signature"


def test_an_algorithm_nobody_asked_for_is_refused() -> None:
    """However good it is: what is not offered is not known to be safe here."""
    with pytest.raises(UpstreamRefused) as refused:
        made(Authenticator(alg=ES384))
    assert refused.value.code == "passkey.algorithm"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "null",
        "[]",
        "{}",
        "maja",
        '{"id": 1}',
        '{"id":"a","rawId":"a","type":"public-key","response":{}}',
        "9" * 9000,
    ],
)
def test_what_is_no_answer_is_refused(answer: str) -> None:
    """Not JSON, not an answer, or endless."""
    with pytest.raises(UpstreamRefused):
        read_assertion(answer)
    with pytest.raises(UpstreamRefused):
        verify_registration(answer, expected_challenge=CHALLENGE, party=PARTY)


def test_depth_is_no_way_in() -> None:
    """JSON that is all brackets does not bring anybody down."""
    with pytest.raises(UpstreamRefused) as refused:
        read_assertion("[" * 8000)
    assert refused.value.code == "passkey.malformed"


def test_the_id_is_the_one_that_was_signed_for() -> None:
    """What is looked up by and what the authenticator made are one."""
    device = Authenticator()
    answer = json.loads(device.create(asked()))
    answer["id"] = answer["rawId"] = b64(token_bytes(32))
    with pytest.raises(UpstreamRefused) as refused:
        verify_registration(json.dumps(answer), expected_challenge=CHALLENGE, party=PARTY)
    assert refused.value.code == "passkey.id"


@given(st.data())
def test_no_spoiled_answer_passes(data: st.DataObject) -> None:
    """One byte changed anywhere in what is signed: refused, and by nothing but a refusal."""
    answer = json.loads(_ANSWER)
    part = data.draw(st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]))
    raw = bytearray(unb64(answer["response"][part]))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    answer["response"][part] = b64(bytes(raw))
    with pytest.raises(UpstreamRefused):
        verify_assertion(
            read_assertion(json.dumps(answer)),
            expected_challenge=CHALLENGE,
            party=PARTY,
            public_key=_PASSKEY.public_key,
        )


_DEVICE = Authenticator()
_PASSKEY = made(_DEVICE)
_ANSWER = _DEVICE.get(request_options("localhost", CHALLENGE))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["id", "rawId", "type", "response", "clientDataJSON", "signature", "userHandle", "authenticatorData"]), inner
)))  # fmt: skip
def test_any_json_is_refused_in_one_way(answer: object) -> None:
    """Never by another error."""
    with pytest.raises(UpstreamRefused):
        read_assertion(json.dumps(answer))


def test_a_refusal_tells_nothing_of_the_answer() -> None:
    """What a stranger wrote stays out of the log."""
    device = Authenticator()
    passkey = made(device)
    with pytest.raises(UpstreamRefused) as refused:
        shown(device, passkey, Faults(origin="https://personal.example"))
    assert "personal" not in f"{refused.value} {refused.value.detail} {refused.value.facts}"


def test_a_parent_domain_serves_its_parts() -> None:
    """The key belongs to the domain, the answer to the page."""
    parent = replace(PARTY, id="example", origin="https://login.example")
    device = Authenticator(origin="https://login.example")
    options = creation_options(parent, user_handle=b"h", user_name="maja", challenge=CHALLENGE, exclude=())
    passkey = verify_registration(device.create(options), expected_challenge=CHALLENGE, party=parent)
    answer = device.get(request_options("example", CHALLENGE))
    assertion = read_assertion(answer)
    assert verify_assertion(assertion, expected_challenge=CHALLENGE, party=parent, public_key=passkey.public_key)
