"""Code for the documented API of KohakuVault 1.1's KVault runs; what has no meaning any more names its replacement."""

from __future__ import annotations

import io
import pickle

import pytest
from sqlalchemy.orm import Session

import kohakuvault
from kohakuvault import InvalidArgument, KohakuVaultError, KVault, ReadOnlyDatabase, SchemaMismatch, UnsupportedType
from kohakuvault.orm.tables import KVTable


@pytest.fixture
def kv(tmp_path) -> KVault:
    return KVault(tmp_path / "app.db")


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("chunk_size", "put_file"),
        ("retries", "busy_timeout"),
        ("backoff_base", "busy_timeout"),
        ("enable_wal", "journal_mode"),
        ("page_size", "page_size"),
        ("mmap_size", "mmap_size"),
        ("cache_kb", "cache_size"),
        ("reader_cache_kb", "read_cache"),
        ("reader_idle_limit", "leave it out"),
        ("no_such", "it has create, pickle, read_only and read_cache"),
    ],
)
def test_an_option_that_there_is_no_more_names_what_there_is(tmp_path, option, instead):
    with pytest.raises(TypeError, match=f"no option '{option}'.*{instead}") as raised:
        KVault(tmp_path / "a.db", **{option: 1})
    assert isinstance(raised.value, KohakuVaultError)
    assert not (tmp_path / "a.db").exists()


def test_some_keys_values_and_items(kv):
    kv.update({"b:2": 2, "a:1": 1, "b:1": 3, b"b:1": 4, "c": 5})
    assert list(kv.keys("b:")) == ["b:1", "b:2"]
    assert list(kv.keys(b"b:")) == [b"b:1"]
    assert list(kv.values(prefix="b:")) == [3, 2]
    assert list(kv.items("b:", 1)) == [("b:1", 3)]
    assert list(kv.keys(limit=2)) == ["b:2", "a:1"]
    assert list(kv.items(limit=2, batch_size=1)) == [("b:2", 2), ("a:1", 1)]
    assert list(kv.values(limit=0)) == []
    assert list(kv.keys(prefix="", limit=10, batch_size=1024)) == ["a:1", "b:1", "b:2", "c"]
    for call in (kv.keys, kv.values, kv.items):
        assert list(call(batch_size=10)) == list(call())
        with pytest.raises(InvalidArgument, match="limit"):
            call(limit=-1)
        with pytest.raises(UnsupportedType, match="prefix"):
            call(5)
    assert kv.keys() & {"c", "d"} == {"c"}


def test_values_that_are_bytes_only(kv):
    kv["before"] = {"a": 1}
    assert kv.auto_pack_enabled()
    kv.disable_auto_pack()
    assert not kv.auto_pack_enabled()
    kv["a"], kv["b"] = bytearray(b"1"), memoryview(b"2")
    kv.put("c", b"3", ttl=100)
    kv.update(d=b"4")
    assert kv.add("e", b"5")
    assert kv.setdefault("f", b"6") == b"6"
    assert kv.replace("a", b"1", b"one")
    assert [kv[key] for key in "abcdef"] == [b"one", b"2", b"3", b"4", b"5", b"6"]
    for write in (
        lambda: kv.put("g", "text"),
        lambda: kv.put("g", 1, ttl=5),
        lambda: kv.update(g=None),
        lambda: kv.add("g", 1.5),
        lambda: kv.setdefault("g", []),
        lambda: kv.replace("a", b"one", 1),
        lambda: kv.put_many([("h", b"1"), ("g", 1)]),
    ):
        with pytest.raises(UnsupportedType, match="enable_auto_pack"):
            write()
    assert "g" not in kv
    assert "h" not in kv
    assert kv["before"] == {"a": 1}
    kv.enable_auto_pack()
    kv["g"] = "text"
    assert kv["g"] == "text"


def test_pickling_is_allowed_on_opening_only(kv, tmp_path):
    with pytest.raises(InvalidArgument, match="pickle=True"):
        kv.enable_auto_pack(use_pickle=True)
    kv.enable_auto_pack(use_pickle=False)
    trusted = KVault(tmp_path / "app.db", "trusted", pickle=True)
    trusted.enable_auto_pack(use_pickle=True)
    trusted["a"] = {KeyError}
    assert trusted["a"] == {KeyError}


def test_the_methods_of_an_entry(kv):
    kv.put("a", 1)
    assert kv.exists("a")
    assert kv.get("a") == 1
    assert kv.get("z", default=5) == 5
    assert kv.delete("a") is True
    assert kv.delete("a") is False
    assert kv.pop("z", 5) == 5
    assert kv.setdefault("n", default=5) == 5
    kv.put_many([("x", 1), ("y", 2)])
    assert kv.get_many(("x", "z"), default=0) == [1, 0]


