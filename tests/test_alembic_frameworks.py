"""Alembic as frameworks set it up: Flask-Migrate, and the template for asyncio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy import Integer, MetaData, Table

import kohakuvault
from kohakuvault.orm import TextIndex, Vector, VectorIndex

APP = """
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from kohakuvault.orm import Packed, Vector, VectorIndex
from kohakuvault.orm.alembic import configure_args

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///{path}?plugin=kohakuvault"
db = SQLAlchemy(app)
migrate = Migrate(app, db, **configure_args(render_as_batch=True))


class Doc(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    meta = db.Column(Packed("cbor"))
    embedding = db.Column(Vector(4))
    __table_args__ = (VectorIndex("doc_embedding", "embedding", kind="exact"),)
"""


def test_flask_migrate(tmp_path):
    (tmp_path / "app.py").write_text(APP.format(path=tmp_path / "app.db"))
    program = """
import flask_migrate
from app import app, db
with app.app_context():
    flask_migrate.init()
    flask_migrate.migrate()
    flask_migrate.upgrade()
    flask_migrate.check()
    flask_migrate.downgrade()
    flask_migrate.upgrade()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    (script,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert "op.create_vector_index('doc_embedding', 'doc', 'embedding', type_=Vector(4)" in script.read_text()
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    assert sqlalchemy.inspect(engine).has_table("doc_embedding_meta")
    engine.dispose()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_template_for_asyncio(tmp_path, new_url, database):
    url = new_url(database)
    engine = kohakuvault.create_engine(url)
    drivername = "sqlite+aiosqlite" if database == "sqlite" else "postgresql+psycopg"
    address = url.set(drivername=drivername)
    if database == "sqlite":
        address = address.update_query_dict({"plugin": "kohakuvault"})
    config = Config(str(tmp_path / "alembic.ini"))
    command.init(config, str(tmp_path / "scripts"), template="async")
    env = tmp_path / "scripts" / "env.py"
    text = env.read_text()
    text = text.replace("target_metadata = None", 'target_metadata = config.attributes["metadata"]')
    text = text.replace(
        "target_metadata=target_metadata)", "target_metadata=target_metadata, **configure_args(render_as_batch=True))"
    )
    assert "configure_args" in text
    env.write_text("from kohakuvault.orm.alembic import configure_args\n" + text)
    config = Config(str(tmp_path / "alembic.ini"))
    config.set_main_option("sqlalchemy.url", address.render_as_string(hide_password=False).replace("%", "%%"))
    metadata = MetaData()
    Table(
        "doc",
        metadata,
        sqlalchemy.Column("id", Integer, primary_key=True),
        sqlalchemy.Column("body", sqlalchemy.Text()),
        sqlalchemy.Column("embedding", Vector(4)),
        VectorIndex("doc_embedding", "embedding", kind="hnsw"),
        TextIndex("doc_body", "body"),
    )
    config.attributes["metadata"] = metadata
    script = command.revision(config, "first", autogenerate=True)
    assert "op.create_text_index" in Path(script.path).read_text()
    command.upgrade(config, "head")
    command.check(config)
    command.downgrade(config, "base")
    assert not sqlalchemy.inspect(engine).has_table("doc")
    engine.dispose()
