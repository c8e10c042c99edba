"""Alembic's entry: run the migrations on the connection that `migrate` put into the configuration."""

from alembic import context

from chatbackend.infra.db.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
