"""Where a query of a database's own language is wrong: the parsers find an error exactly where the database has one."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kohakuvault.text.fts5_syntax import check_fts5
from kohakuvault.text.syntax_error import QuerySyntaxError
from kohakuvault.text.tsquery_syntax import check_tsquery

FTS5 = [
    "a",
    "body",
    "nope",
    "NEAR",
    "near",
    "AND",
    "OR",
    "NOT",
    "5",
    "é",
    '"x y"',
    '"',
    "(",
    ")",
    "{",
    "}",
    ":",
    ",",
    "+",
]
FTS5 += ["*", "-", "^", "?", "'", " ", "NEAR(", "body:", "{body title}:", "title : (", "a*", '"title":']
TSQUERY = ["a", "b c", "'q r'", "'it''s'", "'", "&", "|", "!", "(", ")", "<->", "<2>", "<", ">", ":*", ":AB", ":", ":x"]
TSQUERY += ["*", " ", "\\", "\\:", "é", "<99999>", ",", "-"]


def position_of(check, *arguments) -> int | None:
    try:
        check(*arguments)
    except QuerySyntaxError as error:
        return error.position
    return None


@pytest.fixture(scope="module")
def fts5():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(title, body)")
    yield connection
    connection.close()


@settings(max_examples=400)
@given(parts=st.lists(st.sampled_from(FTS5), min_size=1, max_size=9), spaced=st.booleans())
@example(parts=["a", "(", "b", ")"], spaced=True)
@example(parts=["(", "a", ")", "b"], spaced=True)
def test_fts5_refuses_what_the_parser_does(fts5, parts, spaced):
    query = (" " if spaced else "").join(parts)
    try:
        fts5.execute("SELECT rowid FROM t WHERE t MATCH ?", (query,)).fetchall()
        refused = None
    except sqlite3.OperationalError as error:
        refused = str(error)
    position = position_of(check_fts5, query, ["title", "body"])
    assert (position is None) == (refused is None), (query, refused, position)


@pytest.mark.parametrize(
    ("query", "position"),
    [
        ("", 0),
        ("rust AND", 8),
        ("AND rust", 0),
        ("rust OR OR c", 8),
        ('rust "c', 5),
        ("(rust", 5),
        ("rust)", 4),
        ("C++", 2),
        ("it's", 2),
        ("lang:rust", 0),
        ("body:", 5),
        ("NEAR(a b, x)", 10),
        ("* rust", 0),
        ("rust - c", 7),
    ],
)
def test_the_position_in_fts5(query, position):
    assert position_of(check_fts5, query, ["title", "body"]) == position


@pytest.fixture(scope="module")
def postgresql(postgresql_url):
    engine = sqlalchemy.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@settings(max_examples=400)
@given(parts=st.lists(st.sampled_from(TSQUERY), min_size=1, max_size=8), spaced=st.booleans())
def test_to_tsquery_refuses_what_the_parser_does(postgresql, parts, spaced):
    query = (" " if spaced else "").join(parts)
    try:
        postgresql.exec_driver_sql("SELECT to_tsquery('simple', %s)", (query,)).all()
        refused = None
    except sqlalchemy.exc.DBAPIError as error:
        refused = str(error.orig)
    position = position_of(check_tsquery, query)
    # Of nothing at all PostgreSQL makes a query that finds nothing.
    assert (position is None) == (refused is None) or not query.strip(), (query, refused, position)


@pytest.mark.parametrize(
    ("query", "position"),
    [("a &", 3), ("& a", 0), ("a b", 2), ("(a", 2), ("a)", 1), ("'a", 0), ("a <-> ", 6), ("a | ! | b", 6)],
)
def test_the_position_in_a_tsquery(query, position):
    assert position_of(check_tsquery, query) == position
