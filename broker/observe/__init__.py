"""
Seen from outside: structured logs with one reference id per request, the net that catches what must not be in them, and
traces and metrics where the config asks for them.

Every room but the core may use it. It knows nothing of ours, and must not decide what is worth saying.
"""
