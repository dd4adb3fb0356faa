"""
Metadata as federations and eIDAS nodes published it: from packages that bring it to test themselves with, at locked versions.

Who published what, and until when it was good, is told beside each name. The packages are unpacked, not installed.
"""

import os
import sys
import tarfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from tests.interop.processes import DidNotStart, run
from tests.interop.site import CACHES

FILES = Path(__file__).parent
CACHE = CACHES / "published-metadata"

_PYFF: Final = "pyff-3.0.0-py3-none-any.whl", "pyff/test/data/"
_PYSAML2: Final = "pysaml2-3.0.2.tar.gz", "pysaml2-3.0.2/tests/"

PLACES: Final = {
    # eIDAS nodes of France (DINUM) and Greece (Ministry of Digital Governance), before production; until 20 October 2026.
    "fr-proxy": (*_PYFF, "eidas/countries/fr-proxy.xml"),
    "fr-connector": (*_PYFF, "eidas/countries/fr-connector.xml"),
    "gr-proxy": (*_PYFF, "eidas/countries/gr-proxy.xml"),
    "gr-connector": (*_PYFF, "eidas/countries/gr-connector.xml"),
    # By which certificates the others know them: the two countries' parts of a MetadataServiceList.
    "fr-list": (*_PYFF, "eidas/countries/FR.xml"),
    "gr-list": (*_PYFF, "eidas/countries/GR.xml"),
    # What WAYF (Denmark) gave to eduGAIN, signed; until 24 July 2019.
    "wayf": (*_PYFF, "metadata/wayf-edugain-metadata.xml"),
    # All of eduGAIN, as pyFF put it out again in 2023: not signed, no end.
    "edugain": (*_PYFF, "metadata/edugain-trustinfo-2.0.xml"),
    # SWAMID (Sweden); until 11 September 2014, without its signature.
    "swamid-2014": (*_PYFF, "metadata/swamid-2.0-test.xml"),
    # Services of Swedish authorities, with the entity categories of Sweden Connect.
    "kronofogden": (*_PYFF, "metadata/test05-xsd-prefix-idp.xml"),
    "kungliga-biblioteket": (*_PYFF, "metadata/test06-xs-and-xsd-declared.xml"),
    "stockholm": (*_PYFF, "bad_metadata/stockholmstad-c1107b3ceb78c5e9.xml"),
    # RENATER (France) and ACOnet (Austria).
    "abes": (*_PYFF, "metadata/sharav.abes.fr.xml"),
    "aconet": (*_PYFF, "simple-pipeline/idp.aco.net.xml"),
    "skriptenforum": (*_PYFF, "simple-pipeline/skriptenforum.net.xml"),
    # Signed in days of SHA-1: SWAMID, and eduGAIN with its own certificate.
    "swamid-2013": (*_PYSAML2, "swamid-2.0.xml"),
    "swamid-1": (*_PYSAML2, "swamid-1.0.xml"),
    "edugain-2014": (*_PYSAML2, "mds.edugain.org.xml"),
    "edugain-2013": (*_PYSAML2, "mds.edugain.xml"),
    "edugain-certificate": (*_PYSAML2, "edugain.pem"),
    # InCommon (USA), with its certificate; somebody changed its end to 18 February 2020 after it was signed.
    "incommon": (*_PYSAML2, "InCommon-metadata.xml"),
    "incommon-certificate": (*_PYSAML2, "inc-md-cert.pem"),
    # SWITCHaai (Switzerland), for tests.
    "switch": (*_PYSAML2, "metadata.aaitest.xml"),
}
"""Archive, folder and file of each."""

IN_TIME: Final = {
    "fr-proxy": datetime(2026, 10, 20, 9, tzinfo=UTC),
    "fr-connector": datetime(2026, 10, 20, 9, tzinfo=UTC),
    "gr-proxy": datetime(2026, 10, 20, 9, tzinfo=UTC),
    "gr-connector": datetime(2026, 10, 20, 9, tzinfo=UTC),
    "wayf": datetime(2019, 7, 22, tzinfo=UTC),
    "incommon": datetime(2020, 2, 10, tzinfo=UTC),
    "swamid-2014": datetime(2014, 9, 10, tzinfo=UTC),
}
"""A moment at which each that ends was good."""


@cache
def brought() -> Path:
    """The packages, from their registry, in a folder. Raises: DidNotStart."""
    CACHE.mkdir(parents=True, exist_ok=True)
    pip = (sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--require-hashes")
    to = ("--no-deps", "--dest", str(CACHE), "--requirement")
    run((*pip, "--only-binary", ":all:", *to, str(FILES / "requirements.txt")), folder=CACHE, environment=os.environ)
    run((*pip, "--no-binary", ":all:", *to, str(FILES / "older.txt")), folder=CACHE, environment=os.environ)
    return CACHE


@cache
def octets(name: str) -> bytes:
    """The file of that name, byte for byte."""
    archive, folder, file = PLACES[name]
    path = brought() / archive
    if path.suffix == ".whl":
        return ZipFile(path).read(folder + file)
    with tarfile.open(path) as opened:
        member = opened.extractfile(folder + file)
        if member is None:
            raise DidNotStart(f"{archive} has no {folder}{file}")
        return member.read()
