"""How Alembic finds the handbook's database and models."""

import os

from alembic import context
from models import Base

from kohakuvault import create_engine
from kohakuvault.orm.alembic import configure_args, without_foreign_keys

URL = os.environ.get("HANDBOOK", "sqlite:///handbook.db")
OPTIONS = configure_args(target_metadata=Base.metadata, render_as_batch=True)

if context.is_offline_mode():
    context.configure(url=URL, literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(URL)
    with engine.connect() as connection, without_foreign_keys(connection):
        context.configure(connection=connection, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
