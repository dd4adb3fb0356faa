"""
Seen from outside: structured logs with one reference id per request. Imports nothing of ours.
"""
