"""Types that annotations mean: ``Mapped[np.ndarray]`` without a ``mapped_column`` of its own."""

from __future__ import annotations

import sys
from inspect import get_annotations
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import event
from sqlalchemy.orm import Mapped, Mapper
from sqlalchemy.types import TypeEngine, to_instance

from ..errors import InvalidArgument
from .types import PackedArray
from .types.array_elements import ARRAY_ELEMENTS

__all__ = ["annotated_types", "type_annotation_map"]

#: For a declarative base: ``class Base(DeclarativeBase): type_annotation_map = type_annotation_map``. An array is a
#: :class:`PackedArray`; ``NDArray[np.float32]`` one of that dtype.
type_annotation_map: dict[Any, TypeEngine[Any]] = {
    **dict.fromkeys((np.ndarray, np.ndarray[Any, Any], NDArray[Any]), PackedArray()),
    **{
        form: PackedArray(elem)
        for elem, dtype in ARRAY_ELEMENTS.items()
        for form in (NDArray[dtype.type], np.ndarray[Any, np.dtype[dtype.type]])  # type: ignore[name-defined]
    },
}


def annotated_types(*aliases: Any) -> dict[Any, TypeEngine[Any]]:
    """Return what a base's ``type_annotation_map`` needs for ``Annotated`` aliases that name a type of a column.

    Raises :class:`InvalidArgument` for what is no such alias.

    >>> from kohakuvault.orm import Vector
    >>> Embedding = Annotated[np.ndarray, Vector(384)]
    >>> list(annotated_types(Embedding).values())
    [Vector(384)]
    """
    found = {}
    for alias in aliases:
        named = _named_type(alias)
        if named is None:
            raise InvalidArgument(f"{alias!r} is no Annotated[..., type] with one type of SQLAlchemy")
        found[alias] = named
    return found


def _named_type(annotation: Any) -> TypeEngine[Any] | None:
    """Return the type that an ``Annotated`` names, if it is one."""
    # An alias of the `type` statement has a value.
    annotation = getattr(annotation, "__value__", annotation)
    if get_origin(annotation) is not Annotated:
        return None
    metadata = get_args(annotation)[1:]
    types = [each for each in metadata if isinstance(each, TypeEngine) or _is_type_class(each)]
    return to_instance(types[0]) if len(types) == 1 else None


def _is_type_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, TypeEngine)


@event.listens_for(Mapper, "mapper_configured")
def _check_annotations(mapper: Mapper[Any], class_: type[Any]) -> None:
    """Refuse an alias that nobody registered: SQLAlchemy would take the array in it for a PackedArray."""
    for prop in mapper.column_attrs:
        if type(prop.columns[0].type) is not PackedArray or prop.columns[0].type.elem is not None:
            continue
        for named in filter(None, map(_named_type, _annotation(class_, prop.key))):
            if isinstance(named, PackedArray):
                continue
            raise InvalidArgument(
                f"{class_.__name__}.{prop.key} is annotated with {named!r}, and the column is a PackedArray(): add "
                "annotated_types(alias) to the type_annotation_map of the base, or write "
                f"Annotated[..., mapped_column({named!r})]"
            )


def _annotation(class_: type[Any], name: str) -> tuple[Any, ...]:
    """Return what is in the ``Mapped[]`` of an attribute, and that of a union by its parts; nothing if unknown."""
    for cls in class_.__mro__:
        try:
            own = get_annotations(cls)
            if name in own:
                only = SimpleNamespace(__annotations__={name: own[name]})
                scope = vars(sys.modules.get(cls.__module__, only))
                found = get_type_hints(only, scope, include_extras=True)[name]
                if get_origin(found) is Mapped:
                    (found,) = get_args(found)
                return get_args(found) if get_origin(found) in (Union, UnionType) else (found,)
        except (NameError, AttributeError, TypeError):
            # A name that exists for type checkers alone, or in the function that the class is in.
            return ()
    return ()
