"""TextVault: the contract, on every kind of bind."""

from __future__ import annotations

import pickle
import sqlite3
import threading

import numpy as np
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Integer, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session

from kohakuvault import (
    CorruptValue,
    InvalidArgument,
    KVault,
    NotFound,
    Pickle,
    ReadOnlyDatabase,
    SchemaMismatch,
    TextVault,
    UnknownOption,
    UnsupportedType,
    create_engine,
)
from kohakuvault.orm import TextIndex, TextTable, match

DOCS = [
    ("Rust is a language for systems, as C++ is", {"n": 1}),
    ("Python: a language; what has to be fast is in C++ or Rust", ("tuple", 2)),
    ("Café crème, see https://example.org/coffee", None),
]


@pytest.fixture
def texts(bind) -> TextVault:
    return TextVault(bind)


def ids(rows) -> list[int]:
    return [row[0] for row in rows]


# -- the contract ----------------------------------------------------------------------------------------


def test_what_is_written_is_found_and_read(texts):
    assert texts.insert(*DOCS[0]) == 1
    assert texts.insert_many(DOCS[1:]) == [2, 3]
    found = texts.search("rust LANGUAGE")
    assert [(id, value) for id, _, value in found] == [(1, {"n": 1}), (2, ("tuple", 2))] or ids(found) == [2, 1]
    assert all(score > 0 for _, score, _ in found)
    assert [row[1] for row in found] == sorted((row[1] for row in found), reverse=True)
    assert texts.search("creme CAFE")[0][0::2] == (3, None)
    ((id, score, text, value),) = texts.search_with_text("café")
    assert (id, text, value) == (3, DOCS[2][0], None)
    assert score == texts.search("café")[0][1]
    assert texts.count_matches("language") == 2
    assert texts.count_matches("C++") == 2
    assert texts.count_matches("nothing of it") == 0


def test_any_word_is_enough_where_it_is_said(texts):
    texts.insert_many(DOCS)
    question = "which coffee, or language, is fast?"
    assert texts.search(question) == []
    found = texts.search(question, any_word=True)
    assert ids(found) == [2, 3, 1] or sorted(ids(found)) == [1, 2, 3]
    assert ids(texts.search_with_text(question, any_word=True)) == ids(found)
    marked = dict(row[0::2] for row in texts.search_with_snippets(question, snippet_tokens=20, any_word=True))
    assert {id: piece.count("**") // 2 for id, piece in marked.items()}[3] == 1
    assert "**fast**" in next(row[2] for row in texts.search_with_snippets(question, any_word=True) if row[0] == 2)
    assert texts.count_matches(question, any_word=True) == 3
    assert texts.count_matches("++ --", any_word=True) == texts.count_matches("", any_word=True) == 0
    with pytest.raises(InvalidArgument, match="any_word"):
        texts.search("fast", escape=False, any_word=True)
    with pytest.raises(UnsupportedType, match="any_word is True or False"):
        texts.search("fast", any_word="yes")


def test_k_and_order(texts):
    texts.insert_many([("word " * count + "and other things " * 5, count) for count in (1, 5, 3)])
    best = texts.search("word")
    assert [value for _, _, value in best] == [5, 3, 1]
    assert texts.search("word", 1) == best[:1]
    assert texts.search("word", k=0) == []
    assert len(texts.search("word", np.int64(2))) == 2


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        '"',
        "AND",
        "NEAR(",
        "*",
        "rust*",
        "C++",
        "it's",
        "a'; DROP TABLE text_vault; --",
        "\0",
        "--",
        "🦀",
        "(a:b)",
    ],
)
def test_any_query_is_text(texts, query):
    texts.insert("C++ and it's rust, a b; DROP TABLE", 1)
    found = ids(texts.search(query))
    assert found in ([], [1])
    assert (found == [1]) == (query in ("AND", "rust*", "C++", "it's", "(a:b)"))
    assert texts.count_matches(query) == len(found)
    assert ids(texts.search_with_text(query)) == ids(texts.search_with_snippets(query)) == found
    assert len(texts) == 1


