"""
What the demo's two websites have in common: visits, languages, pages, and logging in.

Owns: the plain website craft that any small site has. Nothing here is special to Stafett except `login`, and
that is a stock OpenID Connect client library with the checks every client should make; a partner's own
site needs no more.
Must not know: the broker's code. These sites meet the broker over HTTP only, as a real partner does.
"""
