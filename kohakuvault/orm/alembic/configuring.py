"""``configure_args``: the arguments of ``context.configure`` by which Alembic knows what is ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .comparing import current, own_relations
from .directives import rewrite_directives
from .rendering import render_type

__all__ = ["configure_args"]


def configure_args(**own: Any) -> dict[str, Any]:
    """Return arguments for Alembic's ``context.configure``, made of the application's own and ours.

    Nothing of the application's is replaced: an object is included if both ``include_name`` include it; its
    ``render_item`` and ``compare_type`` are asked first; its ``process_revision_directives`` see our operations.

    Parameters
    ----------
    **own
        What the application passes to ``context.configure`` itself.

    Examples
    --------
    ::

        context.configure(
            connection=connection, target_metadata=Base.metadata, **configure_args(render_as_batch=True)
        )
    """
    return {
        "compare_type": True,
        **own,
        "include_name": _include_name(own.get("include_name")),
        "render_item": _render_item(own.get("render_item")),
        "process_revision_directives": _directives(own.get("process_revision_directives")),
    }


def _include_name(own: Callable[..., bool] | None) -> Callable[..., bool]:
    def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
        if own is not None and not own(name, type_, parent_names):
            return False
        if type_ not in ("table", "index") or name is None:
            return True
        relations = current.get()
        if relations is None:
            # Before Alembic 1.18 nobody says that autogenerate begins.
            from alembic import context

            relations = own_relations(context.get_context())
        if type_ == "table":
            return parent_names.get("schema_name") is not None or name not in relations.tables
        return (parent_names.get("schema_name"), name) not in relations.indexes and not name.startswith("sqlite_")

    return include_name


def _render_item(own: Callable[..., Any] | None) -> Callable[..., Any]:
    def render_item(type_: str, item: Any, context: Any) -> Any:
        rendered = False if own is None else own(type_, item, context)
        return render_type(type_, item, context) if rendered is False else rendered

    return render_item


def _directives(own: Callable[..., None] | None) -> Callable[..., None]:
    def process_revision_directives(context: Any, revision: Any, directives: list[Any]) -> None:
        rewrite_directives(context, revision, directives)
        if own is not None:
            own(context, revision, directives)

    return process_revision_directives
