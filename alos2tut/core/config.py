"""What configs are made of: frozen dataclasses that pydantic checks, and what of them decides a result.

Each stage has its own in ``<stage>/config.py``. Nothing here imports torch.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import os
import textwrap
from collections.abc import Mapping
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from .errors import Alos2TutError, closest, quoted

# what may be infinite says so
CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)

#: Where things lie and how fast they are made does not decide what they are: left out of artifact keys.
_NOT_HASHED = frozenset(
    {"work_dir", "products", "labels", "dataset", "init", "segmenter", "baseline", "devices", "loader_workers"}
    | {"checkpoint_every", "allow_other_signal", "workers", "on_error", "accelerator", "stop_after_minutes"}
    | {"gradient_checkpointing", "compile", "probability", "entropy", "preview", "overwrite"}
)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character ends texts for the system")
    return text


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: leave it out, or say what is meant")
    return text


#: text that says something, and goes to libraries in C
CText = Annotated[str, AfterValidator(_without_nul), AfterValidator(_not_empty)]
_AS_TEXT = BeforeValidator(lambda path: os.fspath(path) if isinstance(path, os.PathLike) else path)
#: a path, as text or pathlib's, and several of them (one alone will do)
PathText = Annotated[CText, _AS_TEXT]
#: a path that a config may be made without; whoever opens it refuses an empty one
LaterPathText = Annotated[str, AfterValidator(_without_nul), _AS_TEXT]
PathTexts = Annotated[
    tuple[PathText, ...], BeforeValidator(lambda paths: (paths,) if isinstance(paths, (str, os.PathLike)) else paths)
]


#: how many of something there are, at least one; no more than 32 bits count
Count = Annotated[int, Field(ge=1, lt=2**31)]
#: of random numbers; a number in JSON is exact up to there
Seed = Annotated[int, Field(ge=0, lt=2**53)]
MOST_WORKERS = 4096
#: how many processes; 0 has a meaning of its own
Workers = Annotated[int, Field(ge=0, le=MOST_WORKERS)]
#: a learning rate: a larger one diverges
Rate = Annotated[float, Field(gt=0, le=1000)]

T = TypeVar("T")


def settings_for_key(config: Any) -> dict[str, Any]:
    """The part of a config that decides the result, for :func:`alos2tut.core.artifacts.stage_dir`."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in _NOT_HASHED}
    for field in dataclasses.fields(config):
        # of a field with limits pydantic holds the default
        default = getattr(field.default, "default", field.default)
        if field.name in getattr(config, "KEYED_IF_SET", ()) and settings[field.name] == default:
            del settings[field.name]
    return {key: _plain(value) for key, value in settings.items()}


def _plain(value: Any) -> Any:
    """A setting as JSON can hold it: days and infinity as texts."""
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, date) or value == math.inf else value


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose wrong values are errors of ours, also where it is made in Python.

    Texts under its fields are their help.
    """
    made: Any = dataclass(frozen=True, kw_only=True, config=CHECKED)(cls)
    check = made.__init__

    @wraps(check)
    def init(self: Any, *args: Any, **values: Any) -> None:
        where = f"{cls.__name__.removesuffix('Config').lower()} settings"
        if args:
            raise Alos2TutError(f"{quoted(args[0])} is given without the name of its setting", where=where)
        try:
            check(self, **values)
        except ValidationError as error:
            raise _first_error(error, cls, where) from None

    made.__init__ = init
    return cast(type[T], made)


def field_texts(cls: type) -> dict[str, str]:
    """The texts under a config's own fields, which are their help, by name; of none if its source is not there."""
    try:
        [made] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except OSError:
        return {}
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in itertools.pairwise(made.body if isinstance(made, ast.ClassDef) else ())
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def from_dict(cls: type[T], settings: Mapping[str, Any], *, where: str | Path) -> T:
    """A config (or any checked dataclass) made of settings, as of a file.

    Raises:
        Alos2TutError: an unknown key (with the nearest known name), a missing one, or a wrong value in ``where``.
    """
    try:
        return cls(**{str(key): value for key, value in settings.items()})
    except ValidationError as error:
        raise _first_error(error, cls, where) from None
    except Alos2TutError as error:
        raise Alos2TutError(error.problem, where=where, remedy=error.remedy) from None


def _first_error(error: ValidationError, cls: Any, where: str | Path) -> Alos2TutError:
    """The first of what pydantic found, as an error of ours."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _field_names(cls, [str(part) for part in first["loc"][:-1]])
        return Alos2TutError(f"unknown key {quoted(path)}", where=where, remedy=closest(str(first["loc"][-1]), known))
    if first["type"] == "missing":
        return Alos2TutError(f"'{path}' is missing", where=where)
    # what a config says of its fields together has no path, and needs no list of them all
    value = f"{path}={quoted(first['input'])}: " if path else ""
    return Alos2TutError(value + first["msg"].removeprefix("Value error, "), where=where)


def _field_names(cls: Any, path: list[str]) -> list[str]:
    """Names of the fields where the path leads, through configs that are fields of others, or in lists of them."""
    for name in path:
        field = cls.__pydantic_fields__.get(name)
        cls = (field and _config_in(field.annotation)) or cls
    return list(cls.__pydantic_fields__)


def _config_in(annotation: Any) -> Any:
    """The first config, or None, that a type such as ``list[Config]`` speaks of."""
    if hasattr(annotation, "__pydantic_fields__"):
        return annotation
    return next(filter(None, map(_config_in, get_args(annotation))), None)
