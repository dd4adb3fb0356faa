"""What SAML stands on: the parts of pysaml2 that are used are there; nothing starts a program, writes or connects."""

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest
import xmlsec
from lxml import etree

from broker.wire.saml import xml
from broker.wire.saml.refused import CODES
from tests.rooms import walls

ROOT = Path(__file__).resolve().parents[2]

# Of pysaml2, what describes SAML; nothing that acts.
DESCRIBING = ("saml2.saml", "saml2.samlp", "saml2.md", "saml2.extension", "saml2.xmldsig", "saml2.xmlenc")
DESCRIBING += ("saml2.attributemaps", "saml2.data", "saml2.create_class_from_xml_string", "saml2.SamlBase")


def test_the_schema_files_are_there() -> None:
    """By name and target namespace; each imports others by addresses that end in a file name that is there too."""
    folder = files("saml2.data.schemas")
    for file in xml.SCHEMAS:
        root = etree.fromstring(folder.joinpath(file).read_bytes())
        assert root.get("targetNamespace")
        for link in root.iter("{http://www.w3.org/2001/XMLSchema}import"):
            if address := link.get("schemaLocation"):
                assert folder.joinpath(address.rpartition("/")[2]).is_file()


def test_the_schemas_know_what_we_send_and_read() -> None:
    """The elements at the root of each message and document; anything else is unknown to them."""
    known = {
        xml.SAMLP: "AuthnRequest Response LogoutRequest LogoutResponse",
        xml.SAML: "Assertion EncryptedAssertion NameID",
        xml.MD: "EntityDescriptor EntitiesDescriptor",
    }
    for namespace, names in known.items():
        for name in names.split():
            element = etree.Element(xml.name(namespace, name))
            schema = xml._schema()
            schema.validate(element)
            assert "No matching global declaration" not in str(schema.error_log), name
    assert not xml._schema().validate(etree.Element(xml.name(xml.SAMLP, "Nothing")))


def test_the_libraries_are_the_ones_we_looked_at() -> None:
    """A new line of pysaml2 is read before it is taken; another package is imported as ``xmlsec`` too, and is not it."""
    assert version("pysaml2").startswith("7.")
    assert version("xmlsec").startswith("1.3.")
    assert xmlsec.get_libxml_version() == etree.LIBXML_VERSION


@pytest.mark.parametrize("module", ["saml2.saml", "saml2.samlp", "saml2.md", "saml2.xmldsig", "saml2.xmlenc"])
def test_element_classes(module: str) -> None:
    """Each knows its element and namespace, writes it, and reads it back."""
    loaded = __import__(module, fromlist=["*"])
    assert loaded.ELEMENT_FROM_STRING
    sample = {
        "saml2.saml": "Issuer",
        "saml2.samlp": "StatusMessage",
        "saml2.md": "NameIDFormat",
        "saml2.xmldsig": "KeyName",
        "saml2.xmlenc": "CipherValue",
    }[module]
    kind = getattr(loaded, sample)
    written = kind(text="text").to_string()
    assert etree.fromstring(written).tag == xml.name(kind.c_namespace, kind.c_tag)
    assert loaded.ELEMENT_FROM_STRING[kind.c_tag](written).text == "text"


def test_attribute_maps() -> None:
    """Names of attributes by OID, both ways."""
    saml_uri = __import__("saml2.attributemaps.saml_uri", fromlist=["MAP"])
    assert saml_uri.MAP["identifier"] == "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
    assert saml_uri.MAP["fro"]["urn:oid:2.5.4.42"] == "givenName"
    assert saml_uri.MAP["to"]["givenName"] == "urn:oid:2.5.4.42"


def test_nothing_of_pysaml2_that_acts() -> None:
    """No client, server, metadata store or security context: they start programs, write files, keep state."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "broker").rglob("*.py")}
    found = [
        f"{path.name}: {each.name}"
        for path, text in texts.items()
        if "saml2" in text
        for each in walls.Source(path.relative_to(ROOT / "broker").as_posix(), ast.parse(text)).imports
        if each.is_within("saml2") and not any(each.is_within(allowed) for allowed in DESCRIBING)
    ]
    assert found == []


def test_every_refusal_has_its_words() -> None:
    """A code that is raised is in the list: otherwise refusing would itself be an error."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "broker").rglob("*.py")]
    raised = {code for text in texts for code in re.findall(r'XmlRefused\(\s*"(\w+)"', text)}
    assert len(raised) > 40
    assert raised - set(CODES) == set()


CHILD = """
import sys
FORBIDDEN = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty", "pty.spawn")
FORBIDDEN += ("tempfile.mkstemp", "tempfile.mkdtemp", "socket.connect", "socket.getaddrinfo", "socket.__new__")
FORBIDDEN += ("os.mkdir", "os.rename", "os.link", "os.symlink", "shutil.copyfile")
def watch(event, args):
    if event in FORBIDDEN or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")):
        raise RuntimeError(f"forbidden: {event} {args}")
{before}
sys.addaudithook(watch)
{after}
"""
WORK = """
import importlib, pkgutil
import broker.wire.saml
for each in pkgutil.iter_modules(broker.wire.saml.__path__):
    importlib.import_module(f"broker.wire.saml.{each.name}")
from tests.wire import test_saml_keys
print(*(test_saml_keys.once_around(number) for number in range(3)))
acting = {"saml2.sigver", "saml2.entity", "saml2.client", "saml2.server", "saml2.mdstore", "saml2.config", "requests"}
print("acting:", sorted(acting & set(sys.modules)))
"""


def child(before: str, after: str) -> subprocess.CompletedProcess[str]:
    """Another process in which nothing may be started, written or connected to; no path, no temporary folder."""
    text = CHILD.replace("{before}", before).replace("{after}", after)
    environment = {"PATH": "", "TMPDIR": "/nonexistent", "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}
    environment |= {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    command = [sys.executable, "-B", "-c", text]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_nothing_is_started_written_or_connected_to() -> None:
    """All modules are loaded; a response is signed, encrypted, checked by schema, decrypted, verified, sent by query."""
    # pytest and hypothesis come along with the tests' own modules, and do as they like before the watch begins.
    done = child("import pytest, hypothesis", WORK)
    assert done.returncode == 0, done.stderr
    assert "person-0 person-0 person-1 person-1 person-2 person-2" in done.stdout
    assert "acting: []" in done.stdout


@pytest.mark.parametrize(
    "act",
    [
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.system('true')",
        "import os; os.execv('/bin/true', ['true'])",
        "open('/tmp/x', 'w')",
        "import tempfile; tempfile.NamedTemporaryFile(dir='/var/tmp')",
        "import socket; socket.socket()",
    ],
)
def test_the_watch_sees(act: str) -> None:
    """It could have found something."""
    done = child("", act)
    assert done.returncode != 0
    assert "forbidden" in done.stderr
