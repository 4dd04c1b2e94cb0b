"""Alembic runs this for every migration. It brings a connection that is already in a writing transaction."""

from alembic import context

from workers.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # Both databases undo DDL with the transaction; Alembic believes it of PostgreSQL only.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
