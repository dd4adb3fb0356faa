"""The Redirect and POST bindings: bounded, each parameter once, verified over the octets that came."""

import base64
import zlib
from urllib.parse import parse_qsl, quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as some

from broker.wire.saml import posted, redirect
from broker.wire.saml.algorithms import SIGNATURES, Signature
from broker.wire.saml.octets import signature_of
from broker.wire.saml.refused import XmlRefused
from broker.wire.saml.xml import MAX_MESSAGE
from tests.wire import saml_stage as stage

MESSAGE = stage.response()
FITTING = [
    (kind, algorithm)
    for kind in ("rsa", "secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1")
    for algorithm in Signature
    if stage.signer(kind).fits(algorithm)
]


def refused(call: object, *args: object, **kwargs: object) -> str:
    with pytest.raises(XmlRefused) as raised:
        call(*args, **kwargs)  # type: ignore[operator]
    return raised.value.code


def signed(kind: str = "rsa", relay_state: str | None = "back", algorithm: Signature | None = None) -> str:
    return redirect.encode(
        MESSAGE, field="SAMLResponse", relay_state=relay_state, key=stage.signer(kind), algorithm=algorithm
    )


@pytest.mark.parametrize(("kind", "algorithm"), FITTING, ids=[f"{kind}-{each.name}" for kind, each in FITTING])
def test_signed_and_verified(kind: str, algorithm: Signature) -> None:
    """Every algorithm with every kind of key it fits."""
    came = redirect.decode(signed(kind, algorithm=algorithm))
    redirect.verify(came, [stage.verifier("rsa3072"), stage.verifier(kind)])
    assert (came.field, came.octets, came.relay_state) == ("SAMLResponse", MESSAGE, "back")


@settings(max_examples=50, deadline=None)
@given(octets=some.binary(min_size=1, max_size=2000), relay_state=some.none() | some.text(max_size=20))
def test_anything_there_and_back(octets: bytes, relay_state: str | None) -> None:
    """Whatever the message and the relay state are."""
    came = redirect.decode(redirect.encode(octets, field="SAMLRequest", relay_state=relay_state))
    assert (came.octets, came.relay_state, came.signature) == (octets, relay_state, None)


def test_the_spelling_of_the_sender_counts() -> None:
    """Lower-case digits and plus for a blank: what was signed is what came, not what we would have written."""
    value = quote(base64.b64encode(zlib.compress(MESSAGE, wbits=-15)).decode(), safe="").replace("%2B", "%2b")
    query = f"SAMLRequest={value}&RelayState=to+the+shop%c3%a5&SigAlg={quote(Signature.RSA_SHA256, safe='').lower()}"
    signature = signature_of(query.encode(), key=stage.signer(), algorithm=Signature.RSA_SHA256)
    came = redirect.decode(f"other=1&{query}&Signature={quote(base64.b64encode(signature).decode(), safe='')}")
    redirect.verify(came, [stage.verifier()])
    assert came.relay_state == "to the shopå"


def test_two_ways_of_writing_an_ec_signature() -> None:
    """Side by side, as XML Signature has it, or DER, as some senders do here."""
    query = signed("secp256r1").partition("&Signature=")[0]
    private = stage.private("secp256r1")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    der = private.sign(query.encode(), ec.ECDSA(hashes.SHA256()))
    came = redirect.decode(f"{query}&Signature={quote(base64.b64encode(der).decode(), safe='')}")
    redirect.verify(came, [stage.verifier("secp256r1")])


@settings(max_examples=60, deadline=None)
@given(data=some.data())
def test_a_changed_octet_is_refused(data: some.DataObject) -> None:
    """Anywhere in the signed part of the query, with another letter of the same alphabet."""
    query = signed()
    end = query.index("&Signature=")
    at = data.draw(some.integers(0, end - 1))
    other = data.draw(some.sampled_from("AZaz09").filter(lambda letter: letter != query[at]))
    with pytest.raises(XmlRefused):
        redirect.verify(redirect.decode(query[:at] + other + query[at + 1 :]), [stage.verifier()])


SIGNED = signed()
WRONG = {
    "message twice": (f"SAMLResponse=x&{SIGNED}", "query"),
    "both messages": (f"SAMLRequest=x&{SIGNED}", "query"),
    "relay state twice": (f"{SIGNED}&RelayState=elsewhere", "query"),
    "signature twice": (f"{SIGNED}&Signature=AAAA", "query"),
    "name in another spelling": (f"{SIGNED}&Relay%53tate=elsewhere", "query"),
    "no message": ("RelayState=back", "query"),
    "nothing": ("", "query"),
    "another encoding": (f"{SIGNED}&SAMLEncoding=urn%3Ax", "query"),
    "no signature": (SIGNED.partition("&Signature=")[0], "query"),
    "no algorithm": (SIGNED.replace("&SigAlg=", "&x="), "query"),
    "sha-1": (
        SIGNED.partition("&SigAlg=")[0]
        + "&SigAlg=http%3A%2F%2Fwww.w3.org%2F2000%2F09%2Fxmldsig%23rsa-sha1&Signature=AAAA",
        "signature_algorithm",
    ),
    "no base64": ("SAMLRequest=****", "base64"),
    "no deflate": ("SAMLRequest=" + quote(base64.b64encode(MESSAGE).decode()), "deflate"),
    "empty": ("SAMLRequest=", "deflate"),
    "cut off": ("SAMLRequest=" + quote(base64.b64encode(zlib.compress(MESSAGE, wbits=-15)[:-5]).decode()), "deflate"),
    "more behind it": (
        "SAMLRequest=" + quote(base64.b64encode(zlib.compress(MESSAGE, wbits=-15) + b"more").decode()),
        "deflate",
    ),
    "long relay state": (redirect.encode(MESSAGE, field="SAMLRequest") + "&RelayState=" + "x" * 81, "relay_state"),
    "long query": ("SAMLRequest=" + "A" * redirect.MAX_QUERY, "too_large"),
}


