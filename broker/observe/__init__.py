"""
Seen from outside: structured logs with one reference id per request, and the net that catches what must not be in them.

Every room but the core may use it. It knows nothing of ours, and must not decide what is worth saying.
"""
