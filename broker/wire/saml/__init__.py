"""
SAML 2.0: bytes <-> checked values. The only home of SAML's XML.

Everything that comes from outside is parsed by `xml.parse`, verified by `signature.verified` and read from the bytes
that this returns, never from the document that arrived (docs/adr/0023). Whatever is wrong with a message is an
`XmlRefused` with a code. No function here starts a program, writes a file or looks at a clock.
"""
