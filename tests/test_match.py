"""match, rank and text_search: the same rows by the same query on both databases."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    exists,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from kohakuvault import InvalidArgument, UnsupportedType, create_engine
from kohakuvault.orm import TextIndex, match, rank, text_search
from kohakuvault.orm.text_index import text_indexes_of
from kohakuvault.orm.types.search_query import SearchQuery


class Models(DeclarativeBase):
    pass


class Page(Models):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    lang: Mapped[str] = mapped_column(default="en")
    title: Mapped[str | None]
    body: Mapped[str | None]
    extra: Mapped[str | None] = mapped_column("more", Text)
    __table_args__ = (
        TextIndex("page_text", "title", "body", weights=(4, 1)),
        TextIndex("page_stems", "more", tokenize="porter"),
    )


class Plain(Models):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str | None]
    __table_args__ = (TextIndex("plain_body", "body"),)


class Event(Models):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    body: Mapped[str]
    __table_args__ = (TextIndex("event_body", "body"),)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "event"}  # noqa: RUF012


class Talk(Event):
    __tablename__ = "talk"
    id: Mapped[int] = mapped_column(ForeignKey("event.id"), primary_key=True)
    speaker: Mapped[str]
    __mapper_args__ = {"polymorphic_identity": "talk"}  # noqa: RUF012


PAGES = [
    Page(id=1, title="Rust", body="a language for systems, like C++ and C"),
    Page(id=2, title="Python", body="a language; its speed-ups are in rust or C"),
    Page(id=3, title="Café Zürich", body="naïve résumé, e-mail to somebody@example.com"),
    Page(id=4, title=None, body="see https://example.org/rust/index.html?a=b", lang="de"),
    Page(id=5, title="rust", body=None, lang="de"),
    Page(id=6, title="x", body="x", extra="the runner was running happily"),
]


@pytest.fixture
def session(engine):
    Models.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(
            [Page(**{key: getattr(page, key) for key in ("id", "title", "body", "extra", "lang")}) for page in PAGES]
        )
        session.commit()
        yield session


def found(session, condition):
    return list(session.scalars(select(Page.id).where(condition).order_by(Page.id)))


def whole():
    return text_indexes_of(Page.__table__)[0]


# -- what is found -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("rust", [1, 2, 4, 5]),
        ("RUST", [1, 2, 4, 5]),
        ("rust language", [1, 2]),
        ("language rust", [1, 2]),
        ("C++", [1, 2]),
        ("C++ ++ --", [1, 2]),
        ("speed-ups", [2]),
        ("ups-speed", []),
        ("speed ups", [2]),
        ("ups speed", [2]),
        # The last word of a title and the first of a body are not side by side.
        ("python-a", []),
        ("cafe", [3]),
        ("CAFÉ zurich", [3]),
        ("nai\u0308ve", [3]),
        ("e-mail", [3]),
        ("mail", [3]),
        ("example", [3, 4]),
        ("somebody@example.com", [3]),
        ("https://example.org/rust", [4]),
        ("index.html", [4]),
        ("rus", []),
        ("rust*", [1, 2, 4, 5]),
        ("", []),
        (" \t\n", []),
        ("++", []),
        ("\0", []),
        ("rust\0language", [1, 2]),
        ('"', []),
        ('"rust" AND (', [1]),
        ("NOT rust", []),
        ("rust NEAR", []),
        ("title:rust", []),
        ("rust:A", []),
        ("a & b | c ! d <-> e", []),
        ("'rust'", [1, 2, 4, 5]),
        ("\\rust\\", [1, 2, 4, 5]),
        ("%rust_%", [1, 2, 4, 5]),
        ("{rust}", [1, 2, 4, 5]),
        ("^rust", [1, 2, 4, 5]),
        ("-rust", [1, 2, 4, 5]),
        ("rust → language", [1, 2]),
        ("😀", []),
    ],
)
def test_every_word_is_found_whatever_characters_are_typed(session, query, ids):
    assert found(session, match(whole(), query)) == ids
    typed = bindparam("typed")
    assert (
        list(session.scalars(select(Page.id).where(match(whole(), typed)).order_by(Page.id), {"typed": query})) == ids
    )


ANY = [
    "rust",
    "rust nowhere",
    "C++ café",
    "++ rust",
    "the runner walks",
    "",
    "++ --",
    "rust\0café",
    '" OR a',
    "x rust",
    "😀 ru",
]


@pytest.mark.parametrize("query", ANY)
def test_any_word_finds_what_each_word_finds(session, query):
    for target in (whole(), Page.title, Page.extra):
        each = {id for word in query.replace("\0", " ").split() for id in found(session, match(target, word))}
        assert found(session, match(target, query, any_word=True)) == sorted(each)
        typed = match(target, bindparam("typed"), any_word=True)
        assert set(session.scalars(select(Page.id).where(typed), {"typed": query})) == each


def test_of_any_word_rows_with_more_and_rarer_ones_come_first(session):
    for query in ("see the rust language", "which language is it that runs on systems"):
        hit = text_search(whole(), query, any_word=True)
        ids = list(session.scalars(select(hit.c.id).order_by(hit.c.score.desc(), hit.c.id)))
        assert set(ids) == set(found(session, match(whole(), query, any_word=True)))
        scores = select(Page.id).where(match(whole(), query, any_word=True))
        assert ids == list(session.scalars(scores.order_by(rank(whole(), query, any_word=True).desc(), Page.id)))
    assert ids[0] == 1
    with pytest.raises(InvalidArgument, match="any_word"):
        match(whole(), "rust", escape=False, any_word=True)


def test_a_column_of_several_is_searched_alone(session):
    assert found(session, match(Page.title, "rust")) == [1, 5]
    assert found(session, match(Page.body, "rust")) == [2, 4]
    assert found(session, match(Page.body, "rust language")) == [2]
    assert found(session, match(Page.__table__.c.title, "rust")) == [1, 5]
    assert found(session, match(Page.title, "rust") | match(Page.body, "rust")) == [1, 2, 4, 5]


def test_stems_are_found_by_porter_and_common_words_too(session):
    for query in ("run", "runs happily", "THE runner", "was"):
        assert found(session, match(Page.extra, query)) == [6], query
    assert found(session, match(Page.extra, "walk")) == []


def test_a_long_query_is_a_query(session):
    page = " ".join(f"word{number}" for number in range(3000))
    session.add(Page(id=9, body=page))
    session.flush()
    assert found(session, match(whole(), page + " " + page)) == [9]
    assert found(session, match(whole(), page + " another")) == []


def test_the_databases_own_language(session):
    sqlite = session.bind.dialect.name == "sqlite"
    query = 'rust NOT "language"' if sqlite else "rust & !language"
    assert found(session, match(whole(), query, escape=False)) == [4, 5]
    assert found(session, match(whole(), "ru*" if sqlite else "ru:*", escape=False)) == [1, 2, 4, 5]
    assert found(session, match(Page.title, "ru*" if sqlite else "ru:*", escape=False)) == [1, 5]
    with pytest.raises(DBAPIError):
        found(session, match(whole(), "rust (", escape=False))


def test_what_is_no_query_is_refused_when_it_is_written_down_and_when_it_is_run(session):
    later = select(Page.id).where(match(whole(), bindparam("typed")))
    for query, error, message in [
        (None, UnsupportedType, "a query is a str, or a bindparam, not NoneType"),
        (b"rust", UnsupportedType, "not bytes"),
        ("\ud800", InvalidArgument, "a lone surrogate"),
    ]:
        with pytest.raises(error, match=message):
            match(whole(), query)
        with pytest.raises(StatementError, match=message):
            session.execute(later, {"typed": query})
    with pytest.raises(InvalidArgument, match="contains a NUL"):
        match(whole(), "a\0b", escape=False)


# -- in statements ---------------------------------------------------------------------------------------


def test_it_is_a_condition_beside_others(session):
    assert found(session, match(whole(), "rust") & (Page.lang == "de")) == [4, 5]
    assert found(session, ~match(whole(), "rust")) == [3, 6]
    assert found(session, match(whole(), "rust") & ~match(whole(), "language")) == [4, 5]
    assert found(session, match(whole(), "rust") | (Page.id == 6)) == [1, 2, 4, 5, 6]
    counted = select(Page.lang, func.count().filter(match(whole(), "rust"))).group_by(Page.lang).order_by(Page.lang)
    assert session.execute(counted).all() == [("de", 2), ("en", 2)]
    flags = session.execute(select(Page.id, match(whole(), "rust").label("is_about_it")).order_by(Page.id)).all()
    assert [(row.id, row.is_about_it) for row in flags] == [
        (1, True),
        (2, True),
        (3, False),
        (4, True),
        (5, True),
        (6, False),
    ]


def test_it_may_be_of_an_alias_and_in_joins_and_subqueries(session):
    other = aliased(Page)
    pairs = (
        select(Page.id, other.id)
        .join(other, other.lang == Page.lang)
        .where(match(Page.title, "rust"), match(other.body, "rust"))
    )
    assert sorted(map(tuple, session.execute(pairs))) == [(1, 2), (5, 4)]
    table = Page.__table__.alias("p")
    assert list(session.scalars(select(table.c.id).where(match(table.c.body, "rust")).order_by(table.c.id))) == [2, 4]
    other_plain, of_table = aliased(Plain), Plain.__table__.alias()
    session.add_all([Plain(id=1, body="rust"), Plain(id=2, body="crab")])
    session.flush()
    for target, key in [
        (Plain, Plain.id),
        (other_plain, other_plain.id),
        (Plain.__table__, Plain.id),
        (of_table, of_table.c.id),
    ]:
        assert list(session.scalars(select(key).where(match(target, "crab")))) == [2]
    within = select(Page.id).where(exists().where(Plain.id == Page.id, match(Plain, "rust")))
    assert list(session.scalars(within)) == [1]
    from_subquery = select(aliased(Page, select(Page).where(match(whole(), "cafe")).subquery()))
    assert session.scalars(from_subquery).one().id == 3


def test_classes_that_inherit_are_searched_by_the_index_of_their_parents_table(session):
    session.add_all(
        [Event(id=1, body="rust"), Talk(id=2, body="rust", speaker="a"), Talk(id=3, body="other", speaker="b")]
    )
    session.flush()
    other = aliased(Talk)
    assert {each.id for each in session.scalars(select(Event).where(match(Event.body, "rust")))} == {1, 2}
    for entity, target in [(Talk, Talk.body), (Talk, Talk), (other, other), (other, other.body)]:
        assert [each.speaker for each in session.scalars(select(entity).where(match(target, "rust")))] == ["a"]
        hit = text_search(target, "rust", where=entity.speaker == "a")
        assert session.scalars(select(entity.speaker).join(hit, hit.c.id == entity.id)).all() == ["a"]


def test_statements_are_compiled_once(engine):
    Models.metadata.create_all(engine)
    cache = {}

    def statements(query):
        hit = text_search(whole(), query, len(query), where=Page.lang == query)
        yield select(Page.id).where(match(Page.body, query))
        yield select(Page.id).where(match(whole(), query)).order_by(rank(whole(), query))
        yield select(Page.id, hit.c.score).join(hit, hit.c.id == Page.id)

    with engine.connect().execution_options(compiled_cache=cache) as connection:
        for query in ("rust", "C++ language", ""):
            for statement in statements(query):
                connection.execute(statement)
        assert len(cache) == 3
        # Another column, another language of the query: other statements.
        connection.execute(select(Page.id).where(match(Page.title, "rust")))
        connection.execute(select(Page.id).where(match(Page.body, "rust", escape=False)))
        assert len(cache) == 5


def test_one_parameter_may_serve_several_times(session):
    typed = bindparam("typed")
    hit = text_search(whole(), typed)
    statement = (
        select(Page.id, rank(whole(), typed), hit.c.score)
        .join(hit, hit.c.id == Page.id)
        .where(match(whole(), typed), ~match(Page.title, typed))
        .order_by(Page.id)
    )
    for query, ids in [("rust", [2, 4]), ("C++", [1, 2]), ("x", [])]:
        rows = session.execute(statement, {"typed": query}).all()
        assert [row[0] for row in rows] == ids
        assert all(row[1] == pytest.approx(row[2]) for row in rows)


def test_it_says_what_it_cannot_search():
    bare = Table("bare", MetaData(), Column("id", Integer, primary_key=True), Column("body", String))
    with pytest.raises(InvalidArgument, match=r"no text index of bare\.body: give its table one"):
        match(bare.c.body, "x")
    with pytest.raises(InvalidArgument, match=r"no text index of Page\.lang"):
        match(Page.lang, "x")
    with pytest.raises(InvalidArgument, match=r"Page has not one text index but 2 \('page_text', 'page_stems'\)"):
        match(Page, "x")
    with pytest.raises(InvalidArgument, match="'bare' has not one text index but 0"):
        match(bare, "x")
    for wrong in ("page", None, 3, object()):
        with pytest.raises(UnsupportedType, match="what is searched is a mapped class"):
            match(wrong, "x")
    for wrong in (-1, 2.0, "3", True):
        with pytest.raises(InvalidArgument, match="k must be"):
            text_search(Plain, "x", wrong)


def test_it_can_be_shown_and_other_databases_are_refused():
    assert "MATCH" in str(select(Page.id).where(match(Page.body, "x")))
    with pytest.raises(InvalidArgument, match="on SQLite and PostgreSQL, not on mysql"):
        select(Page.id).where(match(Page.body, "x")).compile(dialect=mysql.dialect())


def test_a_statement_with_its_values_in_it_finds_the_same(session):
    for query in ("rust", "C++ 'it''s' \\ %", "cafe"):
        statement = select(Page.id).where(match(whole(), query)).order_by(Page.id)
        literal = statement.compile(session.bind, compile_kwargs={"literal_binds": True})
        direct = session.connection().exec_driver_sql(str(literal)).scalars().all()
        assert direct == found(session, match(whole(), query))


def test_the_type_of_queries_evals():
    assert repr(eval(repr(SearchQuery(any_word=True)))) == "SearchQuery(escape=True, form='words', any_word=True)"
    assert repr(eval(repr(SearchQuery(False, "text")))) == "SearchQuery(escape=False, form='text')"


# -- the best first ----------------------------------------------------------------------------------------


def test_what_counts_more_comes_first(session):
    ranked = select(Page.id).where(match(whole(), "rust")).order_by(rank(whole(), "rust").desc(), Page.id)
    in_title, in_body = {1, 5}, {2, 4}
    ids = list(session.scalars(ranked))
    assert set(ids[:2]) == in_title
    assert set(ids[2:]) == in_body
    scores = session.scalars(select(rank(whole(), "rust")).order_by(Page.id)).all()
    assert all(score > 0 for score in (scores[0], scores[1], scores[3], scores[4]))
    assert scores[2] == scores[5] == 0


def test_more_occurrences_count_more(session):
    session.add_all([Page(id=20 + n, body="crab " * n + "filler " * (6 - n)) for n in range(1, 6)])
    session.add_all([Page(id=40 + n, body=f"others {n}") for n in range(20)])
    session.flush()
    hit = text_search(Page.body, "crab")
    assert list(session.scalars(select(hit.c.id).order_by(hit.c.score.desc()))) == [25, 24, 23, 22, 21]


def test_the_k_best_of_those_that_fulfil_a_condition(session):
    hit = text_search(whole(), "rust", k=2)
    rows = session.execute(select(Page, hit.c.score).join(hit, hit.c.id == Page.id).order_by(hit.c.score.desc())).all()
    assert {page.id for page, _ in rows} == {1, 5}
    assert rows[0].score >= rows[1].score > 0
    for where, ids in [(Page.lang == "en", {1, 2}), (Page.id.in_([2, 4, 6]), {2, 4}), (Page.lang == "fr", set())]:
        hit = text_search(whole(), "rust", k=2, where=where)
        assert set(session.scalars(select(hit.c.id))) == ids
    assert set(session.scalars(select(text_search(whole(), "rust", k=None).c.id))) == {1, 2, 4, 5}
    assert session.scalars(select(text_search(whole(), "rust", k=0).c.id)).all() == []
    some = select(text_search(whole(), "rust", k=bindparam("k")).c.id)
    assert [len(session.scalars(some, {"k": k}).all()) for k in (0, 1, 3, 10)] == [0, 1, 3, 4]


def test_a_search_may_be_of_an_alias_and_one_column(session):
    other = aliased(Page)
    hit = text_search(other.body, "rust", where=other.lang == "de")
    assert list(session.scalars(select(other.id).join(hit, hit.c.id == other.id))) == [4]
    hits = [text_search(Page.title, "rust").alias(), text_search(Page.body, "language").alias()]
    both = select(hits[0].c.id).join(hits[1], hits[0].c.id == hits[1].c.id)
    assert list(session.scalars(both)) == [1]


def test_ranks_can_be_fused_in_one_statement(session):
    # What a hybrid search is made of: the position in each list.
    def positions(hit):
        return select(hit.c.id, func.row_number().over(order_by=hit.c.score.desc()).label("position")).subquery()

    title, body = positions(text_search(Page.title, "rust")), positions(text_search(Page.body, "rust language"))
    score = func.coalesce(1.0 / (60 + title.c.position), 0) + func.coalesce(1.0 / (60 + body.c.position), 0)
    fused = select(Page.id, score).outerjoin(title, title.c.id == Page.id).outerjoin(body, body.c.id == Page.id)
    rows = session.execute(fused.where(score > 0).order_by(score.desc(), Page.id)).all()
    assert {row.id for row in rows} == {1, 2, 5}


# -- tokenizers ----------------------------------------------------------------------------------------------


def table_with(**options):
    return Table(
        "t", MetaData(), Column("id", Integer, primary_key=True), Column("a", Text), TextIndex("t_a", "a", **options)
    )


@pytest.mark.parametrize(
    ("options", "texts", "query", "ids"),
    [
        ({"tokenize": "unicode61 remove_diacritics 0"}, ["cafe", "café"], "café", [2]),
        ({"tokenize": "unicode61 remove_diacritics '2'"}, ["cafe", "café"], "café", [1, 2]),
        ({"tokenize": "porter unicode61"}, ["connections", "connected", "other"], "connect", [1, 2]),
        ({"tokenize": "porter unicode61 remove_diacritics 0"}, ["résumés", "resumes"], "résumé", [1]),
    ],
)
def test_tokenizers_mean_the_same_on_both_databases(engine, options, texts, query, ids):
    table = table_with(**options)
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"a": each} for each in texts])
        assert connection.scalars(select(table.c.id).where(match(table, query)).order_by(table.c.id)).all() == ids


TRIGRAM_TEXTS = ["中文全文検索", "Übersetzung der C++-Bibliothek", "it's a\\b\nc's 'quoted'", "setzung", None]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("文全文", [1]),
        ("SETZUNG iblio", [2]),
        ("C++", [2]),
        ("setz", [2, 4]),
        ("zungsetz", []),
        # All of its trigrams are there, and it is not.
        ("setzunderset", []),
        ("t's", [3]),
        ("'quoted'", [3]),
        ("a\\b", [3]),
        # Too short to be of trigrams: passed over beside others.
        ("de", []),
        ("de setzung", [2, 4]),
        ("", []),
        ("%%% ___", []),
    ],
)
def test_parts_of_words_are_found_by_trigrams(engine, query, ids):
    table = table_with(tokenize="trigram")
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"a": each} for each in TRIGRAM_TEXTS])
        found = select(table.c.id).where(match(table, query)).order_by(table.c.id)
        assert connection.scalars(found).all() == ids
        typed = select(table.c.id).where(match(table.c.a, bindparam("typed"))).order_by(table.c.id)
        assert connection.scalars(typed, {"typed": query}).all() == ids
        anyone = select(table.c.id).where(match(table, query + " nowhere", any_word=True))
        each = [connection.scalars(select(table.c.id).where(match(table, word))).all() for word in query.split()]
        assert sorted(connection.scalars(anyone)) == sorted(set().union(*each))
        hit = text_search(table, query)
        assert sorted(connection.scalars(select(hit.c.id))) == ids
        assert all(score > 0 for score in connection.scalars(select(hit.c.score)))


def test_parts_of_words_in_several_columns(engine):
    table = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("a", Text),
        Column("b", Text),
        TextIndex("t_ab", "a", "b", tokenize="trigram case_sensitive 1", weights=(5, 1)),
    )
    table.create(engine)
    with engine.begin() as connection:
        rows = [("foobar", "other"), ("other", "foobar"), ("foo", "bar"), ("FOOBAR", None), ("xfo", "oba")]
        connection.execute(insert(table), [{"a": a, "b": b} for a, b in rows])

        def ids(target, query):
            return sorted(connection.scalars(select(table.c.id).where(match(target, query))))

        assert ids(table, "foobar") == ids(table, "oba bar") == [1, 2]
        assert ids(table, "foo bar") == [1, 2, 3]
        assert ids(table.c.b, "foobar") == [2]
        assert ids(table, "FOO") == [4]
        assert ids(table, "fooba") == [1, 2]
        ranked = select(table.c.id).where(match(table, "foobar")).order_by(rank(table, "foobar").desc())
        assert connection.scalars(ranked).all() == [1, 2]


def test_a_search_of_trigrams_is_by_the_index_on_postgresql(new_url):
    engine = create_engine(new_url("postgresql"))
    table = table_with(tokenize="trigram")
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"a": f"number {n * 7919}"} for n in range(3000)])
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        found = select(table.c.id).where(match(table, "27919")).compile(engine)
        values = {
            name: bind.type.process_bind_param(bind.value, engine.dialect) for bind, name in found.bind_names.items()
        }
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {found}", values).scalars())
        assert "Bitmap Index Scan on t_a" in plan
    with pytest.raises(InvalidArgument, match="no query language"):
        select(table.c.id).where(match(table, "x", escape=False)).compile(engine)
    engine.dispose()


def test_a_tokenizer_that_postgresql_has_nothing_like_is_refused_there_and_there_only(new_url):
    engine = create_engine(new_url("postgresql"))
    for tokenize in ("trigram remove_diacritics 1", "unicode61 tokenchars '-'", "ascii", "my_own"):
        table = table_with(tokenize=tokenize)
        with pytest.raises(InvalidArgument, match=r"nothing like tokenize=.* by postgresql_config="):
            table.create(engine)
        for expression in (match(table, "x"), rank(table, "x"), text_search(table, "x").c.id):
            str(select(expression))
            with pytest.raises(InvalidArgument, match="nothing like"):
                select(expression).compile(engine)
    engine.dispose()


def test_a_configuration_of_postgresqls_own(new_url):
    engine = create_engine(new_url("postgresql"))
    table = table_with(tokenize="trigram", postgresql_config="pg_catalog.german")
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"a": "die Häuser in der Straße"}, {"a": "see https://example.org/a"}])

        def ids(query, **options):
            return connection.scalars(select(table.c.id).where(match(table, query, **options))).all()

        assert ids("der Haus") == ids("hau:*", escape=False) == [1]
        assert ids("https://example.org/a") == [2]
        assert ids("https://example.org/a der Straßen und", any_word=True) == [1, 2]
        assert ids("der und", any_word=True) == ids("", any_word=True) == []
        hit = text_search(table, "straße")
        assert connection.scalars(select(hit.c.score)).one() > 0
    engine.dispose()


def test_more_weights_than_postgresql_has_are_refused_there(new_url):
    engine = create_engine(new_url("postgresql"))
    names = "abcde"
    table = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        *(Column(name, Text) for name in names),
        TextIndex("i", *names, weights=(1, 2, 3, 4, 5)),
    )
    with pytest.raises(InvalidArgument, match="tells four weights apart, and there are 5"):
        table.create(engine)
    engine.dispose()


# -- both databases find the same ------------------------------------------------------------------------------

_SIGNS = " .,-+*/'\"()<>@:&|!_#\\\t%é中ΩßÀ😀→“”"
_TEXTS = st.text(st.sampled_from("aAbcz019" + _SIGNS), max_size=12)


@pytest.fixture(scope="module")
def both(shared_engines):
    table = Table(
        "both",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("a", Text),
        Column("b", Text),
        TextIndex("both_text", "a", "b"),
    )
    engines = [shared_engines("sqlite"), shared_engines("postgresql")]
    for engine in engines:
        table.create(engine)
    yield table, engines
    for engine in engines:
        table.drop(engine)


@settings(max_examples=60)
@given(
    texts=st.lists(st.tuples(st.none() | _TEXTS, _TEXTS), min_size=1, max_size=6),
    queries=st.lists(_TEXTS, min_size=1, max_size=4),
)
@example(texts=[("a@b.c", "1.5 -2 a/b/c <b> &amp; http://a.b/c?d=1")], queries=["a.b", "-2", "<b>", "amp", "1 5", "d"])
def test_both_databases_find_the_same_rows(both, texts, queries):
    table, engines = both
    answers = []
    for engine in engines:
        with engine.connect() as connection:
            rows = [{"id": number, "a": a, "b": b} for number, (a, b) in enumerate(texts)]
            connection.execute(insert(table), rows)
            pieces = [piece for pair in texts for text in pair if text for piece in text.split()]
            answers.append(
                [
                    sorted(connection.scalars(select(table.c.id).where(match(target, query))))
                    for query in [*queries, *pieces]
                    for target in (table, table.c.a, table.c.b)
                ]
            )
            connection.rollback()
    assert answers[0] == answers[1]