def test_files(kv):
    kv.put_file("f", io.BytesIO(b"x" * 100), size=100, chunk_size=10)
    writer = io.BytesIO()
    assert kv.get_to_file("f", writer, chunk_size=7) == 100
    assert writer.getvalue() == kv["f"] == b"x" * 100
    kv.put_file("g", b"bytes")
    kv.put_file("h", memoryview(b"view"))
    assert (kv["g"], kv["h"]) == (b"bytes", b"view")


def test_caches(kv, tmp_path):
    kv.enable_cache(cap_bytes=1 << 20, flush_threshold=1 << 18, flush_interval=None)
    kv["a"] = 1
    assert kv.flush_cache() == 1
    with kv.lock_cache():
        kv["b"] = 2
    assert kv.background_flush_error is None
    kv.disable_cache()
    with kv.cache(64 << 20, None, True):
        kv["c"] = 3
    with KVault(tmp_path / "app.db") as again:
        assert again.copy() == {"a": 1, "b": 2, "c": 3}
    kv.optimize()
    kv.checkpoint()
    kv.close()


# -- beyond upstream: read-only vaults, and vaults that are sent elsewhere ---------------------------------


def test_a_vault_that_is_read_only(url, engine):
    kv = KVault(engine)
    kv.update(a=1, b=[2])
    kv.put("short", 1, ttl=1000)
    with Session(engine) as session:
        for bind in (url, engine, session, KVault(engine)):
            frozen = KVault(bind, read_only=True)
            assert frozen.copy() == {"a": 1, "b": [2], "short": 1}
            assert list(frozen.prefix("a")) == [("a", 1)]
            assert frozen.get_many(["a"]) == [1]
            for write in (
                lambda vault: vault.put("c", 1),
                lambda vault: vault.__setitem__("c", 1),
                lambda vault: vault.put("c", 1, ttl=5),
                lambda vault: vault.update(c=1),
                lambda vault: vault.pop("a"),
                lambda vault: vault.popitem(),
                lambda vault: vault.clear(),
                lambda vault: vault.incr("n"),
                lambda vault: vault.touch("a", 5),
                lambda vault: vault.remove_expired(),
                lambda vault: vault.enable_cache(),
                lambda vault: vault.put_file("f", b"x" * 10, chunk_size=3),
                lambda vault: vault.transaction().__enter__(),
            ):
                with pytest.raises(ReadOnlyDatabase, match=r"read_only|readonly"):
                    write(frozen)
    with KVault(engine, read_only=True).snapshot():
        pass
    assert kv.copy() == {"a": 1, "b": [2], "short": 1}


def test_a_read_only_vault_makes_nothing(tmp_path, engine):
    with pytest.raises(kohakuvault.CannotOpen):
        KVault(tmp_path / "none.db", read_only=True)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(SchemaMismatch):
        KVault(engine, "none", read_only=True)


def test_a_read_only_vault_sees_what_others_let_wait(engine):
    kv = KVault(engine)
    with kv.cache():
        kv["a"] = 1
        assert KVault(engine, read_only=True)["a"] == 1


class Named(KVTable):
    pass


def test_a_vault_opened_by_path_or_url_is_pickled(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kv = KVault(url, "things")
    kv["a"] = 1
    again = pickle.loads(pickle.dumps(kv))
    assert again["a"] == 1
    again["b"] = 2
    assert kv["b"] == 2
    relative = KVault("relative.db", read_cache=1 << 20)
    relative["a"] = 1
    data = pickle.dumps(relative)
    monkeypatch.chdir("/")
    moved = pickle.loads(data)
    assert moved["a"] == 1
    assert moved.read_cache.capacity == 1 << 20
    frozen = pickle.loads(pickle.dumps(KVault(tmp_path / "relative.db", read_only=True)))
    with pytest.raises(ReadOnlyDatabase):
        frozen["b"] = 1
    trusting = pickle.loads(pickle.dumps(KVault(url, "trusting", pickle=True)))
    trusting["a"] = {KeyError}
    assert trusting["a"] == {KeyError}


def test_a_vault_that_nobody_else_can_open_is_not_pickled(engine):
    with Session(engine) as session:
        for vault in (KVault(engine), KVault(session), KVault(":memory:"), KVault(KVault(engine))):
            with pytest.raises(UnsupportedType, match="cannot be pickled"):
                pickle.dumps(vault)
