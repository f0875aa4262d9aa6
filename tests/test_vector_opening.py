"""Opening a VectorKVault: its options, read-only, again, elsewhere, and after it was closed or forked."""

from __future__ import annotations

import fractions
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, String
from sqlalchemy.orm import DeclarativeBase, Session

from kohakuvault import (
    InvalidArgument,
    KVault,
    Pickle,
    ReadOnlyDatabase,
    SchemaMismatch,
    UnknownOption,
    UnsupportedType,
    VectorKVault,
)
from kohakuvault.orm.tables import TableRecord, VectorTable


def test_upstreams_call_forms_open_it(tmp_path):
    vault = VectorKVault(str(tmp_path / "a.db"), "docs", 2, "l2", "f32", read_only=False)
    id = vault.insert([1, 2], "value", None)
    vault.close()
    with VectorKVault(str(tmp_path / "a.db"), table="docs", dimensions=2, metric="l2", read_only=True) as vault:
        assert vault.get([1, 2]) == "value"
        assert vault.get_by_id(id)[1] == "value"
    info = VectorKVault(tmp_path / "b.db").info()
    assert (info["table"], info["dimensions"], info["metric"], info["count"]) == ("vec_kvault", 768, "cosine", 0)


def test_options_that_there_are_not_are_named(tmp_path):
    for option, advice in [
        ("enable_wal", "journal_mode"),
        ("cache_kb", "cache_size"),
        ("page_size", "page_size"),
        ("mmap_size", "mmap_size"),
        ("retries", "busy_timeout"),
        ("nonsense", "it has dimensions, metric"),
    ]:
        with pytest.raises(UnknownOption, match=f"{option}.*{advice}"):
            VectorKVault(tmp_path / "a.db", **{option: 1})
        with pytest.raises(TypeError):
            VectorKVault(tmp_path / "a.db", **{option: 1})
    assert list(tmp_path.iterdir()) == []


def test_an_index_is_one_that_there_is(tmp_path):
    for index in (None, "auto", "exact", "rabitq"):
        assert VectorKVault(":memory:", dimensions=2, index=index).index == index
    for index in ("flat", "", 1, True, b"auto", ["auto"], "AUTO"):
        with pytest.raises(InvalidArgument, match="index is one of None, 'auto'"):
            VectorKVault(tmp_path / "a.db", dimensions=2, index=index)
    assert list(tmp_path.iterdir()) == []


def test_read_only_refuses_every_write(engine):
    with pytest.raises(SchemaMismatch, match="does not exist"):
        VectorKVault(engine, "v", dimensions=2, read_only=True)
    VectorKVault(engine, "v", dimensions=2, metric="l2", metadata={"n": Integer()}).insert([1, 2], "kept", {"n": 1})
    vault = VectorKVault(engine, "v", dimensions=2, metric="l2", metadata={"n": Integer()}, read_only=True)
    for write in (
        lambda: vault.insert([1, 2]),
        lambda: vault.insert_many([[1, 2]]),
        lambda: vault.upsert(1, [1, 2]),
        lambda: vault.upsert_many([1], [[1, 2]]),
        lambda: vault.update(1, value=2),
        lambda: vault.update(1, metadata={"n": 2}),
        lambda: vault.delete(1),
        lambda: vault.delete_many([1]),
        lambda: vault.clear(),
        lambda: vault.transaction().__enter__(),
        lambda: vault.check(fix=True),
        lambda: vault.__setitem__([1, 2], 5),
    ):
        with pytest.raises(ReadOnlyDatabase):
            write()
    assert vault.search([1, 2])[0][1:] == (0.0, "kept")
    assert vault.search_many([[1, 2]])[0] == vault.radius([1, 2], 0)
    assert vault.get_metadata(1) == {"n": 1}
    assert list(vault) == [1]
    assert vault.check() == []
    with vault.snapshot():
        assert len(vault) == 1


def test_a_file_that_is_opened_read_only_stays_as_it_is(tmp_path):
    VectorKVault(tmp_path / "a.db", dimensions=2).insert([1, 2], "kept")
    os.chmod(tmp_path / "a.db", 0o444)
    vault = VectorKVault(tmp_path / "a.db", dimensions=2, read_only=True)
    assert vault.get([1, 2]) == "kept"
    with pytest.raises(ReadOnlyDatabase):
        vault.insert([1, 2])


