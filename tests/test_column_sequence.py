"""A column does what a list does: for every dtype, wherever blocks end, and however they are stored."""

from __future__ import annotations

import array
import itertools
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from column_model import DTYPES, VARIABLE, all_equal, elements, equal, has
from kohakuvault import Column, ColumnVault, InvalidArgument, KohakuVaultError, OutOfRange, UnsupportedType
from kohakuvault.column.elements import elements_of
from rows import ListRows

# How the elements lie: in blocks and a tail; only in a tail; in full blocks without a tail; in such with a full tail.
LAYOUTS = ("blocks", "tail", "full", "brim")
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zstd": {"compression": "zstd"},
    "checksum": {"checksum": True},
    "zstd+checksum": {"compression": "zstd:1", "checksum": True},
}
# One of each way to store elements.
KINDS = ["i64", "bool", "bytes:5", "vec:i16:2:1:2", "str:utf8", "msgpack", "vec:f32"]

CASES = [("sqlite", dtype, "blocks", "plain") for dtype in DTYPES]
CASES += [("postgresql", dtype, "blocks", "plain") for dtype in KINDS]
CASES += [("sqlite", dtype, layout, "plain") for dtype in KINDS for layout in ("tail", "full", "brim")]
CASES += [("sqlite", dtype, "blocks", form) for dtype in KINDS for form in ("zstd", "checksum", "zstd+checksum")]
CASES += [("sqlite", "i64", layout, "zstd+checksum") for layout in ("tail", "full", "brim")]
CASES += [("postgresql", "i64", "brim", "plain"), ("postgresql", "str:utf8", "tail", "plain")]
CASES += [("postgresql", dtype, "blocks", "zstd+checksum") for dtype in ("u16", "str:utf8")]
# As the list of a row.
CASES += [("sqlite", dtype, "blocks", "plain", "row") for dtype in KINDS]
CASES += [("postgresql", dtype, "blocks", "plain", "row") for dtype in ("i64", "str:utf8")]
CASES += [("sqlite", "i64", layout, "zstd+checksum", "row") for layout in ("tail", "full", "brim")]

_names = itertools.count()