@pytest.mark.parametrize("case", WRONG)
def test_queries_that_are_not_read(case: str) -> None:
    """Nothing is guessed, and nothing is looked at twice."""
    query, code = WRONG[case]
    assert refused(redirect.decode, query) == f"saml.{code}"


def test_two_readers_of_one_query() -> None:
    """One verifies the first value, another reads the last: a message that was never signed, with a good signature."""
    forged = redirect.encode(b"mallory", field="SAMLResponse")
    query = f"{SIGNED}&{forged}"
    assert query.startswith(SIGNED)
    redirect.verify(redirect.decode(query[: len(SIGNED)]), [stage.verifier()])
    last = dict(parse_qsl(query))["SAMLResponse"]
    assert zlib.decompress(base64.b64decode(last), wbits=-15) == b"mallory"
    assert refused(redirect.decode, query) == "saml.query"


def test_a_bomb_is_not_inflated() -> None:
    """A query of a few hundred octets that would be a hundred megabytes: a careless reader has it all in memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join([*(packer.compress(b" " * 1_000_000) for _ in range(20)), packer.flush()])
    assert len(packed) < redirect.MAX_QUERY // 2
    assert len(zlib.decompress(packed, wbits=-15)) == 20_000_000
    query = "SAMLRequest=" + quote(base64.b64encode(packed).decode(), safe="")
    assert refused(redirect.decode, query) == "saml.deflate"


def test_a_message_of_the_largest_size() -> None:
    """The bound is the same as for a form."""
    query = redirect.encode(b" " * MAX_MESSAGE, field="SAMLRequest")
    assert len(redirect.decode(query).octets) == MAX_MESSAGE
    assert refused(redirect.decode, redirect.encode(b" " * (MAX_MESSAGE + 1), field="SAMLRequest")) == "saml.deflate"


def test_a_longer_relay_state_only_where_it_is_wanted() -> None:
    """Some senders do not keep to the 80 octets."""
    query = redirect.encode(MESSAGE, field="SAMLRequest") + "&RelayState=" + "x" * 200
    assert redirect.decode(query, max_relay_state=1024).relay_state == "x" * 200
    assert refused(redirect.encode, MESSAGE, field="SAMLRequest", relay_state="x" * 81) == "saml.relay_state"
    back = redirect.encode(MESSAGE, field="SAMLResponse", relay_state="x" * 200, max_relay_state=1024)
    assert redirect.decode(back, max_relay_state=1024).relay_state == "x" * 200


def test_who_signed() -> None:
    """Another's key, no key, no signature, an algorithm that is not accepted of this sender."""
    came = redirect.decode(SIGNED)
    assert refused(redirect.verify, came, [stage.verifier(which=1)]) == "saml.signature_invalid"
    assert refused(redirect.verify, came, [stage.verifier("secp256r1")]) == "saml.signature_invalid"
    assert refused(redirect.verify, came, []) == "saml.no_keys"
    only = SIGNATURES - {Signature.RSA_SHA256}
    assert refused(redirect.verify, came, [stage.verifier()], allowed=only) == "saml.signature_algorithm"
    unsigned = redirect.decode(redirect.encode(MESSAGE, field="SAMLResponse"))
    assert refused(redirect.verify, unsigned, [stage.verifier()]) == "saml.unsigned"


def test_a_key_signs_with_its_own_kind_only() -> None:
    """An RSA key makes no ECDSA."""
    args = {"field": "SAMLRequest", "key": stage.signer(), "algorithm": Signature.ECDSA_SHA256}
    assert refused(redirect.encode, MESSAGE, **args) == "saml.signature_algorithm"


@settings(max_examples=50, deadline=None)
@given(octets=some.binary(min_size=1, max_size=2000))
def test_by_form_there_and_back(octets: bytes) -> None:
    """Lines may be broken on the way."""
    field = posted.encode(octets)
    assert posted.decode(field) == octets
    assert posted.decode("\r\n".join(field[at : at + 76] for at in range(0, len(field), 76))) == octets


@pytest.mark.parametrize(
    ("field", "code"),
    [("", "base64"), ("****", "base64"), ("AAA", "base64"), ("å", "base64"), ("A" * MAX_MESSAGE * 2, "too_large")],
    ids=["empty", "alphabet", "length", "letters", "size"],
)
def test_forms_that_are_not_read(field: str, code: str) -> None:
    """By a code of its own each."""
    assert refused(posted.decode, field) == f"saml.{code}"


def test_a_form_is_not_inflated() -> None:
    """A deflated message in a form is no message, whatever it would become."""
    deflated = zlib.compress(MESSAGE, wbits=-15)
    assert posted.decode(posted.encode(deflated)) == deflated
