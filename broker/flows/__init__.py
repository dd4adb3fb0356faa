"""
What somebody sets out to do: fetch, ask the core, save.

One module per purpose. A flow never calls an edge and never words anything for a reader; it returns what the core decided
or raises from `broker.errors`. Everything it needs comes in `Context`.
"""
