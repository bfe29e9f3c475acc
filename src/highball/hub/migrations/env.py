"""Run by Alembic: on the connection that `hub.upgrade` hands over, inside its transaction."""

from alembic import context

from highball.hub import db

context.configure(connection=context.config.attributes["connection"], target_metadata=db.metadata)
context.run_migrations()