def test_snippets(texts):
    texts.insert("one two three four five six seven eight nine ten eleven twelve Café fourteen fifteen", "v")
    ((id, score, piece, value),) = texts.search_with_snippets("cafe", snippet_tokens=5)
    assert (id, value) == (1, "v")
    assert score == texts.search("cafe")[0][1]
    assert "**Café**" in piece
    assert piece.startswith("…")
    assert len(piece.replace("…", "").split()) <= 5
    (whole,) = texts.search_with_snippets("CAFE one", 10, None, 64, "<b>", "\\1</b>")
    assert whole[2].startswith("<b>one\\1</b> two")
    assert "<b>Café\\1</b> fourteen" in whole[2]
    for wrong in (0, 65, "5", True):
        with pytest.raises(InvalidArgument, match="snippet_tokens"):
            texts.search_with_snippets("a", snippet_tokens=wrong)
    with pytest.raises(InvalidArgument, match="content"):
        texts.search_with_snippets("a", snippet_column="other")


def test_a_text_is_a_key(texts):
    texts["say hello world"] = 1
    texts["hello world"] = 2
    assert texts["hello world"] == 2
    assert texts.get("say hello world") == 1
    texts["hello world"] = 3
    assert len(texts) == 2
    assert texts["hello world"] == 3
    assert "hello world" in texts
    assert "hello" not in texts
    assert texts.get("hello", None) is None
    assert texts.get("hello", default=5) == 5
    with pytest.raises(NotFound, match="exactly the text 'hello'"):
        texts["hello"]
    with pytest.raises(NotFound):
        texts.get("hello")
    with pytest.raises(KeyError):
        del texts["hello"]
    del texts["hello world"]
    assert "hello world" not in texts
    assert texts["say hello world"] == 1


@pytest.mark.parametrize(
    "text", ["", "!!", "a", "日本語", "x " * 5000, "it's", "a' || char(34) UNION SELECT value --", "né"]
)
def test_any_text_can_be_a_key(texts, text):
    texts[text + " more"] = 0
    texts[text] = 1
    texts[text] = 2
    assert texts[text] == 2
    assert len(texts) == 2
    del texts[text]
    assert text not in texts
    assert texts[text + " more"] == 0


@pytest.mark.parametrize(
    "tokenize",
    ["unicode61 tokenchars '-'", "unicode61 separators 'e'", "trigram", "porter ascii", "ascii tokenchars '_'"],
)
def test_a_text_is_a_key_by_any_tokenizer(tokenize):
    texts = TextVault(":memory:", tokenize=tokenize)
    for text in ("state-of-the-art", "under_score", "see the tree", "art", "ab"):
        texts[text] = 1
        texts[text] = 2
        assert text in texts
        assert texts[text] == 2
    assert len(texts) == 5


def test_rows_of_one_text(texts):
    texts.insert_many([("same", 1), ("same", 2), ("other", 3)])
    assert texts["same"] == 1
    texts["same"] = 9
    assert [value for _, (_, value) in texts.items()] == [9, 9, 3]
    del texts["same"]
    assert list(texts) == [3]


def test_rows_are_changed_and_removed(texts):
    first, second = texts.insert_many([("a quick fox", 1), ("a lazy dog", 2)])
    texts.update(first, "a slow bear")
    assert texts.search("fox") == []
    assert ids(texts.search("bear")) == [first]
    assert texts.get_by_id(first) == ("a slow bear", 1)
    texts.update(first, value=None)
    assert texts.get_by_id(first) == ("a slow bear", None)
    texts.update(second, "a dog", [2])
    assert texts.get_by_id(second) == ("a dog", [2])
    texts.update(second)
    texts.delete(first)
    assert texts.search("bear") == []
    assert first not in texts
    assert second in texts
    for change in (lambda: texts.delete(first), lambda: texts.update(first, value=1), lambda: texts.update(first)):
        with pytest.raises(NotFound, match=f"no id {first}"):
            change()
    with pytest.raises(NotFound):
        texts.get_by_id(first)
    assert texts.upsert(77, "in its place", 7) == 77
    assert texts.upsert(77, "in place", 8) == 77
    assert texts.get_by_id(77) == ("in place", 8)
    assert texts.search("its") == []
    assert texts.delete_many([second, 77, 78]) == 2
    assert len(texts) == 0
    assert not texts


def test_many_rows(texts):
    def pairs():
        for number in range(1500):
            yield f"number {number} of many", number

    given = texts.insert_many(pairs())
    assert given == list(range(1, 1501))
    assert len(texts) == texts.count() == 1500
    assert texts.keys() == list(texts) == given
    assert texts.keys(3) == [1, 2, 3]
    assert texts.keys(limit=2, offset=10) == [11, 12]
    assert ids(texts.search("many 1234")) == [1235]
    assert texts.get_many([3, 9999, 1]) == [("number 2 of many", 2), None, ("number 0 of many", 0)]
    assert dict(texts.items())[1500] == ("number 1499 of many", 1499)
    assert texts.insert_many([]) == []
    texts.clear()
    assert (len(texts), texts.search("many")) == (0, [])


