"""Alembic's entry point; `trimtab.adapters.ledger_schema` calls it with an open connection."""

from alembic import context

from trimtab.adapters.sql_ledger import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