def test_a_closed_vault_says_so(bind):
    vault = VectorKVault(bind, "v", dimensions=2)
    vault.insert([1, 2])
    vault.close()
    vault.close()
    assert "closed" in repr(vault)
    for operation in (
        lambda: vault.insert([1, 2]),
        lambda: vault.insert_many([[1, 2]]),
        lambda: vault.search([1, 2]),
        lambda: vault.search_many([[1, 2]]),
        lambda: vault.get_by_id(1),
        lambda: vault.upsert(1, [1, 2]),
        lambda: vault.check(),
        lambda: list(vault),
        lambda: len(vault),
    ):
        with pytest.raises(InvalidArgument, match="closed"):
            operation()
    assert len(VectorKVault(bind, "v", dimensions=2)) == 1


def test_its_repr_says_what_it_is(tmp_path):
    vault = VectorKVault(tmp_path / "a.db", "docs", 3, "l2")
    assert repr(vault) == f"<VectorKVault 'docs' dimensions=3 metric='l2' on {tmp_path / 'a.db'}>"


def test_a_table_is_made_only_where_that_is_wanted(engine):
    with pytest.raises(SchemaMismatch, match="create=False"):
        VectorKVault(engine, "v", dimensions=2, create=False)
    VectorKVault(engine, "v", dimensions=2)
    VectorKVault(engine, "v", dimensions=2, create=False).insert([1, 2])


def test_a_stranger_or_another_kind_is_refused(engine):
    KVault(engine, "v")["a"] = 1
    with pytest.raises(SchemaMismatch, match="holds 'kv'"):
        VectorKVault(engine, "v", dimensions=2)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE w (id INTEGER PRIMARY KEY, note TEXT)"))
        connection.execute(sqlalchemy.text("INSERT INTO w VALUES (1, 'mine')"))
    with pytest.raises(SchemaMismatch, match="lacks"):
        VectorKVault(engine, "w", dimensions=2)
    assert KVault(engine, "v")["a"] == 1


def test_a_table_that_was_made_without_the_record_gets_one(engine):
    VectorKVault(engine, "v", dimensions=2, metadata={"n": Integer()}).insert([1, 2], "kept", {"n": 1})
    with engine.begin() as connection:
        connection.execute(sqlalchemy.delete(TableRecord))
    from kohakuvault.known import forget

    forget(engine)
    with pytest.raises(SchemaMismatch, match="lacks other"):
        VectorKVault(engine, "v", dimensions=2, metadata={"other": Integer()})
    vault = VectorKVault(engine, "v", dimensions=2, metadata={"n": Integer()})
    assert vault.get_metadata(1) == {"n": 1}
    with Session(engine) as session:
        record = session.scalars(sqlalchemy.select(TableRecord)).one()
    assert record.options == {
        "dimensions": 2,
        "metric": "cosine",
        "vector_type": "f32",
        "index": "auto",
        "metadata": {"n": "INTEGER"},
    }


# -- pickles -----------------------------------------------------------------------------------------


def test_objects_are_stored_only_where_that_was_allowed(tmp_path):
    plain = VectorKVault(tmp_path / "a.db", "v", dimensions=2)
    for value in (Pickle(range(3)), range(3)):
        with pytest.raises(UnsupportedType):
            plain.insert([1, 2], value)
    vault = VectorKVault(tmp_path / "a.db", "v", dimensions=2, pickle=True)
    ids = [vault.insert([1, 2], range(3)), *vault.insert_many([[1, 2]], [Pickle(fractions.Fraction)])]
    vault.enable_auto_pack(use_pickle=True)
    assert [vault.get_by_id(id)[1] for id in ids] == [range(3), fractions.Fraction]
    assert vault.search([1, 2], 1)[0][2] == range(3)
    for read in (lambda: plain.get_by_id(ids[0]), lambda: plain.search([1, 2])):
        with pytest.raises(Exception, match="pickle, which can run any code"):
            read()
    assert plain.check() == vault.check() == []


class Base(DeclarativeBase):
    pass


class Trusted(VectorTable, Base):
    __tablename__ = "trusted"
    __dimensions__ = 2
    __pickle__ = True