def test_all_rows_or_none(texts):
    texts.insert("before", 0)

    def failing():
        for number in range(1100):
            yield f"text {number}", number
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        texts.insert_many(failing())
    for wrong in (
        [("a", 1), ("b",)],
        [("a", 1), "bc"],
        [("a", 1), (5, 2)],
        [("a", 1), ("b\ud800", 2)],
        [("a", 1), ("b", object())],
        [("a", 1), ("b", 2, {"nope": 1})],
        [("a", 1), ({"content": "b", "more": "c"}, 2)],
    ):
        with pytest.raises((InvalidArgument, UnsupportedType)):
            texts.insert_many(wrong)
    for wrong in (5, "ab", None, {"a": 1}):
        with pytest.raises(UnsupportedType):
            texts.insert_many(wrong)
    assert list(texts) == [1]
    assert texts.search("text") == texts.search("a") == []


def test_the_language_of_the_database(texts):
    texts.insert_many(DOCS)
    is_sqlite = texts.engine.dialect.name == "sqlite"
    assert ids(texts.search("lang* NOT python" if is_sqlite else "lang:* & !python", escape=False)) == [1]
    assert texts.count_matches("rust OR cafe" if is_sqlite else "rust | cafe", escape=False) == 3
    wrong, position = ("rust AND", 8) if is_sqlite else ("rust &", 6)
    for search in (texts.search, texts.search_with_text, texts.search_with_snippets, texts.count_matches):
        with pytest.raises(InvalidArgument, match=f"at position {position} is the end; expected"), texts.transaction():
            search(wrong, escape=False)
    with pytest.raises(InvalidArgument, match="NUL"):
        texts.search("a\0", escape=False)
    if is_sqlite:
        with pytest.raises(InvalidArgument, match=r"position 0 is 'nope'; expected one of the columns content"):
            texts.search("nope : rust", escape=False)
    assert len(texts.search("rust")) == 2


def test_a_transaction_takes_all_of_it_or_none(texts):
    kv = KVault(texts)
    texts.insert("before", 1)
    with pytest.raises(ZeroDivisionError), texts.transaction():
        texts.insert("after", 2)
        kv["a"] = 1
        assert ids(texts.search("after")) == [2]
        raise ZeroDivisionError
    assert (len(texts), texts.search("after"), dict(kv)) == (1, [], {})
    with texts.transaction():
        texts["after"] = 2
    assert texts["after"] == 2
    assert ids(texts.search("after")) != []


def test_several_columns(bind):
    texts = TextVault(bind, "articles", ["title", "body"], tokenize="porter", weights=[10, 1])
    assert texts.columns == ["title", "body"]
    first = texts.insert({"title": "Ants", "body": "Unlike crabs, they carry"}, 1)
    second = texts.insert({"body": "They run sideways", "title": "Crabs"}, 2)
    assert ids(texts.search("crab")) == [second, first]
    assert ids(texts.search("crab", column="body")) == [first]
    assert ids(texts.search("crab running")) == [second]
    assert texts.get_by_id(first) == ({"title": "Ants", "body": "Unlike crabs, they carry"}, 1)
    assert texts.search_with_text("carried")[0][2] == {"title": "Ants", "body": "Unlike crabs, they carry"}
    assert texts.search_with_snippets("carried")[0][2] == "Unlike crabs, they **carry**"
    assert texts.search_with_snippets("carried", snippet_column="title")[0][2] == "Ants"
    assert texts.search_with_snippets("crab", column="body")[0][2] == "Unlike **crabs**, they carry"
    assert texts.get({"title": "Ants"}) == 1
    assert {"title": "Ants", "body": "other"} not in texts
    texts[{"title": "Ants", "body": "Unlike crabs, they carry"}] = 3
    assert texts.get({"title": "Ants"}) == 3
    texts.update(first, {"title": "Bees"})
    assert texts.get_by_id(first) == ({"title": "Bees", "body": "Unlike crabs, they carry"}, 3)
    del texts[{"title": "Bees"}]
    assert len(texts) == 1
    for wrong in ("a text", {"title": "x"}, {"title": "x", "body": "y", "other": "z"}, {}):
        with pytest.raises(InvalidArgument):
            texts.insert(wrong, 1)
    for wrong in (5, None, ["a", "b"], {"title": "x", "body": 5}):
        with pytest.raises(UnsupportedType):
            texts.insert(wrong, 1)
    with pytest.raises(InvalidArgument, match="columns of text are title, body"):
        texts.search("a", column="value")


