"""What the attributes of rows' containers have in common: how they find their mapped classes, objects and Sessions."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from sqlalchemy import Table, event
from sqlalchemy.orm import InspectionAttr, InstanceState, Mapper, PropComparator, Session
from sqlalchemy.orm.attributes import instance_state

from ...driver_connection import require_waitable
from ...errors import InvalidArgument
from .assigned import Assigned

__all__ = ["ClassAttribute", "RowContainer"]

Handle = TypeVar("Handle")
# What there is for one mapped class.
Made = TypeVar("Made", bound="ClassAttribute")


class ClassAttribute(PropComparator[Any], InspectionAttr):
    """What ``Doc.settings`` is: it names things, and is no column or relationship.

    To SQLAlchemy it is a comparator, so that every use as an expression or in loader options comes here and is refused.
    """

    # For the loader options, which then ask for `parent`.
    is_attribute = True

    # With comparisons, which are refused.
    __hash__ = object.__hash__

    def __init__(self, name: str, mapper: Mapper[Any]) -> None:
        self.name = name
        self.mapper = mapper

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._title}>"

    @property
    def _title(self) -> str:
        return f"{self.mapper.class_.__name__}.{self.name}"

    def _refuse(self) -> NoReturn:
        raise InvalidArgument(
            f"{self._title} is a container of each row, which is read and written through an object: it is never "
            f"loaded with the row, so leave out loader options such as selectinload() and joinedload(), select the "
            f"class and use its .{self.name}; {self._hint}"
        )

    _hint = ""

    @property
    def parent(self) -> NoReturn:
        """Refuse loader options."""
        self._refuse()

    def __clause_element__(self) -> NoReturn:
        self._refuse()

    def operate(self, op: Any, *other: Any, **options: Any) -> NoReturn:
        """Refuse comparisons."""
        self._refuse()

    def reverse_operate(self, op: Any, other: Any, **options: Any) -> NoReturn:
        """Refuse comparisons."""
        self._refuse()


class _Open(NamedTuple):
    """A handle that was given for an object, with what it is right for."""

    session: Session
    identity: tuple[Any, ...]
    handle: Any


class RowContainer(ABC, Generic[Handle, Made]):
    """A descriptor that gives the container of a mapped object. Each kind says what that is.

    The annotation of the attribute is for those who read it, and type checkers: it is taken away from the class, so
    that neither SQLAlchemy nor a dataclass sees a column or field in it.
    """

    def __init__(self) -> None:
        self.name = ""
        self._made: weakref.WeakKeyDictionary[type, Made] = weakref.WeakKeyDictionary()
        self._handles: weakref.WeakKeyDictionary[InstanceState[Any], _Open] = weakref.WeakKeyDictionary()
        self._assigned = Assigned()

    # -- what each kind says ---------------------------------------------------------------------

    @abstractmethod
    def _make(self, mapper: Mapper[Any], table: Table) -> Made:
        """Add what the containers need to the metadata of a class's table."""

    @abstractmethod
    def _open(self, made: Made, session: Session, identity: tuple[Any, ...]) -> Handle:
        """Return the container of the row with a primary key."""

    @abstractmethod
    def _is_open(self, handle: Handle) -> bool:
        """Whether a container has not been closed."""

    @abstractmethod
    def _taken(self, value: Any) -> Any:
        """Return a copy of what was assigned; raise if it can never be stored."""

    @abstractmethod
    def _replace(self, handle: Handle, value: Any) -> None:
        """Set the whole contents to what :meth:`_taken` returned."""

    @abstractmethod
    def _clear(self, handle: Handle) -> None:
        """Remove the whole contents."""

    # -- the class -------------------------------------------------------------------------------

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name
        annotations = vars(owner).get("__annotations__")
        if isinstance(annotations, dict):
            annotations.pop(name, None)

    def _map(self, mapper: Mapper[Any]) -> None:
        """Prepare for the objects of a class that was mapped."""
        class_ = mapper.class_
        inherited = None if mapper.inherits is None or mapper.concrete else self._made.get(mapper.inherits.class_)
        if inherited is not None:
            self._made[class_] = inherited
            return
        table = mapper.local_table
        if not isinstance(table, Table):
            raise InvalidArgument(
                f"{class_.__name__}.{self.name}: the class is mapped to {table!r:.60}; a container of a row needs a "
                "class that is mapped to a Table"
            )
        self._made[class_] = self._make(mapper, table)
        event.listen(mapper, "after_insert", self._after_insert, propagate=True)

    def _of_class(self, class_: type) -> Made:
        made = self._made.get(class_)
        if made is None:
            raise InvalidArgument(
                f"{class_.__name__}.{self.name} belongs to no mapped class yet: declare vault_dict() and vault_list() "
                "in the body of a class that is mapped, or of a mixin"
            )
        return made

    # -- objects ---------------------------------------------------------------------------------

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self._made.get(owner, self) if owner is not None else self
        state: InstanceState[Any] = _state_of(instance)
        session = state.session
        if session is None or state.key is None or state.deleted:
            session = self._session_of(instance, state)
        assert state.key is not None
        identity = state.key[1]
        open_ = self._handles.get(state)
        if (
            open_ is not None
            and open_.session is session
            and open_.identity == identity
            and self._is_open(open_.handle)
        ):
            return open_.handle
        return self._new(state, session, type(instance), identity)

    def _new(self, state: InstanceState[Any], session: Session, class_: type, identity: tuple[Any, ...]) -> Handle:
        handle = self._open(self._of_class(class_), session, identity)
        self._handles[state] = _Open(session, identity, handle)
        return handle

    def _session_of(self, instance: Any, state: InstanceState[Any]) -> Session:
        """Return the Session of an object whose row there is, after a flush if there is none yet; or raise."""
        title, session = f"{type(instance).__name__}.{self.name}", state.session
        if state.deleted:
            raise InvalidArgument(f"{title}: the object has been deleted, and what it owned with it")
        if session is None:
            what = "transient" if state.key is None else "detached"
            raise InvalidArgument(
                f"{title}: the object is {what}, and its container is in the database: "
                + (
                    "session.add(object) first, or assign the contents, which are stored with it"
                    if state.key is None
                    else "session.add(object), or object = session.merge(object), gives it a Session"
                )
            )
        if session.autoflush:
            require_waitable(session.get_bind(state.mapper).dialect)
            session.flush()
        if state.key is None:
            raise InvalidArgument(
                f"{title}: the object is pending, and has no row yet: call session.flush() first, or assign the "
                "contents, which are stored with it"
            )
        return session

    def __set__(self, instance: Any, value: Any) -> None:
        if value is self or isinstance(value, ClassAttribute):
            # A default that a dataclass hands over.
            return
        state: InstanceState[Any] = _state_of(instance)
        open_ = self._handles.get(state)
        if open_ is not None and open_.handle is value:
            # The end of `doc.readings += values`.
            return
        taken = self._taken(value)
        if state.key is None:
            self._assigned.keep(state, taken)
            return
        handle = self.__get__(instance)
        self._replace(handle, taken)
        self._assigned.renew(state, taken)

    def __delete__(self, instance: Any) -> None:
        state: InstanceState[Any] = _state_of(instance)
        self._assigned.forget(state)
        if state.key is not None:
            self._clear(self.__get__(instance))

    def _after_insert(self, mapper: Mapper[Any], connection: Any, instance: Any) -> None:
        """Store what was assigned to an object whose row has just been inserted."""
        state: InstanceState[Any] = _state_of(instance)
        session = state.session
        if session is None or not self._assigned.has(state):
            return
        # The object has no identity key before the end of the flush.
        identity = tuple(mapper.primary_key_from_instance(instance))
        handle = self._open(self._of_class(type(instance)), session, identity)
        self._replace(handle, self._assigned.take(state, session))


def _state_of(instance: Any) -> Any:
    try:
        # At a tenth of the time of inspect().
        return instance_state(instance)
    except AttributeError as error:
        raise InvalidArgument(
            f"{instance!r:.60} is of no mapped class, and only a row of a table owns a vault_dict() or vault_list()"
        ) from error


def _containers(class_: type) -> Iterator[tuple[str, RowContainer[Any, Any]]]:
    found: dict[str, Any] = {}
    for base in class_.__mro__:
        for name, value in vars(base).items():
            found.setdefault(name, value)
    return ((name, value) for name, value in found.items() if isinstance(value, RowContainer))


@event.listens_for(Mapper, "instrument_class")
def _own(mapper: Mapper[Any], class_: type) -> None:
    """Give a class the attributes itself that it inherits, so that no column of their names is mapped over them."""
    for name, container in _containers(class_):
        if name not in vars(class_):
            type.__setattr__(class_, name, container)


@event.listens_for(Mapper, "after_mapper_constructed")
def _map(mapper: Mapper[Any], class_: type) -> None:
    for _, container in _containers(class_):
        container._map(mapper)
