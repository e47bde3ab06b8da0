"""The stages' settings, by the stages' words: filled from a profile, then a file, then single values.

The defaults are the published numbers (arXiv 2603.15119 and its authors' settings); the profiles ``quick`` and
``laptop`` in ``profiles.yaml`` replace what does not fit a small machine. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, overload

from .core.artifacts import parse_yaml, read_yaml
from .core.config import field_texts, from_dict
from .core.errors import Alos2TutError, closest
from .core.public import public
from .dataset.config import DatasetConfig
from .evaluation.config import CompareConfig, EvaluateConfig
from .mapping.config import MapConfig
from .pretraining.config import PretrainConfig
from .segmentation.config import FinetuneConfig
from .simulation.config import SimulateConfig

#: the stages by their one word, as used in profiles, overrides and artifact folders
STAGES: dict[str, type] = {
    "simulate": SimulateConfig,
    "dataset": DatasetConfig,
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "compare": CompareConfig,
    "evaluate": EvaluateConfig,
    "map": MapConfig,
}


@cache
def _profiles() -> Any:
    return read_yaml(files("alos2tut").joinpath("profiles.yaml"))


def profile_names() -> list[str]:
    """The profiles that come with the package, smallest first."""
    return list(_profiles())


# by stage the class that is returned, whose settings editors then complete; ``given`` is what follows below
@overload
def load_config(stage: Literal["simulate"], profile: str = ..., **given: Any) -> SimulateConfig: ...
@overload
def load_config(stage: Literal["dataset"], profile: str = ..., **given: Any) -> DatasetConfig: ...
@overload
def load_config(stage: Literal["pretrain"], profile: str = ..., **given: Any) -> PretrainConfig: ...
@overload
def load_config(stage: Literal["finetune"], profile: str = ..., **given: Any) -> FinetuneConfig: ...
@overload
def load_config(stage: Literal["compare"], profile: str = ..., **given: Any) -> CompareConfig: ...
@overload
def load_config(stage: Literal["evaluate"], profile: str = ..., **given: Any) -> EvaluateConfig: ...
@overload
def load_config(stage: Literal["map"], profile: str = ..., **given: Any) -> MapConfig: ...
@overload
def load_config(stage: str, profile: str = ..., **given: Any) -> Any: ...
@public
def load_config(
    stage: str,
    profile: str = "quick",
    *,
    file: str | Path | None = None,
    overrides: Iterable[str] = (),
    **values: Any,
) -> Any:
    """Settings of one stage: profile, then YAML file, then ``key=value`` texts, then keyword arguments.

    Args:
        stage: a key of :data:`STAGES`.
        profile: ``quick`` (minutes on two cores), ``laptop`` (about 20 minutes) or ``paper`` (the published numbers).
        file: a YAML file with keys of this stage.
        overrides: texts such as ``steps=20`` or ``encoder.depths=[2,2,6,2]``; values are read as YAML.
        **values: settings given in Python; None means "as the profile has it".

    Returns:
        The frozen dataclass of that stage.

    Raises:
        Alos2TutError: an unknown stage, profile or key (with the nearest known name), or a value of a wrong type
            or outside its range.
    """
    if stage not in STAGES:
        raise Alos2TutError(f"unknown stage '{stage}'", remedy=closest(stage, STAGES))
    if profile not in _profiles():
        raise Alos2TutError(f"unknown profile '{profile}'", where="profile", remedy=closest(str(profile), _profiles()))
    settings = _merged({}, _profiles()[profile].get(stage) or {})
    if file is not None:
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise Alos2TutError("holds no 'key: value' lines", where=file)
        settings = _merged(settings, content)
    for text in overrides:
        settings = _merged(settings, _parsed(text))
    settings = _merged(settings, {key: value for key, value in values.items() if value is not None})
    where = f"{stage} settings" if file is None else f"{stage} settings with {file}"
    return from_dict(STAGES[stage], settings, where=where)


def split_overrides(text: str) -> dict[str, list[str]]:
    """Texts such as ``'pretrain.steps=20; finetune.lr=1e-3'`` by stage, with which each must begin."""
    by_stage: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for entry in filter(None, map(str.strip, str(text).replace("\n", ";").split(";"))):
        stage, dot, rest = entry.partition(".")
        if not dot or stage not in STAGES:
            raise Alos2TutError(
                f"'{entry}' does not begin with a stage and a dot, as in pretrain.steps=20",
                where="overrides",
                remedy=closest(stage, STAGES),
            )
        by_stage[stage].append(rest)
    return by_stage


def describe_settings(stage: str, profile: str = "quick") -> list[tuple[str, Any, str, Any]]:
    """Every setting of a stage: its key, its value in a profile, what it means, and its type."""
    return _described(load_config(stage, profile), "")


def _described(config: Any, prefix: str) -> list[tuple[str, Any, str, Any]]:
    lines = []
    owners = [field_texts(cls) for cls in type(config).__mro__ if dataclasses.is_dataclass(cls)]
    for name, field in type(config).__pydantic_fields__.items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            lines += _described(value, f"{prefix}{name}.")
        else:
            text = next((texts[name] for texts in owners if name in texts), "")
            lines.append((prefix + name, value, text, field.annotation))
    return lines


@cache
def encoder_presets() -> dict[str, dict[str, Any]]:
    """Encoders by name, for ``encoder=NAME``: what each changes of :class:`EncoderConfig`'s defaults."""
    return dict(read_yaml(files("alos2tut").joinpath("networks/encoders.yaml")))


def _parsed(text: str) -> dict[str, Any]:
    """``'encoder.depths=[2,2,6,2]'`` as ``{'encoder': {'depths': [2, 2, 6, 2]}}``."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise Alos2TutError(f"'{text}' is not of the form key=value", where="overrides")
    if not value.strip():
        raise Alos2TutError(f"'{text}' gives no value", where="overrides", remedy="Where None is meant, write null.")
    try:
        content = parse_yaml(value, where=text)
    except Alos2TutError as error:
        raise Alos2TutError(f"the value in '{text}' cannot be read: {error.problem}", where="overrides") from None
    for part in reversed(key.strip().split(".")):
        content = {part: content}
    return dict(content)


def _merged(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in new.items():
        if key == "encoder" and isinstance(value, str):
            if value not in encoder_presets():
                remedy = closest(value, encoder_presets())
                raise Alos2TutError(f"unknown encoder '{value}'", where="encoder", remedy=remedy)
            value = encoder_presets()[value]
        elif key == "encoder" and isinstance(value, Mapping):
            # a nested config is refined key by key; any other value replaces the old one
            value = {**(merged.get(key) or {}), **value}
        merged[key] = value
    return merged
