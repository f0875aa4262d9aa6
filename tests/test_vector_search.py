"""Searching a VectorKVault: by conditions, many queries, within a radius; on every database and kind of bind."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Integer, String, and_, bindparam, func, not_, or_, select, tuple_

from kohakuvault import CorruptValue, InvalidArgument, NotFound, UnsupportedType, VectorKVault
from kohakuvault.orm.tables import table_of

LANGS = ("en", "de", None)


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((120, 4)).astype(np.float32)


def filled(bind, data, **options) -> VectorKVault:
    declared = {"lang": String(), "year": Integer()}
    vault = VectorKVault(bind, "v", dimensions=4, metadata=declared, **{"metric": "l2", **options})
    metadata = {"lang": [LANGS[n % 3] for n in range(120)], "year": [2000 + n for n in range(120)]}
    # Values are the rows' numbers.
    vault.insert_many(data, range(120), metadata)
    return vault


@pytest.fixture
def vault(bind, data):
    return filled(bind, data)


def expected(data, query, chosen, k=10) -> list[int]:
    """The numbers of the nearest rows among those that are chosen, by numpy."""
    numbers = [number for number in range(len(data)) if chosen(number)]
    distances = np.linalg.norm(data[numbers].astype(float) - query, axis=1)
    return [numbers[place] for place in np.argsort(distances, kind="stable")[:k]]


CONDITIONS = [
    (lambda v: {"lang": "en"}, lambda n: n % 3 == 0),
    (lambda v: {"lang": None}, lambda n: n % 3 == 2),
    (lambda v: {"lang": "de", "year": 2001}, lambda n: n == 1),
    (lambda v: {}, lambda n: True),
    (lambda v: v.c.lang == "en", lambda n: n % 3 == 0),
    (lambda v: v.entity.lang == "en", lambda n: n % 3 == 0),
    (lambda v: v.c.lang.is_(None), lambda n: n % 3 == 2),
    (lambda v: (v.c.year > 2050) & (v.c.lang != "en"), lambda n: n > 50 and n % 3 == 1),
    (lambda v: and_(v.entity.year > 2050, v.c.lang == "de"), lambda n: n > 50 and n % 3 == 1),
    (lambda v: or_(v.c.year < 2010, v.c.year.between(2100, 2104)), lambda n: n < 10 or 100 <= n <= 104),
    (lambda v: v.c.year.in_([2005, 2010, 2011]), lambda n: n in (5, 10, 11)),
    (lambda v: v.c.year.in_([]), lambda n: False),
    (lambda v: v.c.year.not_in([]), lambda n: True),
    (lambda v: v.c.year.not_in([2001]), lambda n: n != 1),
    (lambda v: tuple_(v.c.lang, v.c.year).in_([("de", 2001), ("en", 2001), ("en", 2003)]), lambda n: n in (1, 3)),
    (lambda v: v.c.lang.like("e%"), lambda n: n % 3 == 0),
    (lambda v: not_(v.c.lang.startswith("e")), lambda n: n % 3 == 1),
    (lambda v: func.coalesce(v.c.lang, "none") == "none", lambda n: n % 3 == 2),
    (lambda v: v.c.year % 2 == 0, lambda n: n % 2 == 0),
    (lambda v: v.c.year == bindparam("year", 2007), lambda n: n == 7),
    (lambda v: sqlalchemy.true(), lambda n: True),
    (lambda v: sqlalchemy.false(), lambda n: False),
    (lambda v: sqlalchemy.text("lang = 'en'"), lambda n: n % 3 == 0),
    (lambda v: sqlalchemy.text("year IN (:x, :y)").bindparams(x=2004, y=2006), lambda n: n in (4, 6)),
    (lambda v: v.c.year.in_([2005]) | (v.c.year == 2006) | v.c.year.in_([2007, 2008]), lambda n: 5 <= n <= 8),
    (
        lambda v: (b := bindparam("b", 2010)) is not None and (v.c.year >= b) & (v.c.year <= b + 2),
        lambda n: 10 <= n < 13,
    ),
    (lambda v: v.c.year == select(func.max(table_of(v.entity).alias().c.year)).scalar_subquery(), lambda n: n == 119),
]


@pytest.mark.parametrize("number", range(len(CONDITIONS)))
def test_conditions_come_before_the_search(engine, data, number):
    vault = filled(engine, data)
    make, chosen = CONDITIONS[number]
    query = data[3] + np.float32(0.01)
    for k in (1, 7, 200):
        found = vault.search(query, k, where=make(vault))
        assert [value for _, _, value in found] == expected(data, query, chosen, k)
    within = vault.radius(query, 2.0, where=make(vault))
    near = [n for n in expected(data, query, chosen, 200) if np.linalg.norm(data[n].astype(float) - query) <= 2.0]
    assert [value for _, _, value in within] == near
    many = vault.search_many([query, data[5]], 4, where=make(vault))
    assert [[value for _, _, value in rows] for rows in many] == [
        expected(data, query, chosen, 4),
        expected(data, data[5], chosen, 4),
    ]


def test_searches_on_every_bind(vault, data):
    query = data[9]
    found = vault.search(query, 3)
    assert found[0][1:] == (0.0, 9)
    assert vault.search_many(data[:5], 3) == [vault.search(row, 3) for row in data[:5]]
    assert vault.search_many(iter(data[:2].tolist()), 1) == [vault.search(row, 1) for row in data[:2]]
    assert vault.search_many([], 3) == vault.search_many(np.zeros((0, 4))) == []
    assert vault.search_many(data[:2], 0) == [[], []]
    assert vault.get(query, where={"lang": "de"}) == expected(data, query, lambda n: n % 3 == 1, 1)[0]
    assert vault.radius(query, 0) == found[:1]
    assert [row[0] for row in vault.radius(query, 1.5, limit=2)] == [row[0] for row in vault.search(query, 2)]
    assert len(vault.radius(query, float("inf"))) == 120
    assert vault.radius(query, -1.0) == []
    assert vault.radius(query, 10**400, limit=0) == []
    with pytest.raises(NotFound, match="no row"):
        vault.get(query, where=vault.c.year == 1)


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1", "hamming", "ip"])
def test_a_radius_takes_what_is_not_farther(engine, data, metric):
    vault = filled(engine, data, metric=metric)
    query = data[11] * np.float32(1.5)
    everything = vault.search(query, 120)
    assert [row[0] for row in vault.radius(query, float("inf"))] == [row[0] for row in everything]
    limit = (everything[20][1] + everything[60][1]) / 2
    assert vault.radius(query, limit) == [row for row in everything if row[1] <= limit]
    other = "l1" if metric == "l2" else "l2"
    assert vault.radius(query, 1.0, metric=other) == [row for row in vault.search(query, 120, other) if row[1] <= 1.0]


def test_rows_without_a_distance_are_in_no_radius(engine):
    vault = VectorKVault(engine, "v", dimensions=2, metric="l2")
    vault.insert_many([[0, 0], [1, 0], [-1, 0]], ["zero", "near", "far"])
    assert [value for _, _, value in vault.radius([1, 0], float("inf"), metric="cosine")] == ["near", "far"]


def test_equal_distances_are_in_the_order_of_ids(engine):
    vault = VectorKVault(engine, "v", dimensions=2, metric="l2")
    ids = vault.insert_many([[1, 0]] * 20)
    assert [id for id, _, _ in vault.search([0, 0], 5)] == ids[:5]
    assert [id for id, _, _ in vault.radius([0, 0], 1, limit=5)] == ids[:5]


def test_conditions_that_differ_in_values_share_a_statement(engine, data):
    vault = filled(engine, data)
    made = vault._searches._made

    def search(lang, years):
        return vault.search(data[0], 3, where=(vault.c.lang == lang) & vault.c.year.in_(years))

    search("en", [2000, 2003])
    size = len(made)
    assert [value for _, _, value in search("de", [2001, 2004])] == expected(data, data[0], lambda n: n in (1, 4))
    assert len(made) == size
    search("en", [2000, 2003, 2006])
    assert len(made) == size + 1
    for number in range(300):
        vault.search(data[0], 1, where=vault.c.year + sqlalchemy.literal_column(str(number)) > 2000)
    assert len(made) <= 200


BAD_CONDITIONS = [
    ("lang = 'en'", UnsupportedType),
    (5, UnsupportedType),
    (True, UnsupportedType),
    ([("lang", "en")], UnsupportedType),
    ({"nope": 1}, InvalidArgument),
    ({"id": 1}, InvalidArgument),
    ({1: 1}, InvalidArgument),
    ({"lang": ["en", "de"]}, InvalidArgument),
    ({"lang": 5}, UnsupportedType),
    ({"year": "2000"}, UnsupportedType),
]


@pytest.mark.parametrize(("where", "error"), BAD_CONDITIONS, ids=range(len(BAD_CONDITIONS)))
def test_what_is_no_condition_is_named(engine, data, where, error):
    vault = filled(engine, data)
    for operation in (
        lambda: vault.search(data[0], where=where),
        lambda: vault.search_many(data[:2], where=where),
        lambda: vault.radius(data[0], 1, where=where),
        lambda: vault.get(data[0], where=where),
    ):
        with pytest.raises(error):
            operation()


def test_a_parameter_without_a_value_is_named(engine, data):
    vault = filled(engine, data)
    with pytest.raises(InvalidArgument, match="'year'"):
        vault.search(data[0], where=vault.c.year == bindparam("year"))


def test_bad_arguments_are_named(engine, data):
    vault = filled(engine, data)
    for k in (-1, 1.5, "3", True, None):
        with pytest.raises(InvalidArgument, match="k is"):
            vault.search_many(data[:2], k)
        if k is not None:
            with pytest.raises(InvalidArgument, match="limit is"):
                vault.radius(data[0], 1, limit=k)
    for r, error in (
        ("1", UnsupportedType),
        (None, UnsupportedType),
        (True, UnsupportedType),
        (np.nan, InvalidArgument),
    ):
        with pytest.raises(error, match="r, a distance"):
            vault.radius(data[0], r)
    for queries, error in (
        (data[0], InvalidArgument),
        (data[:2, :3], InvalidArgument),
        ([data[0], [np.nan] * 4], InvalidArgument),
        (data[:2].astype(complex), UnsupportedType),
        ("abc", UnsupportedType),
        (None, UnsupportedType),
    ):
        with pytest.raises(error, match="quer"):
            vault.search_many(queries)
    with pytest.raises(InvalidArgument, match="zero"):
        vault.search_many(np.zeros((2, 4)), metric="cosine")
    with pytest.raises(InvalidArgument, match="metric"):
        vault.search_many(data[:2], metric="dot")
    with pytest.raises(InvalidArgument, match="metric"):
        vault.radius(data[0], 1, metric="dot")


def test_many_searches_see_one_state(tmp_path, data):
    vault = filled(tmp_path / "a.db", data)
    other = VectorKVault(
        sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'a.db'}"),
        "v",
        4,
        "l2",
        metadata={"lang": String(), "year": Integer()},
    )
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with other.transaction():
                id = other.insert(data[0])
            other.delete(id)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(40):
            found = vault.search_many([data[0]] * 20, 3)
            assert all(rows == found[0] for rows in found)
    finally:
        stop.set()
        thread.join()
    other.engine.dispose()


def test_a_value_that_cannot_be_read_names_its_row(tmp_path):
    vault = VectorKVault(tmp_path / "a.db", "v", dimensions=2)
    vault.insert_many(np.eye(2), "ab")
    with vault.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE v SET value = x'ff00' WHERE id = 2"))
    for operation in (
        lambda: vault.search([1, 0]),
        lambda: vault.search_many([[1, 0]]),
        lambda: vault.radius([1, 0], 5),
        lambda: vault.get([0, 1]),
        lambda: vault.get_by_id(2),
        lambda: vault.get_many([1, 2]),
        lambda: list(vault.items()),
    ):
        with pytest.raises(CorruptValue, match=r"id 2: .*check"):
            operation()
    assert vault.search([1, 0], 1)[0][2] == "a"
    assert list(vault) == [1, 2]
