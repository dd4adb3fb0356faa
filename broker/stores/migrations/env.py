"""
Alembic runs this file for every command; it is given the connection to work on by
`broker.stores.migrate`.
"""

from alembic import context

from broker.stores.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter most things in place; later revisions get table copies written for them.
    render_as_batch=True,
)
context.run_migrations()
