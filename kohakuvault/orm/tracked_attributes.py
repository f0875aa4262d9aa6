"""Which attributes of mapped classes have tracked values, and when they get them.

Whatever way a column of :class:`~kohakuvault.orm.types.tracked_packed.TrackedPacked` came into a mapping (a mixin,
``Annotated``, a :class:`~sqlalchemy.Table`, inheritance), its attribute is found when the mapper is configured.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Mapper

from .tracked import parts, tracked
from .types.tracked_packed import TrackedPacked

__all__: list[str] = []

# Where the state of a pickled object has its tracked values, because their owners are not pickled with them.
_PICKLED = "kohakuvault.tracked"


@event.listens_for(Mapper, "mapper_configured")
def _follow_attributes(mapper: Mapper[Any], class_: type[Any]) -> None:
    for prop in mapper.column_attrs:
        # Those that are inherited are followed by the class that has them.
        if prop.parent is mapper and isinstance(prop.columns[0].type, TrackedPacked):
            _follow(getattr(class_, prop.key))


def _follow(attribute: Any) -> None:
    """Have the attribute's values tracked, however they come to be there."""
    key = attribute.key
    class_ = attribute.class_

    def loaded(state: Any, *arguments: Any) -> None:
        found = state.dict.get(key)
        value = tracked(found)
        if value is not found:
            state.dict[key] = value
        for part in parts(value):
            part._give_to(state, key)

    def refreshed(state: Any, context: Any, names: Any) -> None:
        if not names or key in names:
            loaded(state)

    def assigned(state: Any, value: Any, before: Any, initiator: Any) -> Any:
        value = tracked(value)
        for part in parts(before):
            part._take_from(state, key)
        for part in parts(value):
            part._give_to(state, key)
        return value

    def pickled(state: Any, state_dict: dict[str, Any]) -> None:
        found = list(parts(state.dict.get(key)))
        if found:
            state_dict.setdefault(_PICKLED, {})[key] = found

    def unpickled(state: Any, state_dict: dict[str, Any]) -> None:
        for part in state_dict.get(_PICKLED, {}).get(key, ()):
            part._give_to(state, key)

    event.listen(class_, "load", loaded, raw=True, propagate=True)
    event.listen(class_, "refresh", refreshed, raw=True, propagate=True)
    event.listen(class_, "refresh_flush", refreshed, raw=True, propagate=True)
    event.listen(attribute, "set", assigned, raw=True, retval=True, propagate=True)
    event.listen(class_, "pickle", pickled, raw=True, propagate=True)
    event.listen(class_, "unpickle", unpickled, raw=True, propagate=True)