def test_metadata_and_conditions(bind):
    texts = TextVault(bind, metadata={"lang": String(), "year": Integer()})
    texts.insert("a crab", 1, {"lang": "en"})
    texts.insert_many([("a crab too", 2, {"lang": "en", "year": 2000}), ("crab auf deutsch", 3, {"lang": "de"})])
    texts.insert_many([("ein crab", 4)])
    assert set(ids(texts.search("crab"))) == {1, 2, 3, 4}
    assert set(ids(texts.search("crab", where={"lang": "en"}))) == {1, 2}
    assert ids(texts.search("crab", 1, where=texts.c.year > 1999)) == [2]
    assert ids(texts.search_with_text("crab", where=texts.entity.lang.is_(None))) == [4]
    assert ids(texts.search_with_snippets("crab", where=texts.c.lang.in_(["de", "fr"]))) == [3]
    assert texts.count_matches("crab", where={"lang": "en", "year": None}) == 1
    assert texts.get_metadata(2) == {"lang": "en", "year": 2000}
    texts.update(1, metadata={"year": 1})
    assert texts.get_metadata(1) == {"lang": "en", "year": 1}
    for wrong in ({"nope": 1}, {"lang": 5}, {"year": "x"}):
        with pytest.raises((InvalidArgument, UnsupportedType)):
            texts.insert("x", 1, wrong)
        with pytest.raises((InvalidArgument, UnsupportedType)):
            texts.search("crab", where=wrong)
    with pytest.raises(UnsupportedType):
        texts.search("crab", where="lang = 'en'")


# -- upstream's call forms -------------------------------------------------------------------------------


def test_code_written_for_1_1_0_runs(tmp_path):
    tv = TextVault(str(tmp_path / "a.db"), table="docs", columns=["title", "body"])
    id = tv.insert({"title": "t", "body": "hello world"}, {"v": 1})
    assert tv.insert_many([({"title": "a", "body": "b"}, 1)]) == [2]
    assert tv.search("hello", k=5, column="body", escape=True)[0][2] == {"v": 1}
    assert tv.search_with_text("hello", 5, None, True)[0][2:] == ({"title": "t", "body": "hello world"}, {"v": 1})
    snippet = tv.search_with_snippets("hello", 5, "body", 10, "<", ">", True)[0][2]
    assert snippet == "<hello> world"
    assert tv.count_matches("hello") == 1
    assert tv.keys(10, 0) == [1, 2]
    assert tv.info().items() >= {"table": "docs", "columns": ["title", "body"], "count": 2}.items()
    assert tv.exists(id)
    assert tv.auto_pack_enabled()
    tv.disable_auto_pack()
    with pytest.raises(UnsupportedType):
        tv.insert({"title": "t", "body": "b"}, 5)
    tv.enable_auto_pack()
    tv.clear()
    assert tv.count() == 0


# -- opening ---------------------------------------------------------------------------------------------


def test_what_a_table_was_made_with_it_keeps(url):
    TextVault(url, columns=["title"], tokenize="porter", weights=[2]).close()
    texts = TextVault(url, columns=["title"], tokenize="porter", weights=[2])
    assert texts.info() == {
        "table": "text_vault",
        "columns": ["title"],
        "count": 0,
        "tokenize": "porter",
        "weights": (2.0,),
        "metadata": [],
    }
    for options, said in (
        ({}, "columns"),
        ({"columns": ["title"]}, "tokenize='porter'"),
        ({"columns": ["title"], "tokenize": "porter", "weights": [3]}, "weights"),
        ({"columns": ["title"], "tokenize": "porter"}, r"weights=\[2.0\]"),
    ):
        with pytest.raises(SchemaMismatch, match=said):
            TextVault(url, **options)
    TextVault(url, "plain").close()
    with pytest.raises(SchemaMismatch, match="weights=None, not"):
        TextVault(url, "plain", weights=[2])
    KVault(url, "kv")["a"] = 1
    with pytest.raises(SchemaMismatch, match="holds 'kv', not 'text'"):
        TextVault(url, "kv")
    with pytest.raises(SchemaMismatch, match="create=False"):
        TextVault(url, "missing", create=False)


