"""
The operator's YAML becomes a checked policy and typed connector configs, or sentences about what to mend.

Owns: strict reading (document), sentences (validate), references to secrets and files, payload schemas, keys' form,
cross-checks (check), and the whole of it (load). Knows nothing of web requests, stores or connectors at work.
"""
