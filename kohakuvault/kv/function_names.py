"""The name of a function by which another process, or a later run, finds what was kept for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import InvalidArgument

__all__ = ["name_of"]


def name_of(function: Callable[..., Any]) -> str:
    """Return module and qualified name, if nothing else can have them."""
    qualified: str | None = getattr(function, "__qualname__", None)
    module: str | None = getattr(function, "__module__", None)
    owner = getattr(function, "__self__", None)
    reason = None
    if qualified is None or module is None:
        reason = f"{function!r:.80} has no qualified name"
    elif "<lambda>" in qualified:
        reason = "every lambda has the same name"
    elif owner is not None and not isinstance(owner, ModuleType):
        reason = f"{qualified} is bound to an object, and has the same name when it is bound to another"
    elif "<locals>" in qualified and (captured := _captured(function)):
        reason = f"{qualified} uses {', '.join(captured)} of the function around it, which may differ each time"
    if reason is not None:
        raise InvalidArgument(f"{reason}: give memoize(name=…) a name that no other function's results have")
    return f"{_module_name(function, str(module))}.{qualified}"


def _captured(function: Callable[..., Any]) -> list[str]:
    code = getattr(function, "__code__", None)
    harmless = {getattr(function, "__name__", None), "__class__"}
    return [name for name in getattr(code, "co_freevars", ()) if name not in harmless]


def _module_name(function: Callable[..., Any], module: str) -> str:
    """Return the name by which others import a module, also where it runs as the main program."""
    if module not in ("__main__", "__mp_main__"):
        return module
    # Not those of sys.modules["__main__"]: in a spawned process that is not yet the one that is running.
    main = getattr(inspect.unwrap(function), "__globals__", {})
    spec, file = main.get("__spec__"), main.get("__file__")
    if spec is not None:
        return str(spec.name)
    return Path(file).stem if file else module