def test_wrong_options():
    for options, error in (
        ({"columns": []}, InvalidArgument),
        ({"columns": "title"}, UnsupportedType),
        ({"columns": ["a", "A"]}, InvalidArgument),
        ({"columns": ["value"]}, InvalidArgument),
        ({"columns": ["rank"]}, InvalidArgument),
        ({"columns": [5]}, UnsupportedType),
        ({"weights": [1, 2]}, InvalidArgument),
        ({"tokenize": ""}, InvalidArgument),
        ({"table": "sqlite_x"}, InvalidArgument),
        ({"table": 5}, UnsupportedType),
        ({"metadata": {"content": String()}}, InvalidArgument),
        ({"page_size": 4096}, UnknownOption),
        ({"colums": ["a"]}, UnknownOption),
    ):
        with pytest.raises(error):
            TextVault(":memory:", **options)
    with pytest.raises(UnknownOption, match="page_size"):
        TextVault(":memory:", page_size=4096)


class Base(DeclarativeBase):
    pass


class Note(TextTable, Base):
    __tablename__ = "note"
    __text_columns__ = ("title", "body")
    owner: Mapped[str | None]


def test_a_mapped_class_and_a_session(engine):
    with Session(engine) as session:
        notes = TextVault(session, Note)
        id = notes.insert({"title": "Crabs", "body": "They run"}, [1], {"owner": "ann"})
        session.add(Note(title="Ants", body="of crabs", value=2, owner="bob"))
        assert len(notes.search("crabs")) == 2
        assert ids(notes.search("crabs", where=Note.owner == "ann")) == [id]
        assert session.scalars(select(Note.owner).where(match(Note.body, "crabs"))).all() == ["bob"]
        session.rollback()
        assert session.scalars(select(Note)).all() == [] if sqlalchemy.inspect(engine).has_table("note") else True
        notes.insert({"title": "Crabs", "body": "They run"}, 1)
        session.commit()
    assert len(TextVault(engine, Note)) == 1
    for option in ({"columns": ["title", "body"]}, {"tokenize": "porter"}, {"metadata": {"a": String()}}):
        with pytest.raises(InvalidArgument, match="has its own"):
            TextVault(engine, Note, **option)


class Indexed(TextTable, Base):
    __tablename__ = "indexed"
    summary: Mapped[str | None]
    __table_args__ = (TextIndex("indexed_summary", "summary"), TextIndex("indexed_parts", "content", "summary"))


def test_a_class_may_have_indexes_beside_its_own(engine):
    texts = TextVault(engine, Indexed)
    id = texts.insert("the text", 1, {"summary": "in short"})
    assert ids(texts.search("text")) == [id]
    assert texts.search("short") == []
    assert texts["the text"] == 1
    assert [row[2] for row in texts.search_with_snippets("text")] == ["the **text**"]
    assert texts.check() == []


def test_reading_only(url):
    TextVault(url).insert("a", 1)
    texts = TextVault(url, read_only=True)
    assert ids(texts.search("a")) == [1]
    for write in (
        lambda: texts.insert("b", 1),
        lambda: texts.insert_many([("b", 1)]),
        lambda: texts.update(1, value=2),
        lambda: texts.delete(1),
        lambda: texts.__setitem__("a", 2),
        texts.clear,
        texts.rebuild_index,
    ):
        with pytest.raises(ReadOnlyDatabase):
            write()


def test_it_is_pickled_by_its_address(tmp_path):
    texts = TextVault(tmp_path / "a.db", columns=["t"], metadata={"n": Integer()})
    texts.insert("a", 1, {"n": 5})
    again = pickle.loads(pickle.dumps(texts))
    assert again.search("a", where={"n": 5})[0][2] == 1
    with pytest.raises(UnsupportedType, match="cannot be pickled"):
        pickle.dumps(TextVault(create_engine(":memory:")))


def test_pickles_only_where_allowed(url):
    class Local:
        pass

    texts = TextVault(url)
    with pytest.raises(UnsupportedType):
        texts.insert("a", Local())
    TextVault(url, "p", pickle=True).insert("a", Pickle({"a": 1}))
    with pytest.raises(CorruptValue, match="pickle"):
        TextVault(url, "p").search("a")


# -- others write to the table ---------------------------------------------------------------------------


