"""Entries that expire: invisible at once to everything, removed some at a time, correct again when set again."""

from __future__ import annotations

import math
import time
from datetime import timedelta

import pytest
import sqlalchemy

from conftest import clock_told
from kohakuvault import InvalidArgument, KVault, NotFound, UnsupportedType


@pytest.fixture
def clock():
    """A clock that goes on when it is told to."""
    with clock_told(1_000_000_000.0) as clock:
        yield clock


@pytest.fixture
def kv(bind) -> KVault:
    return KVault(bind)


def rows(kv) -> int:
    """How many rows there are, expired or not."""
    count = sqlalchemy.select(sqlalchemy.func.count()).select_from(kv.entity)
    with kv.transaction() as connection:
        return connection.scalar(count)


def test_an_entry_expires(kv, clock):
    kv["stays"] = 0
    kv.put("a", 1, ttl=10)
    kv.put("b", 2, ttl=timedelta(seconds=5))
    assert kv.expires_at("a") == clock.now + 10
    assert kv.expires_at("b") == clock.now + 5
    assert kv.expires_at("stays") is None
    clock.now += 5
    assert dict(kv) == {"stays": 0, "a": 1}
    clock.now += 5
    assert dict(kv) == {"stays": 0}
    with pytest.raises(NotFound):
        kv.expires_at("a")


def test_what_has_expired_is_invisible_to_everything(kv, clock):
    kv.put_many([("b", 1), ("c", 2), ("d", [3])], ttl=1)
    kv["a"], kv["e"] = 0, 4
    clock.now += 1
    assert rows(kv) == 5
    assert len(kv) == 2
    assert list(kv) == ["a", "e"]
    assert list(kv.values()) == [0, 4]
    assert list(reversed(kv.items())) == [("e", 4), ("a", 0)]
    assert [key for key, _ in kv.range()] == ["a", "e"]
    assert list(kv.prefix("c")) == []
    assert kv.get("b", "none") == "none"
    assert "b" not in kv
    assert kv.get_many(["a", "b", "c"]) == [0, None, None]
    assert kv.pop("b", "none") == "none"
    assert kv.delete("b") is False
    assert kv.touch("b", 5) is False
    assert kv.replace("b", 1, 2) is False
    assert kv.delete_many(["b", "c"]) == 0
    assert kv.delete_range("b", "e") == 0
    assert (kv.first(), kv.last()) == (("a", 0), ("e", 4))
    for missing in (lambda: kv["b"], lambda: kv.pop("b"), lambda: kv.__delitem__("b"), lambda: kv.open("b")):
        with pytest.raises(NotFound):
            missing()
    assert kv.popitem() == ("e", 4)
    assert kv.popitem() == ("a", 0)
    with pytest.raises(NotFound, match="empty"):
        kv.popitem()
    assert not kv
    with pytest.raises(NotFound):
        kv.first()
    assert rows(kv) == 3
    kv.clear()
    assert rows(kv) == 0


def test_what_has_expired_can_be_set_again(kv, clock):
    for key in ("put", "add", "incr", "setdefault", "set"):
        kv.put(key, "old", ttl=1)
    clock.now += 2
    assert kv.add("add", 1) is True
    assert kv.add("add", 2) is False
    assert kv.incr("incr", 5) == 5
    assert kv.setdefault("setdefault", 6) == 6
    kv["set"] = 7
    kv.put("put", 8, ttl=3)
    assert kv.copy() == {"put": 8, "add": 1, "incr": 5, "setdefault": 6, "set": 7}
    assert kv.expires_at("add") is None
    assert kv.expires_at("put") == clock.now + 3


def test_who_keeps_and_who_changes_when_an_entry_expires(kv, clock):
    def deadline():
        return kv.expires_at("a")

    kv.put("a", 1, ttl=100)
    first = deadline()
    clock.now += 10
    kv.incr("a")
    kv.replace("a", 2, 3)
    kv.setdefault("a", 4)
    kv.add("a", 5, ttl=1)
    assert deadline() == first
    kv.put("a", 1, ttl=100)
    assert deadline() == first + 10
    assert kv.touch("a", ttl=5)
    assert deadline() == clock.now + 5
    assert kv.touch("a")
    assert deadline() is None
    for forget in (lambda: kv.put("a", 1), lambda: kv.update(a=1), lambda: kv.__setitem__("a", 1)):
        kv.touch("a", 5)
        forget()
        assert deadline() is None


@pytest.mark.parametrize("ttl", [0, -1, 0.0, math.nan, math.inf, timedelta(0)], ids=str)
def test_a_time_that_is_over_or_no_time_is_refused(kv, ttl):
    for write in (kv.put, kv.add):
        with pytest.raises(InvalidArgument, match="ttl"):
            write("a", 1, ttl=ttl)
    assert "a" not in kv


@pytest.mark.parametrize("ttl", ["5", True, b"5", [5]], ids=str)
def test_a_ttl_is_a_number_or_timedelta(kv, ttl):
    with pytest.raises(UnsupportedType, match="ttl"):
        kv.put("a", 1, ttl=ttl)
    with pytest.raises(UnsupportedType, match="ttl"):
        kv.touch("a", ttl)


def test_all_that_has_expired_is_removed(kv, clock):
    kv.put_many(((number, b"x") for number in range(2500)), ttl=1)
    kv["a"] = 1
    clock.now += 1
    assert rows(kv) == 2501
    assert kv.remove_expired() == 2500
    assert kv.remove_expired() == 0
    assert rows(kv) == 1


def test_writes_that_expire_remove_what_has(kv, clock):
    kv.put_many(((number, b"x") for number in range(200)), ttl=1)
    clock.now += 1
    kv.put("first", 1, ttl=100)
    assert rows(kv) == 1
    for number in range(1000):
        kv.put(number, 1, ttl=1)
        clock.now += 0.5
    assert rows(kv) < 300


def test_removing_keeps_up_with_the_clock_of_the_machine(engine):
    kv = KVault(engine)
    kv.put("b", 1, ttl=1000)
    assert time.time() < kv.expires_at("b") < time.time() + 1001
    kv.put("a", 1, ttl=0.02)
    del kv["b"]
    time.sleep(0.03)
    assert "a" not in kv
    assert kv.optimize() is None
    assert rows(kv) == 0


def test_the_index_has_only_what_expires(engine):
    kv = KVault(engine)
    indexes = sqlalchemy.inspect(engine).get_indexes("kv")
    expiring = [index for index in indexes if index["column_names"] == ["expires_at"]]
    assert len(expiring) == 1
    dialect = engine.dialect.name
    assert "expires_at IS NOT NULL" in str(expiring[0]["dialect_options"][f"{dialect}_where"])
    assert kv.entity.__table__.indexes
