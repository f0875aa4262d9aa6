"""Any sequence of writes, by whatever statements, and rollbacks: the index finds what a dict of words does."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from kohakuvault import create_engine
from kohakuvault.orm import TextIndex, match
from kohakuvault.orm.text_index import text_indexes_of

WORDS = ("ant", "bee", "cat")
TEXTS = st.none() | st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
IDS = st.integers(-1, 6)
SLUGS = st.none() | st.sampled_from("xyz")
ROWS = st.fixed_dictionaries({"id": IDS, "a": TEXTS, "b": TEXTS, "slug": SLUGS})


def make_table(name):
    return Table(
        name,
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("a", Text),
        Column("b", Text),
        Column("slug", String(5), unique=True),
        TextIndex(f"{name}_text", "a", "b"),
    )


class TextMachine(RuleBasedStateMachine):
    """The rows that the table should have, by their ids."""

    engine = None
    table = None
    searches = None

    def __init__(self):
        super().__init__()
        self.connection = self.engine.connect()
        self.connection.execute(delete(self.table))
        self.connection.commit()
        self.rows = {}
        self.committed = {}
        self.savepoints = []
        self.on_sqlite = self.engine.dialect.name == "sqlite"

    @initialize(recursive=st.booleans())
    def begin(self, recursive):
        if self.on_sqlite:
            self.connection.exec_driver_sql(f"PRAGMA recursive_triggers = {recursive:d}")

    def conflicts(self, row, but=None):
        """The ids of the rows that cannot be there beside ``row``."""
        return [
            id
            for id, other in self.rows.items()
            if id != but and (id == row["id"] or (row["slug"] is not None and other["slug"] == row["slug"]))
        ]

    def put(self, row):
        self.rows[row["id"]] = row

    @rule(row=ROWS)
    def insert(self, row):
        if not self.conflicts(row):
            self.connection.execute(insert(self.table), row)
            self.put(row)

    @rule(a=TEXTS)
    def insert_with_a_new_id(self, a):
        id = max(self.rows, default=0) + 1
        if self.on_sqlite and id > 0:
            self.connection.execute(insert(self.table), {"a": a})
            self.put({"id": id, "a": a, "b": None, "slug": None})

    @rule(rows=st.lists(ROWS, min_size=1, max_size=3))
    def insert_or_replace(self, rows):
        if self.on_sqlite:
            self.connection.execute(insert(self.table).prefix_with("OR REPLACE").values(rows))
            for row in rows:
                for id in self.conflicts(row):
                    del self.rows[id]
                self.put(row)

    @rule(rows=st.lists(ROWS, min_size=1, max_size=3))
    def insert_or_ignore(self, rows):
        kind = sqlite_insert if self.on_sqlite else postgresql_insert
        self.connection.execute(kind(self.table).values(rows).on_conflict_do_nothing())
        for row in rows:
            if not self.conflicts(row):
                self.put(row)

    @rule(row=ROWS, moves=st.booleans())
    def insert_or_update(self, row, moves):
        if any(id != row["id"] for id in self.conflicts(row)):
            return
        kind = sqlite_insert if self.on_sqlite else postgresql_insert
        statement = kind(self.table).values(row)
        texts = {name: statement.excluded[name] for name in ("a", "b")}
        statement = statement.on_conflict_do_update(index_elements=["id"], set_=texts)
        self.connection.execute(statement)
        self.put({**self.rows.get(row["id"], row), "a": row["a"], "b": row["b"]})

    @rule(old=IDS, row=ROWS)
    def update(self, old, row):
        if old in self.rows and not self.conflicts(row, but=old):
            self.connection.execute(update(self.table).where(self.table.c.id == old).values(row))
            del self.rows[old]
            self.put(row)

    @rule(old=IDS, row=ROWS)
    def update_or_replace(self, old, row):
        if self.on_sqlite and old in self.rows:
            statement = update(self.table).prefix_with("OR REPLACE").where(self.table.c.id == old).values(row)
            self.connection.execute(statement)
            for id in self.conflicts(row, but=old):
                del self.rows[id]
            del self.rows[old]
            self.put(row)

    @rule(a=TEXTS, least=IDS)
    def update_many(self, a, least):
        self.connection.execute(update(self.table).where(self.table.c.id >= least).values(a=a))
        self.rows = {id: {**row, "a": a} if id >= least else row for id, row in self.rows.items()}

    @rule(id=IDS)
    def delete(self, id):
        self.connection.execute(delete(self.table).where(self.table.c.id == id))
        self.rows.pop(id, None)

    @rule()
    def savepoint(self):
        self.savepoints.append((self.connection.begin_nested(), dict(self.rows)))

    @precondition(lambda self: self.savepoints)
    @rule(released=st.booleans())
    def end_savepoint(self, released):
        savepoint, rows = self.savepoints.pop()
        if released:
            savepoint.commit()
        else:
            savepoint.rollback()
            self.rows = rows

    @rule(taken=st.booleans())
    def end_transaction(self, taken):
        self.savepoints.clear()
        if taken:
            self.connection.commit()
            self.committed = dict(self.rows)
        else:
            self.connection.rollback()
            self.rows = dict(self.committed)

    @precondition(lambda self: not self.connection.in_transaction())
    @rule()
    def vacuum(self):
        if self.on_sqlite:
            self.connection.connection.dbapi_connection.execute("VACUUM")

    @precondition(lambda self: self.on_sqlite)
    @rule()
    def rebuild(self):
        text_indexes_of(self.table)[0].rebuild(self.connection)

    @invariant()
    def words_are_found_where_they_are(self):
        for (columns, word), statement in self.searches.items():
            found = set(self.connection.scalars(statement))
            has = {id for id, row in self.rows.items() if any(word in (row[name] or "").split() for name in columns)}
            assert found == has, (columns, word)
        if self.on_sqlite:
            self.connection.exec_driver_sql("INSERT INTO doc_text (doc_text, rank) VALUES ('integrity-check', 1)")

    def teardown(self):
        assert text_indexes_of(self.table)[0].check(self.connection) == []
        self.connection.rollback()
        if self.on_sqlite:
            self.connection.exec_driver_sql("PRAGMA recursive_triggers = 0")
        self.connection.close()


@pytest.mark.parametrize(("database", "examples"), [("sqlite", 60), ("postgresql", 4)])
def test_the_index_is_as_the_table(new_url, database, examples):
    engine = create_engine(new_url(database))
    table = make_table("doc")
    table.create(engine)
    searches = {
        (columns, word): select(table.c.id).where(match(target, word))
        for columns, target in [("ab", table), ("a", table.c.a), ("b", table.c.b)]
        for word in WORDS
    }
    machine = type("Machine", (TextMachine,), {"engine": engine, "table": table, "searches": searches})
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=20, deadline=None))
    engine.dispose()
