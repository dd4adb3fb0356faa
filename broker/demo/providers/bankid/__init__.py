"""
A simulator of Swedish BankID: the RP API v6 with mutual TLS, and the app as a phone-shaped web page.

    certificates = make_certificates(directory, now=now)
    simulator = BankIdSimulator(certificates)
    uvicorn.Config(simulator.rp_api, port=8704, **tls_options(certificates))   # https, client certificate
    required uvicorn.Config(simulator.app_page, port=8705)                              # plain http

Both are ordinary ASGI apps and may be driven in process. ``simulator.control`` scripts what test persons and
endpoints do; ``simulator.orders`` is the app without its page. Nothing here is BankID's own code or brand.
"""

from broker.demo.providers.bankid.certificates import Certificates, make_certificates, tls_options
from broker.demo.providers.bankid.control import Control, Fault, Script
from broker.demo.providers.bankid.orders import AppRefusal, OrderBook
from broker.demo.providers.bankid.people import PEOPLE, Person
from broker.demo.providers.bankid.simulator import BankIdSimulator

__all__ = [
    "PEOPLE",
    "AppRefusal",
    "BankIdSimulator",
    "Certificates",
    "Control",
    "Fault",
    "OrderBook",
    "Person",
    "Script",
    "make_certificates",
    "tls_options",
]
