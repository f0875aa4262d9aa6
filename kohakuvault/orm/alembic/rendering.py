"""Our types and operations as Python, with the imports that a script needs for them."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import _repr_type, render_op_text
from sqlalchemy.types import TypeEngine

from .. import types as vault_types
from .prepare import PrepareVaultTypesOp
from .repack import RepackColumnOp
from .row_container_ops import CreateVaultDictOp, CreateVaultListOp, DropVaultDictOp, DropVaultListOp
from .text_index_ops import CreateTextIndexOp, DropTextIndexOp
from .vault_table_ops import CreateVaultTableOp, DropVaultTableOp
from .vector_index_ops import CreateVectorIndexOp, DropVectorIndexOp

__all__ = ["call", "prefix", "render_type", "rendered_type"]

_IMPORT = "from kohakuvault.orm import {}"


def render_type(type_: str, item: Any, context: AutogenContext) -> Any:
    """Return a type of ours as Python; False for anything else. Of the form of ``render_item``."""
    name = name_of_type(item) if type_ == "type" else None
    if name is None:
        return False
    context.imports.add(_IMPORT.format(name))
    variants = getattr(item, "_variant_mapping", None) or {}
    text = repr(item)
    for dialect, variant in variants.items():
        text += f".with_variant({_repr_type(variant, context)}, {dialect!r})"
    return text


def name_of_type(type_: Any) -> str | None:
    """Return by which of our public classes a type is written; None if it is none of ours."""
    name = repr(type_).partition("(")[0] if type(type_).__module__.startswith("kohakuvault.") else ""
    return name if name in vault_types.__all__ else None


def rendered_type(type_: TypeEngine[Any], context: AutogenContext) -> str:
    """Return any type as Python: the application's ``render_item`` is asked first."""
    text: Any = False
    if context.opts.get("render_item"):
        text = context.opts["render_item"]("type", type_, context)
    if text is False:
        text = render_type("type", type_, context)
    return str(_repr_type(type_, context) if text is False else text)


def prefix(context: AutogenContext) -> str:
    """Return what stands before the name of an operation."""
    return "batch_op." if context._has_batch else str(context.opts.get("alembic_module_prefix") or "op.")


def call(context: AutogenContext, name: str, *arguments: str, **keywords: Any) -> str:
    """Return the call of an operation; of ``keywords`` the values are Python already, and None is left out."""
    given = [*arguments, *(f"{key}={value}" for key, value in keywords.items() if value is not None)]
    return f"{prefix(context)}{name}({', '.join(given)})"


def text_or_none(value: Any) -> str | None:
    """Return a value as Python, and None for None."""
    return None if value is None else repr(value)


@renderers.dispatch_for(CreateVectorIndexOp)
@renderers.dispatch_for(DropVectorIndexOp)
def _vector_index(context: AutogenContext, operation: CreateVectorIndexOp | DropVectorIndexOp) -> str:
    names = [operation.index_name] if context._has_batch else [operation.index_name, operation.table_name]
    arguments = [repr(str(name)) for name in [*names, operation.column_name] if name is not None]
    return call(
        context,
        operation.to_diff_tuple()[0],
        *arguments,
        type_=None if operation.type_ is None else rendered_type(operation.type_, context),
        metric=repr(operation.metric),
        kind=repr(operation.kind),
        key=text_or_none(operation.key),
        schema=None if context._has_batch else text_or_none(operation.schema),
        **{name: repr(value) for name, value in operation.options.items()},
    )


@renderers.dispatch_for(CreateVaultTableOp)
@renderers.dispatch_for(DropVaultTableOp)
def _vault_table(context: AutogenContext, operation: CreateVaultTableOp | DropVaultTableOp) -> str:
    name = operation.to_diff_tuple()[0]
    given = {"pickle": True} if operation.pickle else {}
    options = [f"{key}={value!r}" for key, value in {**given, **operation.options}.items() if value is not None]
    # The kind and not what is the default of it.
    options = [option for option in options if option != "vector_type='f32'"]
    first = f"{prefix(context)}{name}({operation.table_name!r}, {operation.kind!r}"
    if not operation.columns:
        options += [] if operation.schema is None else [f"schema={operation.schema!r}"]
        return ", ".join([first, *options]) + ")"
    text = render_op_text(context, operation.to_create_table())
    start = f"{prefix(context)}create_table({operation.table_name!r}"
    assert text.startswith(start)
    rest = text[len(start) :].rstrip().removesuffix(")").rstrip()
    return ",\n".join([first + rest, *options]) + "\n)"


@renderers.dispatch_for(RepackColumnOp)
def _repack(context: AutogenContext, operation: RepackColumnOp) -> str:
    names = [] if context._has_batch else [repr(operation.table_name)]
    return call(
        context,
        "repack_column",
        *names,
        repr(str(operation.column_name)),
        to=rendered_type(operation.to, context),
        from_=rendered_type(operation.from_, context),
        schema=None if context._has_batch else text_or_none(operation.schema),
    )


@renderers.dispatch_for(PrepareVaultTypesOp)
def _prepare(context: AutogenContext, operation: PrepareVaultTypesOp) -> str:
    return call(context, "prepare_vault_types", *(rendered_type(type_, context) for type_ in operation.types))


@renderers.dispatch_for(CreateVaultListOp)
@renderers.dispatch_for(DropVaultListOp)
def _vault_list(context: AutogenContext, operation: CreateVaultListOp | DropVaultListOp) -> str:
    names = [] if context._has_batch else [repr(operation.table_name)]
    schema = None if context._has_batch else text_or_none(operation.schema)
    return call(context, operation.to_diff_tuple()[0], *names, repr(operation.column_name), schema=schema)


@renderers.dispatch_for(CreateVaultDictOp)
@renderers.dispatch_for(DropVaultDictOp)
def _vault_dict(context: AutogenContext, operation: CreateVaultDictOp | DropVaultDictOp) -> str:
    return call(
        context,
        operation.to_diff_tuple()[0],
        repr(operation.table_name),
        repr(operation.owner_table),
        owner_key=None if operation.owner_key == "id" else repr(operation.owner_key),
        key_type=rendered_type(operation.key_type, context),
        schema=text_or_none(operation.schema),
        pickle="True" if operation.pickle else None,
    )


@renderers.dispatch_for(CreateTextIndexOp)
@renderers.dispatch_for(DropTextIndexOp)
def _text_index(context: AutogenContext, operation: CreateTextIndexOp | DropTextIndexOp) -> str:
    names = [operation.index_name] if context._has_batch else [operation.index_name, operation.table_name]
    columns = [repr([str(column) for column in operation.columns])] if operation.columns else []
    return call(
        context,
        operation.to_diff_tuple()[0],
        *(repr(str(name)) for name in names),
        *columns,
        tokenize=None if operation.tokenize == "unicode61" else repr(operation.tokenize),
        weights=text_or_none(operation.weights),
        key=None if operation.key == "id" else repr(operation.key),
        unique=repr(operation.unique) if operation.unique else None,
        schema=None if context._has_batch else text_or_none(operation.schema),
        **{name: repr(value) for name, value in operation.options.items()},
    )