def test_rows_of_other_writers_are_found(tmp_path):
    path = tmp_path / "a.db"
    texts = TextVault(path)
    texts.insert_many([("one crab", 1), ("two crabs", 2)])
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE text_vault SET content = 'one lobster' WHERE id = 1")
        other.execute("DELETE FROM text_vault WHERE id = 2")
        other.execute("INSERT INTO text_vault (content, value) SELECT 'a crab of theirs', value FROM text_vault")
    assert ids(texts.search("lobster")) == [1]
    assert ids(texts.search("crab")) == [2]
    assert texts.check() == []
    with other:
        for name in ("insert", "update", "delete"):
            other.execute(f"DROP TRIGGER text_vault_index_{name}")
        other.execute("UPDATE text_vault SET content = 'unseen' WHERE id = 1")
    other.close()
    assert texts.search("unseen") == []
    problems = texts.check()
    assert problems
    assert not any(problem.fixed for problem in problems)
    texts.rebuild_index()
    assert texts.check() == []
    assert ids(texts.search("unseen")) == [1]


def test_check_repairs(engine):
    texts = TextVault(engine)
    texts.insert_many(DOCS)
    with engine.begin() as connection:
        for statement in texts._index.drop_statements(engine.dialect):
            connection.exec_driver_sql(statement)
    assert texts.check() != []
    assert all(problem.fixed for problem in texts.check(fix=True))
    assert texts.check() == []
    assert len(texts.search("rust")) == 2


def test_a_damaged_value_names_its_row(engine):
    texts = TextVault(engine)
    texts.insert_many([("a crab", 1), ("a crab too", 2)])
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE text_vault SET value = :value WHERE id = 2"), {"value": b"\xff"})
    for read in (
        lambda: texts.search("crab"),
        lambda: texts.search_with_text("crab"),
        lambda: texts.get_by_id(2),
        lambda: texts["a crab too"],
        lambda: list(texts.items()),
    ):
        with pytest.raises(CorruptValue, match="id 2"):
            read()
    assert [problem.where for problem in texts.check()] == [2]
    texts.update(2, value=5)
    assert texts["a crab too"] == 5


def test_postgresql_holds_no_nul(postgresql_url, new_url):
    texts = TextVault(new_url("postgresql"))
    with pytest.raises(InvalidArgument, match="NUL"):
        texts.insert("a\0b", 1)
    with pytest.raises(InvalidArgument, match="NUL"):
        texts.insert_many([("a\0b", 1)])
    lite = TextVault(":memory:")
    lite["a\0b"] = 1
    assert lite["a\0b"] == 1


# -- at once ---------------------------------------------------------------------------------------------


def test_two_that_set_a_new_text_leave_one_row(url):
    vaults = [TextVault(create_engine(url)) for _ in range(4)]
    start = threading.Barrier(4)

    def write(texts: TextVault) -> None:
        for number in range(10):
            start.wait()
            texts[f"text {number}"] = number

    threads = [threading.Thread(target=write, args=(texts,)) for texts in vaults]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(text for _, (text, _) in vaults[0].items()) == sorted(f"text {number}" for number in range(10))
    for texts in vaults:
        texts.engine.dispose()


# -- against a search in Python --------------------------------------------------------------------------

WORDS = ["rust", "Rust", "crab", "café", "CAFE", "x1", "e-mail", "mail", "日本", "a"]


def folded(word: str) -> str:
    return word.lower().replace("é", "e")


def tokens(text: str) -> list[str]:
    return [token for word in text.split() for token in folded(word).split("-")]


def matches(query: str, text: str) -> bool:
    there = tokens(text)
    for word in query.split():
        parts = folded(word).split("-")
        if not any(there[at : at + len(parts)] == parts for at in range(len(there))):
            return False
    return bool(query.split())


texts_of_words = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(texts_of_words, max_size=8), queries=st.lists(texts_of_words, min_size=1, max_size=4))
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_is_found_is_what_has_all_words(shared_engines, database, rows, queries):
    texts = TextVault(shared_engines(database))
    texts.clear()
    given = dict(zip(texts.insert_many([(text, None) for text in rows]), rows, strict=True))
    for query in queries:
        expected = {id for id, text in given.items() if matches(query, text)}
        assert set(ids(texts.search(query, 100))) == expected
        assert texts.count_matches(query) == len(expected)
        for _, _, piece, _ in texts.search_with_snippets(query, 100, snippet_tokens=64):
            assert piece.replace("**", "") in rows
    for text in rows:
        assert texts[text] is None
