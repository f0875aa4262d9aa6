"""An Alembic environment in a temporary folder, and what a database is made of, to compare it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

_ENV = """
from alembic import context
import sqlalchemy
from kohakuvault.orm.alembic import configure_args, without_foreign_keys

config = context.config
said = config.attributes

if context.is_offline_mode():
    context.configure(
        url=config.get_main_option("sqlalchemy.url"),
        target_metadata=said["metadata"],
        **configure_args(**said["own"]),
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = said["make_engine"]()
    try:
        with engine.connect() as connection, without_foreign_keys(connection):
            context.configure(connection=connection, target_metadata=said["metadata"], **configure_args(**said["own"]))
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()
"""
_MAKO = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


class Migrations:
    """An application's migrations of one database."""

    def __init__(self, folder: Path, url: sqlalchemy.URL, make_engine: Any, **own: Any) -> None:
        self.url = url
        self.engine = make_engine()
        scripts = folder / "scripts"
        (scripts / "versions").mkdir(parents=True)
        (scripts / "env.py").write_text(_ENV)
        (scripts / "script.py.mako").write_text(_MAKO)
        self.config = Config()
        self.config.set_main_option("script_location", str(scripts))
        self.config.set_main_option("path_separator", "os")
        self.config.set_main_option("sqlalchemy.url", url.render_as_string(hide_password=False).replace("%", "%%"))
        self.config.attributes.update(metadata=None, own=own, make_engine=make_engine)
        self._number = 0

    def autogenerate(self, metadata: Any) -> str:
        """Write a migration to ``metadata``; return its text."""
        self.config.attributes["metadata"] = metadata
        self._number += 1
        script: Any = command.revision(self.config, "change", autogenerate=True, rev_id=f"r{self._number}")
        return Path(script.path).read_text()

    def write(self, upgrade: str, downgrade: str = "pass", imports: str = "") -> str:
        """Write a migration by hand."""
        self._number += 1
        script: Any = command.revision(self.config, "by hand", rev_id=f"r{self._number}")
        path = Path(script.path)
        text = path.read_text().replace("import sqlalchemy as sa\n", f"import sqlalchemy as sa\n{imports}\n")
        before, _, _ = text.partition("def upgrade")
        body = "".join(
            f"def {name}():\n" + "".join(f"    {line}\n" for line in code.strip().splitlines()) + "\n\n"
            for name, code in (("upgrade", upgrade), ("downgrade", downgrade))
        )
        path.write_text(before + body)
        return path.read_text()

    def upgrade(self, to: str = "head") -> None:
        command.upgrade(self.config, to)

    def downgrade(self, to: str) -> None:
        command.downgrade(self.config, to)

    def sql(self, capsys: Any, span: str = "base:head", down: bool = False) -> str:
        """Return what ``--sql`` prints."""
        buffer = _Buffer()
        self.config.output_buffer = buffer
        (command.downgrade if down else command.upgrade)(self.config, span, sql=True)
        return buffer.text

    def operations(self, metadata: Any) -> list[str]:
        """Return the operations that autogenerate finds, without writing a file."""
        self.config.attributes["metadata"] = metadata
        found: list[str] = []

        def keep(context: Any, revision: Any, directives: Any) -> None:
            found.extend(type(operation).__name__ for operation in directives[0].upgrade_ops.ops)
            directives[:] = []

        own = self.config.attributes["own"]
        self.config.attributes["own"] = {**own, "process_revision_directives": keep}
        try:
            command.revision(self.config, "look", autogenerate=True)
        finally:
            self.config.attributes["own"] = own
        return found

    def heads(self) -> list[str]:
        return list(ScriptDirectory.from_config(self.config).get_heads())


class _Buffer:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def dump(engine: sqlalchemy.Engine, without: str = r"alembic_version.*|sqlite_.*") -> dict[str, Any]:
    """Return what a database is made of, by type and name: on SQLite its SQL, on PostgreSQL what the catalogs say."""
    skip = re.compile(without)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master").all()
            return {
                f"{type_} {name}": _normal(" ".join(sql.split()))
                for type_, name, table, sql in rows
                if sql and not skip.fullmatch(name) and not skip.fullmatch(table)
            }
        return {key: value for key, value in connection.execute(_CATALOG) if not skip.fullmatch(key.split()[1])}


def _normal(sql: str) -> str:
    """Return a CREATE TABLE with its constraints sorted, in which Alembic and SQLAlchemy differ."""
    head, _, body = sql.partition("(")
    if not sql.startswith("CREATE TABLE") or not body.endswith(")"):
        return sql
    parts, depth, last = [], 0, ""
    for character in body[:-1]:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append(last.strip())
            last = ""
        else:
            last += character
    parts.append(last.strip())
    is_constraint = re.compile(r"(CONSTRAINT|PRIMARY KEY|UNIQUE|FOREIGN KEY|CHECK)\b")
    columns = [part for part in parts if not is_constraint.match(part)]
    return head.replace('"', "") + "(" + ", ".join(columns + sorted(set(parts) - set(columns))) + ")"


_CATALOG = sqlalchemy.text("""
WITH own AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = current_schema())
SELECT 'column ' || c.relname || ' ' || a.attname,
    concat_ws(' ', a.attnum - (SELECT count(*) FROM pg_attribute d WHERE d.attrelid = a.attrelid AND d.attisdropped
        AND d.attnum < a.attnum), format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage,
        pg_get_expr(v.adbin, v.adrelid))
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN own ON own.oid = c.relnamespace
LEFT JOIN pg_attrdef AS v ON v.adrelid = a.attrelid AND v.adnum = a.attnum
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'index ' || i.relname || ' ', pg_get_indexdef(i.oid)
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN own ON own.oid = i.relnamespace
UNION ALL SELECT 'constraint ' || k.conname || ' ' || k.conrelid::regclass, pg_get_constraintdef(k.oid)
FROM pg_constraint AS k JOIN own ON own.oid = k.connamespace WHERE k.contype <> 'n'
UNION ALL SELECT 'trigger ' || t.tgname || ' ' || t.tgrelid::regclass, pg_get_triggerdef(t.oid)
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN own ON own.oid = c.relnamespace
WHERE NOT t.tgisinternal
UNION ALL SELECT 'function ' || f.proname || ' ', f.prosrc
FROM pg_proc AS f JOIN own ON own.oid = f.pronamespace
""")