def test_a_vault_can_be_pickled(tmp_path):
    columns = [Column("lang", String(5), index=True), Column("n", Integer)]
    vault = VectorKVault(tmp_path / "a.db", "v", 2, "l2", "i8", metadata=columns, index=None)
    vault.insert([1, 2], "a", {"lang": "en", "n": 1})
    copy = pickle.loads(pickle.dumps(vault))
    assert copy.get([1, 2]) == "a"
    assert copy.get_metadata(1) == {"lang": "en", "n": 1}
    assert (copy.metric, copy.vector_type, copy.index, copy.entity) == ("l2", "i8", None, vault.entity)
    read_only = pickle.loads(
        pickle.dumps(VectorKVault(tmp_path / "a.db", "v", 2, "l2", "i8", metadata=columns, read_only=True))
    )
    with pytest.raises(ReadOnlyDatabase):
        read_only.clear()
    own = pickle.loads(pickle.dumps(VectorKVault(tmp_path / "a.db", Trusted)))
    own.insert([1, 2], range(2))
    assert own.entity is Trusted
    with pytest.raises(UnsupportedType, match="pickled"):
        pickle.dumps(VectorKVault(":memory:", dimensions=2))


def _search(vault):
    return vault.insert([3, 4], os.getpid()), vault.search([1, 2], 1)[0][2]


def test_a_spawned_process_uses_a_vault_it_is_given(tmp_path):
    vault = VectorKVault(tmp_path / "a.db", "v", dimensions=2)
    vault.insert([1, 2], "parent's")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        id, found = pool.apply(_search, (vault,))
    assert found == "parent's"
    assert vault.get_by_id(id)[1] != os.getpid()


FORKING = """
    import os, sys
    import numpy as np
    from kohakuvault import VectorKVault
    vault = VectorKVault(sys.argv[1], "v", dimensions=2)
    vault.insert([1, 2], "before")
    child = os.fork()
    name = "parent" if child else "child"
    for number in range(100):
        vault.insert_many(np.ones((5, 2)), [name] * 5)
        assert vault.search([1, 2], 1)[0][2] == "before"
    if child:
        assert os.waitpid(child, 0)[1] == 0
        values = [value for _, (_, value) in vault.items()]
        assert values.count("parent") == values.count("child") == 500, len(values)
        assert vault.check() == []
    else:
        os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_both_sides_of_a_fork_use_it(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(FORKING), str(tmp_path / "a.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- transactions ------------------------------------------------------------------------------------


def test_what_a_transaction_did_is_undone_with_it(bind):
    vault = VectorKVault(bind, "v", dimensions=2, metadata={"n": Integer()})
    id = vault.insert([1, 2], "kept", {"n": 1})

    def fail(error: type[Exception]) -> None:
        with vault.transaction():
            vault.insert_many(np.ones((3, 2)))
            vault.update(id, value="changed", metadata={"n": 2})
            with pytest.raises(InvalidArgument):
                vault.upsert(id, [0, 0])
            vault.delete(id)
            assert len(vault) == 3
            raise error

    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError)
    assert vault.get_by_id(id)[1] == "kept"
    assert vault.get_metadata(id) == {"n": 1}
    with vault.transaction():
        first = vault.insert([3, 4])
        with pytest.raises(ZeroDivisionError), vault.transaction():
            vault.clear()
            raise ZeroDivisionError
    assert list(vault) == [id, first]


def test_a_vault_that_was_made_in_a_transaction_is_made_again(engine):
    with Session(engine) as session:
        vault = VectorKVault(session, "v", dimensions=2)
        vault.insert([1, 2])
        session.rollback()
        assert len(vault) == 0
        vault.insert([1, 2])
        session.commit()
    assert len(VectorKVault(engine, "v", dimensions=2)) == 1


def test_iterating_is_lazy_and_may_change_what_it_iterates_over(engine):
    vault = VectorKVault(engine, "v", dimensions=2)
    ids = vault.insert_many(np.ones((3000, 2)), range(3000))
    seen = []
    for id in vault:
        seen.append(id)
        if len(seen) == 60:
            # The next page too.
            vault.delete_many(ids[:2000])
    assert seen == ids
    assert list(vault) == ids[2000:]
    vault.clear()
    ids = vault.insert_many(np.ones((2500, 2)), range(2500))
    items = vault.items()
    assert next(items)[1][1] == 0
    vault.insert([1, 2], "later")
    assert [value for _, (_, value) in items] == list(range(1, 2500))
