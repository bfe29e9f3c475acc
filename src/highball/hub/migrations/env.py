"""Run by Alembic: on the connection that `hub.upgrade` hands over, inside its transaction."""

from alembic import context

from highball.hub.storage import database

context.configure(connection=context.config.attributes["connection"], target_metadata=database.metadata)
context.run_migrations()
