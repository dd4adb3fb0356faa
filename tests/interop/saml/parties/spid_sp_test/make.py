"""Prints the responses of spid-sp-test as JSON, each by its number, signed as the program signs them, by a key it is given."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import xmlsec
from jinja2 import Environment, FileSystemLoader, Template
from lxml import etree
from markupsafe import Markup
from spid_sp_test.responses import settings

FOLDER = Path(settings.__file__).parent
PLACES = {
    "AssertionID": ("<!-- Assertion Signature here -->", "{urn:oasis:names:tc:SAML:2.0:assertion}Assertion"),
    "ResponseID": ("<!-- Response Signature here -->", "{urn:oasis:names:tc:SAML:2.0:protocol}Response"),
}
DS = "{http://www.w3.org/2000/09/xmldsig#}"


def rendered(case: dict[str, Any], told: dict[str, Any]) -> str:
    """The response of *case*, unsigned."""
    templates = Environment(loader=FileSystemLoader(FOLDER / "templates"), autoescape=True)
    attribute = Template(settings.ATTRIBUTE_TMPL)
    types = settings.ATTRIBUTES_TYPES
    attributes = "".join(
        attribute.render(name=name, value=value, type=types.get(name, "string"))
        for name, value in settings.ATTRIBUTES.items()
    )
    return templates.get_template(case["path"]).render({**told, **case["response"], "Attributes": Markup(attributes)})


def signed(text: str, told: dict[str, Any], key: xmlsec.Key) -> str:
    """*text* with signatures where it has room for them; without one that cannot be made, as where its ID is missing."""
    for id_, (place, tag) in PLACES.items():
        if place not in text:
            continue
        with_room = text.replace(place, Template(settings.SIGNATURE_TMPL).render(ReferenceURI=f"#{told[id_]}"))
        root = etree.fromstring(with_room.strip().encode())
        element = next(root.iter(tag), None)
        if element is None:
            continue
        context = xmlsec.SignatureContext()
        context.key = key
        try:
            context.register_id(element, "ID")
            context.sign(element.find(f"{DS}Signature"))
        except xmlsec.Error:
            text = text.replace(place, "")
        else:
            text = etree.tostring(root, encoding="unicode")
    return text


def main() -> None:
    """From the members of the JSON on standard input to those on standard output."""
    told = json.load(sys.stdin)
    files = [os.environ["KEY"], os.environ["CERTIFICATE"]]
    key = xmlsec.Key.from_file(files[0], xmlsec.KeyFormat.PEM)
    key.load_cert_from_file(files[1], xmlsec.KeyFormat.PEM)
    made = {}
    for number, case in settings.RESPONSE_TESTS.items():
        if "sign_credentials" not in case and "response_wrappers" not in case:
            made[number] = {"name": case["name"], "fits": 200 in case["status_codes"]}
            own = {**told, "AssertionID": f"_assertion-{number}"}
            made[number]["xml"] = signed(rendered(case, own), own, key)
    json.dump(made, sys.stdout)


main()
