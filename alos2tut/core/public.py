"""What users call: arguments are of the types that are stated, and what the system refuses is an error of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, wraps
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import Alos2TutError, quoted, system_errors_named

P = ParamSpec("P")
R = TypeVar("R")
#: how types are called in messages
_NAMES: dict[Any, str] = {
    **{int: "a whole number", float: "a number", bool: "True or False", str: "a text", type(None): "None"},
    **dict.fromkeys((Path, PathLike), "a path"),
}


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate what users call: arguments of other types than its hints name are refused before anything is done.

    What the system refuses comes as an error of ours, too: :func:`.system_errors_named`.
    """
    names, texts = tuple(inspect.signature(function).parameters), function.__annotations__

    @cache
    def hint(name: str) -> Any:
        with suppress(NameError, KeyError):  # of what is imported for type checkers only; of what has no hint
            alone = SimpleNamespace(__annotations__={name: texts[name]})
            return get_type_hints(alone, function.__globals__)[name]  # type: ignore[attr-defined]
        return Any

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            check_type(name, value, hint(name))
        with system_errors_named():
            return function(*args, **kwargs)

    return call


def check_type(name: str, value: Any, hint: Any, remedy: str | None = None) -> None:
    """Raise an error that names an argument, unless it is of the type that is hinted at."""
    if not any(_is_a(value, kind) for kind in _kinds(hint)):
        problem = f"{name}={quoted(value)} is not {' or '.join(dict.fromkeys(_names(hint)))}"
        made = [kind.__name__ for kind in _kinds(hint) if hasattr(kind, "__pydantic_fields__")]
        raise Alos2TutError(problem, where=name, remedy=remedy or (f"load_config makes a {made[0]}." if made else None))


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _names(hint: Any) -> Iterator[str]:
    for kind in _kinds(hint):
        if get_origin(kind) in (Sequence, Iterable):
            yield f"a sequence ({' or '.join(_names(get_args(kind)[0]))})"
        else:
            kind = type(get_args(kind)[0]) if get_origin(kind) is Literal else get_origin(kind) or kind
            yield _NAMES.get(kind) or f"a {getattr(kind, '__name__', kind)}"


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as far as that is told cheaply: of mappings and tuples not what they hold."""
    origin = get_origin(kind)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, PathLike)
    if kind is bool:
        return type(value).__name__ in ("bool", "bool_")  # NumPy's, too
    if origin is Literal:
        return isinstance(value, type(get_args(kind)[0]))
    if origin is tuple:
        return isinstance(value, (tuple, list))
    if origin in (Sequence, Iterable, list) and isinstance(value, (Sequence, set, dict)):
        return not isinstance(value, (str, bytes)) and all(
            any(_is_a(part, of) for of in _kinds(get_args(kind)[0])) for part in value
        )
    kind = origin or kind
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)
