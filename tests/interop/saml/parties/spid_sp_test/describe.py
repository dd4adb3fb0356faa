"""Prints the metadata of spid-sp-test's identity provider, as its ``--idp-metadata`` does, without the program xmlsec1."""

from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from spid_sp_test.idp.settings import SAML2_IDP_CONFIG

config = IdPConfig().load({key: value for key, value in SAML2_IDP_CONFIG.items() if key != "metadata"})
config.xmlsec_binary = None
print(entity_descriptor(config).to_string().decode())