class Case:
    """A column, and the list that it should equal."""

    def __init__(self, bind: Any, dtype: str, layout: str, form: str, of: str = "vault") -> None:
        self.vault = ColumnVault(bind)
        self.dtype = dtype
        # So few bytes that some elements make several blocks.
        self.block_bytes = None if layout == "tail" else 64
        self.options = {"block_bytes": self.block_bytes, **FORMS[form]}
        size = elements_of(dtype).item_size
        self.per_block = max(64 // (size or 21), 1)
        self.rng = random.Random(f"{dtype} {layout} {form}")
        count = 2 * self.per_block if layout in ("full", "brim") else max(5 * self.per_block // 2, 12)
        self.model = elements(dtype, count)
        # More elements, to add.
        self.more = elements(dtype, 40, "more")
        self.rows = ListRows(bind, dtype, self.more, **self.options) if of == "row" else None
        self.column = self.new(self.model if layout != "brim" else ())
        if layout == "brim":
            for value in self.model:
                self.column.append(value)

    def new(self, values: Any = ()) -> Column:
        if self.rows is not None:
            column = self.rows.new()
        else:
            column = self.vault.create_column(f"column {next(_names)}", self.dtype, **self.options)
        column.extend(values)
        return column

    @property
    def places(self) -> list[int]:
        """Indices of interest: the ends of blocks and of the list, and what lies beside them."""
        count, block = len(self.model), self.per_block
        ends = [0, block, 2 * block, count]
        near = {end + step for end in ends for step in (-1, 0, 1)}
        return sorted(place for place in near if 0 <= place < count)

    def slices(self, count: int) -> list[slice]:
        """Some slices with ends of interest, and some steps."""
        length = len(self.model)
        ends = [None, *self.places, length, length + 9, -1, -self.per_block, -length, -length - 9]
        steps = [None, 1, 2, 3, self.per_block, length + 1, -1, -2, -5]
        return [slice(*map(self.rng.choice, (ends, ends, steps))) for _ in range(count)]

    def some(self, count: int) -> list[Any]:
        return self.rng.choices(self.more, k=count)

    def holds(self) -> bool:
        return has(self.column, self.model)


@pytest.fixture(params=CASES, ids=" ".join)
def case(request, shared_engines) -> Iterator[Case]:
    database, *how = request.param
    engine = shared_engines(database)
    if "row" not in how:
        yield Case(engine, *how)
        return
    with Session(engine) as session:
        case = Case(session, *how)
        yield case
        column, model = case.rows.neighbour
        assert has(column, model)


def test_every_slice_and_index_reads_what_a_list_gives(case):
    column, model = case.column, case.model
    assert case.holds()
    for index in case.places:
        assert equal(column[index], model[index])
        assert equal(column[index - len(model)], model[index])
    for part in case.slices(25):
        assert all_equal(column[part], model[part]), part
    assert all_equal(list(column), model)
    assert all_equal(list(reversed(column)), model[::-1])
    assert all_equal([value for batch in column.iter_batches(7, as_array=False) for value in batch], model)
    assert all_equal(column.read(3, 5), model[3:8])


def test_elements_are_replaced(case):
    for index, value in zip(case.places, case.more, strict=False):
        sign = case.rng.choice([0, len(case.model)])
        case.column[index - sign] = case.model[index - sign] = value
    assert case.holds()


def test_slices_are_replaced_by_more_or_fewer(case):
    for part in case.slices(12):
        resizes = part.step in (None, 1)
        new = case.some(case.rng.choice([0, 1, 3, 30]) if resizes else len(case.model[part]))
        case.column[part] = new
        case.model[part] = new
        assert case.holds(), part
        del case.column[40:], case.model[40:]
    assert case.holds()


def test_slices_are_deleted(case):
    for part in case.slices(8):
        del case.column[part]
        del case.model[part]
        assert case.holds(), part
        new = case.some(7)
        case.column.extend(new)
        case.model.extend(new)
    del case.column[:]
    case.model.clear()
    assert case.holds()


def test_one_is_inserted_or_removed(case):
    for index in (*case.places, -1, -case.per_block, 2**62, -(2**62)):
        (value,) = case.some(1)
        case.column.insert(index, value)
        case.model.insert(index, value)
        assert case.holds(), index
    for index in case.places[::-1]:
        del case.column[index], case.model[index]
        assert case.holds(), index
    assert equal(case.column.pop(), case.model.pop())
    while case.model:
        index = case.rng.randrange(len(case.model))
        assert equal(case.column.pop(index), case.model.pop(index))
    assert case.holds()


def test_many_are_added_at_the_end(case):
    for new in ([], case.some(1), tuple(case.some(case.per_block)), case.some(70), iter(case.some(2))):
        new = new if isinstance(new, tuple) else list(new)
        case.column.extend(new)
        case.model.extend(new)
    column = case.column
    for new in (tuple(case.some(3)), iter(case.model[:2]), dict(enumerate(case.some(3))).values()):
        new = list(new)
        column += (value for value in new)
        case.model += new
    assert column is case.column
    for value in case.some(5):
        column.append(value)
        case.model.append(value)
    assert case.holds()


def test_itself_is_added_and_assigned(case):
    column, model = case.column, case.model
    del column[10:], model[10:]
    column.extend(column)
    model.extend(model)
    column += column
    model += model
    assert case.holds()
    column[3:5] = column
    model[3:5] = model
    assert case.holds()
    column[:] = column
    column[::-1] = column
    model[::-1] = model
    assert case.holds()
    other = case.new(model[:5])
    column[5:6] = other
    model[5:6] = model[:5]
    assert case.holds()


def test_many_indices_are_read_assigned_and_deleted(case):
    length = len(case.model)
    unsorted = case.rng.choices(range(-length, length), k=9)
    indices = [unsorted, np.array(unsorted), np.array(unsorted, np.int16), range(length - 1, 0, -3), []]
    for many in indices:
        assert all_equal(case.column[many], [case.model[index] for index in many])
        assert all_equal(case.column.take(many, as_array=False), [case.model[index] for index in many])
    mask = [case.rng.random() < 0.4 for _ in range(length)]
    chosen = [index for index, there in enumerate(mask) if there]
    for given in (mask, np.array(mask)):
        assert all_equal(case.column[given], [case.model[index] for index in chosen])
    for many in (unsorted, np.array(mask), []):
        places = np.arange(length)[many].tolist() if len(many) else []
        new = case.some(len(places))
        case.column[many] = new
        for place, value in zip(places, new, strict=True):
            case.model[place] = value
        assert case.holds()
    del case.column[unsorted]
    gone = {index % length for index in unsorted}
    case.model = [value for index, value in enumerate(case.model) if index not in gone]
    assert case.holds()
    del case.column[[]]
    del case.column[np.zeros(len(case.model), bool)]
    assert case.holds()
    del case.column[np.ones(len(case.model), bool)]
    assert len(case.column) == 0


@pytest.mark.parametrize(
    ("many", "error"),
    [
        ([0, 1000], OutOfRange),
        (np.array([-1000]), OutOfRange),
        ([10**30, -1], OutOfRange),
        ([2**63, -1], OutOfRange),
        (np.array([2**64 - 1], np.uint64), OutOfRange),
        ([True], InvalidArgument),
        (np.zeros((2, 2), int), InvalidArgument),
        ([[0], [1, 2]], InvalidArgument),
        ([0.5], UnsupportedType),
        ([None], UnsupportedType),
        (["0"], UnsupportedType),
        (np.array(["0"]), UnsupportedType),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", ["i64", "str:utf8", "vec:f32:3"])
def test_indices_that_are_none_are_refused(shared_engines, dtype, many, error):
    case = Case(shared_engines("sqlite"), dtype, "blocks", "plain")
    for operation in (
        lambda: case.column[many],
        lambda: case.column.take(many),
        lambda: case.column.__setitem__(many, case.some(len(many))),
        lambda: case.column.__delitem__(many),
    ):
        with pytest.raises(error):
            operation()
    assert case.holds()


def test_as_many_values_as_places_are_assigned(case):
    column = case.column
    for index in (slice(None, None, 2), [0, 1, 2], np.ones(len(case.model), bool), slice(None, None, -1)):
        for wrong in (case.some(1), case.some(len(case.model) + 1), []):
            with pytest.raises(InvalidArgument, match="values cannot be assigned to"):
                column[index] = wrong
    assert case.holds()


def alike(a: Any, b: Any) -> bool:
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def test_values_are_found_and_counted(case):
    column, model = case.column, case.model
    model += model[3:5]
    column += model[3:5]
    is_ = [[alike(a, b) for b in model] for a in model[:8]]
    for value, same in zip(model, is_, strict=False):
        assert value in column
        assert column.index(value) == same.index(True)
        assert column.count(value) == sum(same)
        assert column.index(value, -len(model), len(model) * 2) == same.index(True)
        later = [place for place, there in enumerate(same) if there and place > 1]
        if later:
            assert column.index(value, 2) == later[0]
            with pytest.raises(ValueError, match="is not in"):
                column.index(value, 2, later[0])
        else:
            with pytest.raises(ValueError, match="is not in"):
                column.index(value, 2)
    for foreign in (object(), "foreign", ["foreign"], 3 + 1j, Fraction(1, 3), np.zeros((9, 9)), [[1], [1, 2]], {1: 3}):
        assert foreign not in column
        assert column.count(foreign) == 0
        with pytest.raises(InvalidArgument, match="is not in"):
            column.remove(foreign)
    for value in (model[4], model[0]):
        place = next(place for place, other in enumerate(model) if alike(other, value))
        column.remove(value)
        del model[place]
        assert case.holds()
    assert case.new().count(model[0]) == 0
    assert model[0] not in case.new()


def test_order_is_reversed_and_sorted(case):
    case.column.reverse()
    case.model.reverse()
    assert case.holds()
    case.column.sort(key=repr, reverse=True)
    case.model.sort(key=repr, reverse=True)
    assert case.holds()
    case.column.sort(key=lambda value: len(repr(value)))
    case.model.sort(key=lambda value: len(repr(value)))
    assert case.holds()
    for backwards in (False, True):
        try:
            case.model.sort(reverse=backwards)
        except (TypeError, ValueError) as error:  # these have no order
            with pytest.raises(type(error)):
                case.column.sort(reverse=backwards)
            case.model = list(case.column)
        else:
            case.column.sort(reverse=backwards)
        assert case.holds()
    case.column.clear()
    case.column.sort()
    case.column.reverse()
    assert all_equal(case.column[:], [])


def test_a_column_equals_a_list_and_another_column(case):
    column, other = case.column, case.new(case.model)
    assert column == column[:] if isinstance(column[:], list) else column == list(column)
    assert column == case.model
    assert column == other
    assert (column == tuple(case.model)) is False
    other.append(case.model[0])
    assert column != other
    assert column != case.model[:-1]
    assert column != [object()] * len(case.model)
    assert case.new() == []
    with pytest.raises(TypeError, match="unhashable"):
        hash(column)
    assert bool(column)
    assert not case.new()


def test_repr_shows_dtype_length_and_head(case):
    shown = repr(case.column)
    assert f" {case.dtype}, {len(case.model)} elements: [" in shown
    assert shown.endswith(", …]>") is (len(case.model) > 6)
    assert len(shown.splitlines()) == 1
    assert repr(case.new()).endswith("0 elements: []>")


def test_what_fails_half_way_changes_nothing(case):
    def failing():
        yield from case.some(case.per_block + 1)
        raise ZeroDivisionError

    for operation in (
        lambda: case.column.extend(failing()),
        lambda: case.column.__iadd__(failing()),
        lambda: case.column.__setitem__(slice(1, 4), failing()),
        lambda: case.column.__setitem__([0, 1], failing()),
    ):
        with pytest.raises(ZeroDivisionError):
            operation()
    assert case.holds()


def test_iterables_that_use_the_column_meanwhile(case):
    column, model = case.column, case.model

    def reading():
        for index in range(3):
            yield column[index]
            assert len(column) == len(model)

    expected = model[:3]
    column.extend(reading())
    model.extend(expected)
    column[2:4] = reading()
    model[2:4] = model[:3]
    assert case.holds()
    first, second, third = case.some(3)

    def writing():
        yield first
        column.append(third)
        yield second
        del column[0]

    column.extend(writing())
    model[:] = [*model[1:], third, first, second]
    assert case.holds()
    column[1:3] = writing()
    model[:] = [*model[1:], third]
    model[1:3] = [first, second]
    assert case.holds()


def changing_key(case: Case, change: Callable[[], object]) -> Callable[[Any], str]:
    once = iter([change])

    def key(value: Any) -> str:
        next(once, lambda: None)()
        return repr(value)

    return key


@pytest.mark.parametrize("dtype", ["i64", "str:utf8"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_functions_of_the_caller_that_change_the_column_meanwhile(shared_engines, database, dtype):
    case = Case(shared_engines(database), dtype, "blocks", "plain")
    column, model = case.column, case.model
    (new,) = case.some(1)
    for change in (lambda: column.append(new), column.clear, lambda: column.__setitem__(0, new)):
        with pytest.raises(ValueError, match="sort"):
            column.sort(key=changing_key(case, change))
        assert case.holds()
    model.sort(key=list(model).index)
    column.sort(key=column.index)
    assert case.holds()

    class Finds:
        def __eq__(self, other: object) -> bool:
            if other == model[5] and len(column) == len(model):
                column.insert(0, new)
                return True
            return False

        __hash__ = None

    # As of a list: the element at that place is removed, whichever it has become.
    column.remove(Finds())
    place = model.index(model[5])
    model.insert(0, new)
    del model[place]
    assert case.holds()


class Index:
    """What has an index, and is no int."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


def test_whatever_has_an_index_is_one(case):
    column, model = case.column, case.model
    for one in (Index(2), np.int8(2), np.uint64(2), np.array(2)):
        assert equal(column[one], model[2])
        assert all_equal(column[one : Index(-1)], model[2:-1])
        assert all_equal(column[: Index(-1) : one], model[:-1:2])
    column[Index(0)] = column[np.int64(-1)]
    model[0] = model[-1]
    column[Index(1) : Index(3)] = []
    del model[1:3]
    del column[np.int16(1)], model[1]
    column.insert(Index(3), model[0])
    model.insert(3, model[0])
    assert equal(column.pop(Index(2)), model.pop(2))
    assert case.holds()
    for wrong in ("1", 1.0, None, (1, 2), {1}, b"1"):
        for operation in (
            lambda: column[wrong],
            lambda: column.__setitem__(wrong, model[0]),
            lambda: column.__delitem__(wrong),
            lambda: column.insert(wrong, model[0]),
            lambda: column.pop(wrong),
        ):
            with pytest.raises(UnsupportedType, match="index"):
                operation()
    for wrong in (slice("a", 3), slice(None, 1.5), slice(None, None, "x")):
        with pytest.raises(TypeError):
            column[wrong]
        with pytest.raises(TypeError):
            column[wrong] = []
        with pytest.raises(TypeError):
            del column[wrong]
    for operation in (lambda: column[::0], lambda: column.__setitem__(slice(None, None, 0), [])):
        with pytest.raises(ValueError, match="zero"):
            operation()
    assert case.holds()


def test_an_index_beyond_the_ends_is_an_index_error(case):
    for index in (len(case.model), -len(case.model) - 1, 2**63, -(10**30)):
        for operation in (
            lambda: case.column[index],
            lambda: case.column.__setitem__(index, case.more[0]),
            lambda: case.column.__delitem__(index),
            lambda: case.column.pop(index),
        ):
            with pytest.raises(IndexError) as caught:
                operation()
            assert isinstance(caught.value, OutOfRange)
    empty = case.new()
    for operation in (empty.pop, lambda: empty[0], lambda: empty[-1], lambda: empty.__delitem__(0)):
        with pytest.raises(OutOfRange):
            operation()
    assert case.holds()


@pytest.mark.parametrize("wrong", [5, None, object()], ids=lambda wrong: type(wrong).__name__)
@pytest.mark.parametrize("dtype", ["i64", "str:utf8", "vec:f32:3", "vec:f32", "msgpack"])
def test_what_cannot_be_iterated_over_is_refused(shared_engines, dtype, wrong):
    case = Case(shared_engines("sqlite"), dtype, "blocks", "plain")
    for operation in (
        lambda: case.column.extend(wrong),
        lambda: case.column.__iadd__(wrong),
        lambda: case.column.__setitem__(slice(0, 2), wrong),
        lambda: case.column.__setitem__([0, 1], wrong),
    ):
        with pytest.raises(UnsupportedType, match="iterable"):
            operation()
    assert case.holds()


def test_pieces_of_another_size_than_asked_for(case):
    column, model = case.column, case.model
    batches = list(column.iter_batches(np.int64(5), start=2, stop=-1, as_array=False))
    assert [len(batch) for batch in batches[:-1]] == [5] * (len(batches) - 1)
    assert all_equal([value for batch in batches for value in batch], model[2:-1])
    assert list(column.iter_batches(start=5, stop=5)) == []
    assert all_equal(np.concatenate(list(column.iter_batches(batch_bytes=1))).tolist(), column.to_numpy().tolist())
    assert all_equal(column.read(len(model) - 2, 100), model[-2:])
    assert all_equal(column.read(len(model) + 5), [])
    for wrong in (0, -1, "x", 1.5):
        with pytest.raises(KohakuVaultError):
            column.iter_batches(wrong)
    for wrong in ((-1, 2), (0, -2)):
        with pytest.raises(InvalidArgument):
            column.read(*wrong)
    if case.dtype in VARIABLE:
        with pytest.raises(UnsupportedType, match="size"):
            column.read_buffer()
    else:
        codec = elements_of(case.dtype).codec
        for start, count in ((0, None), (1, case.per_block), (len(model) - 1, 5)):
            part = model[start:] if count is None else model[start : start + count]
            assert column.read_buffer(start, count) == b"".join(map(codec.pack_one, part))


def test_indices_that_are_none(engine):
    cv = ColumnVault(engine)
    column = cv.create_column("c", "i64")
    column.extend([1, 2, 3])
    assert column[array.array("q", [2, 0])] == [3, 1]
    for operation in (
        lambda: column[::0],
        lambda: column.__setitem__(slice(None, None, 0), [1]),
        lambda: column.__delitem__(slice(None, None, 0)),
    ):
        with pytest.raises(InvalidArgument, match="step"):
            operation()
    with pytest.raises(UnsupportedType, match="masked"):
        column[np.ma.MaskedArray([0, 1], [True, False])]
    with pytest.raises(UnsupportedType):
        column[[0, 0]] = ["not an int", 5]
    column[[0, 0]] = np.array([7, 8], object)
    assert column[:] == [8, 2, 3]
