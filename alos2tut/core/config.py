"""Settings of every stage: typed, checked, filled from a profile, then a file, then single values.

The defaults are the published numbers (arXiv 2603.15119 and its authors' settings); the profiles ``quick`` and
``laptop`` in ``profiles.yaml`` replace what does not fit a small machine. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from .artifacts import parse_yaml, read_yaml
from .errors import Alos2TutError, closest, quoted

#: there is no more ground than half-way around the Earth
_HALF_AROUND_M = 20_000_000

# texts under the fields are their help
_CHECKED = ConfigDict(extra="forbid", use_attribute_docstrings=True)

#: Where things lie and how fast they are made does not decide what they are: left out of artifact keys.
_NOT_HASHED = frozenset(
    {"work_dir", "products", "labels", "dataset", "init", "segmenter", "baseline", "devices", "loader_workers"}
    | {"checkpoint_every", "allow_other_signal", "workers", "on_error", "accelerator", "stop_after_minutes"}
    | {"gradient_checkpointing", "compile"}
)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character ends texts for the system")
    return text


#: stands for what is published of the chosen objective, and is replaced by it
_AS_PUBLISHED: Any = None

#: what the weighting ``sar_percentile`` scales between, unless told otherwise
WEIGHT_PERCENTILES = (1.0, 99.0)

#: text that goes to libraries in C
_CText = Annotated[str, AfterValidator(_without_nul)]
_Percentile = Annotated[float, Field(ge=0, le=100)]
#: a path, as text or pathlib's, and several of them (one alone will do)
PathText = Annotated[_CText, BeforeValidator(lambda path: os.fspath(path) if isinstance(path, os.PathLike) else path)]
PathTexts = Annotated[
    tuple[PathText, ...], BeforeValidator(lambda paths: (paths,) if isinstance(paths, (str, os.PathLike)) else paths)
]


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class SimulateConfig:
    """The simulated product: see :func:`alos2tut.simulate_product`."""

    seed: int = Field(default=0, ge=0)
    """Equal seeds give equal results."""
    size_px: int | tuple[int, int] = 4096
    """Rows and columns at 2.5 m (one number: a square)."""
    season: Literal["autumn", "winter", "spring", "summer"] = "autumn"
    """When the scene is seen; the ground is the same."""
    corner: tuple[float, float] | None = None
    """Longitude and latitude of its south-west corner; None: by Sagami Bay."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class DatasetConfig:
    """From products and a label map to patches: see :func:`alos2tut.build_dataset`."""

    products: PathTexts = ()
    """Products: folders, their files, archives or GeoTIFFs; patterns such as ``archive/*/``; CSV tables of paths."""
    labels: PathTexts = ()
    """Label rasters (any CRS) that cover the products, folders of them, or patterns."""
    legend: PathText = "japan_9"
    """A legend that comes with the package, or a YAML file."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
    crs: _CText | None = None
    """Coordinate system of the products, in place of one that a file lacks or states wrongly: ``EPSG:32654``."""
    polarization: str | None = None
    """Channel to read; products without it are left out. None: the first one's only channel, else HH."""
    orbit_direction: Literal["ascending", "descending"] | None = None
    """Leave out products of the other direction, or of none that is known."""
    look_side: Literal["right", "left"] | None = None
    """Leave out products that look to the other side."""
    mode: str | None = None
    """Leave out products of another observation mode: JAXA's code, as ``UBS``."""
    beam: str | None = None
    """Leave out products of another beam: JAXA's name, as ``U2-8``."""
    off_nadir_deg: tuple[float, float] | None = None
    """Leave out products whose off-nadir angle lies outside, in degrees: ``[28, 35]``."""
    season: Literal["winter", "spring", "summer", "autumn"] | None = None
    """Leave out products of other months; spring is March to May, and so on."""
    dates: tuple[date, date] | None = None
    """Leave out products acquired before the first day or after the second: ``[2022-10-01, 2022-11-30]``."""
    area: tuple[float, float, float, float] | None = None
    """Leave out products that do not touch this box: west, south, east, north in degrees."""
    on_error: Literal["raise", "skip"] = "raise"
    """What to do with a product that cannot be opened or looked at: stop, or leave it out and say so."""
    workers: int = Field(default=0, ge=0)
    """Processes that work on products; 0: as many as there are cores, at most one per product."""
    looks: int = Field(default=2, ge=1, le=64)
    """Looks averaged in power: 2 makes 5 m pixels of the 2.5 m of Level 2.1."""
    patch_px: int = Field(default=256, ge=8, le=4096)
    """Side of a patch, in pixels after looks."""
    min_valid_fraction: float = Field(default=0.9, gt=0, le=1)
    """Patches with less valid ground than this are dropped."""
    min_labelled_fraction: float = Field(default=0.5, ge=0, le=1)
    """Patches of the labelled lists need at least this share of labelled pixels."""
    max_class_share: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Drop patches in which a class has more than this share of the pixels, for example ``{forest: 0.9}``."""
    points: int | None = Field(default=None, ge=1, le=2**53)
    """Keep only patches that contain one of so many points, which are drawn class by class; None: keep all."""
    temperature: float = Field(default=1.0, ge=1)
    """Points per class follow the classes' shares to the power 1/temperature: 1 as they are, ``.inf`` all alike."""
    block_m: float = Field(default=10_000.0, ge=1, le=_HALF_AROUND_M)
    """Side of the ground blocks that are dealt to the splits."""
    buffer_m: float = Field(default=1_000.0, ge=0, le=_HALF_AROUND_M)
    """Ground within this distance of validation or test ground is in no other list."""
    val_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of the patches for validation."""
    test_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of the patches for the final test."""
    require_all_classes: bool = False
    """Stop, instead of warning, when a split lacks a class."""
    seed: int = Field(default=0, ge=0)
    """Equal seeds give equal results."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class EncoderConfig:
    """A Swin v1 transformer or a plain ViT (size and channels come from the data); the defaults are the paper's Swin-B.

    ``encoders.yaml`` has others by name, for ``encoder=tiny``.
    """

    kind: Literal["swin", "vit"] = "swin"
    """Hierarchical, in windows; or plain: one resolution, every token sees every other."""
    patch_size: int = Field(default=4, ge=1)
    """Side of a token, in pixels."""
    embed_dim: int = Field(default=128, ge=4)
    """Width of the first stage, which each later stage of a Swin doubles."""
    depths: tuple[Annotated[int, Field(ge=1)], ...] = (2, 2, 18, 2)
    """Blocks of each of a Swin's four stages; one number for a ViT."""
    num_heads: tuple[Annotated[int, Field(ge=1)], ...] = (4, 8, 16, 32)
    """Attention heads, alike."""
    window_size: int = Field(default=8, ge=1)
    """Swin: side of an attention window, in tokens."""
    mlp_ratio: float = Field(default=4.0, gt=0)
    """Hidden width of a block's MLP over its width."""
    shifted: bool = True
    """Swin: every second block's windows are shifted; false as in MixMAE."""
    position: Literal["learned", "sincos", "none"] = "learned"
    """Position embedding, added after masking: learned, fixed (sine and cosine, as in MixMAE; Swin only), or none."""
    shared_relative_position: bool = False
    """ViT: one table of relative position biases for all blocks."""
    layer_scale: float | None = Field(default=None, gt=0)
    """ViT: what each residual branch is multiplied by at first; None: no such factor."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> EncoderConfig:
        stages = {"swin": 4, "vit": 1}[self.kind]
        for name in ("depths", "num_heads"):
            if len(getattr(self, name)) != stages:
                number = f"{stages} number{'s' if stages > 1 else ''}"
                raise ValueError(f"{name} of a {self.kind} has {number}, not {len(getattr(self, name))}")
        if self.kind == "swin" and (self.shared_relative_position or self.layer_scale is not None):
            raise ValueError("shared_relative_position and layer_scale belong to a vit")
        if self.kind == "vit" and (not self.shifted or self.position == "sincos"):
            raise ValueError("shifted=false and position=sincos belong to a swin")
        return self


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class _TrainingConfig:
    """What both trainings share."""

    dataset: PathText = ""
    """The dataset's folder."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
    seed: int = Field(default=0, ge=0)
    """Equal seeds give equal results."""
    encoder: EncoderConfig = Field(default_factory=EncoderConfig)
    """Architecture; keys as encoder.depths=[2,2,6,2]."""
    batch_size: int = Field(default=2048, ge=1)
    """Samples per micro-batch over all devices together."""
    accumulate: int = Field(default=1, ge=1)
    """Micro-batches per optimiser step."""
    epochs: float = Field(default=800.0, gt=0)
    """Passes over the list."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; None: from the epochs."""
    base_lr: float = Field(default=1e-4, gt=0)
    """Learning rate for 512 samples per optimiser step; scaled by samples / 512."""
    lr: float | None = Field(default=None, gt=0)
    """The learning rate itself; overrides ``base_lr`` and its scaling."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    warmup_lr: float = Field(default=5e-7, ge=0)
    """Learning rate at the first step."""
    weight_decay: float = Field(default=0.05, ge=0)
    """AdamW's; not on biases, norms, position tables and the mask token."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Largest norm of the gradient."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Rate of stochastic depth."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """Auto: bf16 on a GPU that has it, else float32."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """What to train on; auto: a GPU if there is one."""
    devices: int = Field(default=1, ge=1)
    """Processes or GPUs to train on."""
    loader_workers: int = Field(default=0, ge=0)
    """Processes that read patches; 0 is fastest from a local disk."""
    checkpoint_every: int = Field(default=500, ge=1)
    """A resume checkpoint every so many optimiser steps."""
    stop_after_minutes: float | None = Field(default=None, gt=0)
    """Stop cleanly, with a resume checkpoint, after so long: before a scheduler's time is over."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third more time."""
    compile: bool = False
    """Compile the network (torch.compile): faster on a GPU after some minutes of compiling."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class PretrainConfig(_TrainingConfig):
    """SAR-W-SimMIM: see :func:`alos2tut.pretrain`."""

    objective: Literal["simmim", "mixmae"] = "simmim"
    """What is asked of the network: SimMIM, or MixMAE (for a Swin with shifted=false)."""
    mask_unit_px: int = Field(default=_AS_PUBLISHED, ge=1)
    """Side of the square units that are masked together; as published: SimMIM 16, MixMAE the encoder's stride."""
    mask_ratio: float = Field(default=_AS_PUBLISHED, gt=0, lt=1)
    """Share of the units that is masked; as published: SimMIM 0.6, MixMAE 0.5."""
    weighting: Literal["sar", "sar_percentile", "sar_ecdf", "none"] = "sar"
    """``sar``: weights fall with the pixel's power, scaled between its patch's extremes, as published;
    ``sar_percentile``: between percentiles, ``sar_ecdf``: by its rank, which no single strong scatterer upsets;
    ``none``: plain SimMIM."""
    weight_scale: float = Field(default=1.0, gt=0)
    """S in the weight exp(s · (1 − x))."""
    weight_percentiles: tuple[_Percentile, _Percentile] = WEIGHT_PERCENTILES
    """What ``sar_percentile`` scales between; power outside counts as at the end."""
    normaliser: Literal["count", "weights"] = "count"
    """Divide the weighted error by the count of masked pixels, or by the sum of their weights."""
    loss: Literal["l1", "mse", "huber"] = Field(default=_AS_PUBLISHED)
    """Error of a masked pixel; as published: SimMIM l1 in standardised dB, MixMAE mse in its unit's own scale."""
    decoder_width: int = Field(default=512, ge=4)
    """MixMAE: channels of the decoder."""
    decoder_depth: int = Field(default=8, ge=1)
    """MixMAE: blocks of the decoder."""
    decoder_heads: int = Field(default=16, ge=1)
    """MixMAE: attention heads of the decoder."""
    lr_drops: tuple[float, ...] = (0.875,)
    """The learning rate falls to a tenth after these shares of the steps."""
    snapshots: int = Field(default=6, ge=1, le=20)
    """How often the reconstruction of fixed patches is kept: at the end, half-way, a quarter of the way …"""
    init: PathText | None = None
    """An ``encoder.safetensors``, or its pretraining's folder, to go on from (its architecture and statistics are
    used); None: random initialisation."""
    allow_other_signal: bool = False
    """Warn, instead of stopping, when ``init`` was trained on another quantity, polarisation or pixel size."""

    @model_validator(mode="after")
    def _complete(self) -> PretrainConfig:
        """Fill in what each objective has of its own."""
        stride = self.encoder.patch_size * (8 if self.encoder.kind == "swin" else 1)
        published = {
            "simmim": {"mask_unit_px": 16, "mask_ratio": 0.6, "loss": "l1"},
            "mixmae": {"mask_unit_px": stride, "mask_ratio": 0.5, "loss": "mse"},
        }
        for name, value in published[self.objective].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        return self

    @model_validator(mode="after")
    def _percentiles_rise(self) -> PretrainConfig:
        if self.weight_percentiles[0] >= self.weight_percentiles[1]:
            raise ValueError(f"weight_percentiles fall: {self.weight_percentiles}")
        return self


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class FinetuneConfig(_TrainingConfig):
    """Land-cover segmentation: see :func:`alos2tut.finetune`."""

    init: PathText | None = None
    """An ``encoder.safetensors``, or its pretraining's folder, to start from; None: random initialisation."""
    allow_other_signal: bool = False
    """Warn, instead of stopping, when ``init`` was trained on another quantity, polarisation or pixel size."""
    mode: Literal["full", "frozen", "linear_probe"] = "full"
    """Train all; or the decoder alone; or, on the frozen encoder, one linear map."""
    decoder: Literal["paper", "refined", "linear"] = "paper"
    """The published decoder, our refined one, or one linear map (which ``linear_probe`` takes)."""
    decoder_width: int = Field(default=256, ge=8)
    """Channels of the decoder."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Rate in the decoder's fusing blocks."""
    budget: int | None = Field(default=None, ge=1)
    """Train on so many patches of the list only, drawn by ``seed``: a larger budget holds a smaller one; None: all."""
    loss: Literal["dice_focal", "cross_entropy"] = "dice_focal"
    """The published mixture, or weighted cross-entropy."""
    dice_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the Dice loss; the rest is focal loss."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """Focal loss's exponent."""
    alpha_scale: float = Field(default=0.5, gt=0)
    """Focal class weights are the class weights times this."""
    class_weighting: Literal["frequency", "tempered", "none"] = "frequency"
    """Class weights from frequencies f: (1 − f) / (C − 1) as published; f to the power −``temper``; or all alike."""
    temper: float = Field(default=0.5, ge=0, le=1)
    """Exponent of ``tempered``: 0 all alike, 1 every class as much in all."""
    layer_decay: float = Field(default=0.8, gt=0, le=1)
    """Each layer further from the decoder learns slower by this factor."""
    batch_size: int = Field(default=256, ge=1)
    """Samples per micro-batch over all devices together."""
    epochs: float = Field(default=100.0, gt=0)
    """Passes over the list."""
    base_lr: float = Field(default=1.25e-4, gt=0)
    """Learning rate for 512 samples per optimiser step; scaled by samples / 512."""
    min_lr: float = Field(default=2.5e-7, ge=0)
    """Learning rate at the end of the cosine."""
    warmup_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Rate of stochastic depth."""
    validate_every: int = Field(default=500, ge=1)
    """Validation, and the choice of the best weights, every so many optimiser steps."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when so many validations in a row found no better weights; None: never before the last step."""

    @model_validator(mode="after")
    def _probe_is_linear(self) -> FinetuneConfig:
        if self.mode == "linear_probe":
            object.__setattr__(self, "decoder", "linear")
        return self


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class CompareConfig:
    """Label budgets and seeds of a comparison: see :func:`alos2tut.evaluation.comparison.compare`."""

    budgets: tuple[Annotated[int, Field(ge=1)], ...] = (100, 1_000, 10_000)
    """Numbers of labelled patches, besides all there are; larger ones than that are left out."""
    seeds: int = Field(default=3, ge=1)
    """How many; two at least give intervals."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class EvaluateConfig:
    """Scores on a split that training never saw: see :func:`alos2tut.evaluate`."""

    dataset: PathText = ""
    """The dataset's folder."""
    segmenter: PathText = ""
    """The ``segmenter.safetensors`` to score, or its fine-tuning's folder."""
    baseline: PathText | None = None
    """Another one to compare with: the same network from random initialisation."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
    allow_other_signal: bool = False
    """Warn, instead of stopping, when a segmenter was trained on another quantity, polarisation or pixel size."""
    split: Literal["test", "val"] = "test"
    """List to score."""
    batch_size: int = Field(default=32, ge=1)
    """Patches per forward pass."""
    draws: int = Field(default=1000, ge=100, le=100_000)
    """Resamples of the ground blocks, from which intervals come."""
    seed: int = Field(default=0, ge=0)
    """Equal seeds give equal results."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class MapConfig:
    """A whole product to a map: see :func:`alos2tut.map_scene`."""

    overlap_px: int | None = Field(default=None, ge=0)
    """Pixels that neighbouring tiles share; None: a quarter of the tile."""
    batch_size: int = Field(default=8, ge=1)
    """Tiles, at most, per forward pass."""
    flips: bool = False
    """Average over each tile and its three mirror images."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""


#: The stages by their one word, as used in profiles, overrides and artifact folders.
STAGES: dict[str, type] = {
    "simulate": SimulateConfig,
    "dataset": DatasetConfig,
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "comparison": CompareConfig,
    "evaluate": EvaluateConfig,
    "map": MapConfig,
}

T = TypeVar("T")


@cache
def _profiles() -> dict[str, dict[str, dict[str, Any]]]:
    profiles: dict[str, dict[str, dict[str, Any]]] = read_yaml(files("alos2tut").joinpath("core/profiles.yaml"))
    return profiles


@cache
def encoder_presets() -> dict[str, dict[str, Any]]:
    """Encoders by name, for ``encoder=NAME``: what each changes of :class:`EncoderConfig`'s defaults."""
    presets: dict[str, dict[str, Any]] = read_yaml(files("alos2tut").joinpath("networks/encoders.yaml"))
    return presets


def profile_names() -> list[str]:
    """The profiles that come with the package, smallest first."""
    return list(_profiles())


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
        profile: ``quick`` (minutes on two cores), ``laptop`` (about an hour) or ``paper`` (the published numbers).
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
        settings = _merged(settings, _read_settings(file))
    for text in overrides:
        settings = _merged(settings, parse_override(text))
    settings = _merged(settings, {key: value for key, value in values.items() if value is not None})
    where = f"{stage} settings" if file is None else f"{stage} settings with {file}"
    return _build(STAGES[stage], settings, where=where)


def parse_override(text: str) -> dict[str, Any]:
    """``'encoder.depths=[2,2,6,2]'`` as ``{'encoder': {'depths': [2, 2, 6, 2]}}``."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise Alos2TutError(f"'{text}' is not of the form key=value", where="overrides")
    try:
        content = parse_yaml(value, where=text)
    except Alos2TutError:
        raise Alos2TutError(f"the value in '{text}' cannot be read", where="overrides") from None
    for part in reversed(key.strip().split(".")):
        content = {part: content}
    return dict(content)


def split_overrides(text: str) -> dict[str, list[str]]:
    """Texts such as ``'pretrain.steps=20; finetune.lr=1e-3'`` by stage.

    Raises:
        Alos2TutError: an entry that does not begin with a stage's word.
    """
    by_stage: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for entry in filter(None, (part.strip() for part in str(text).replace("\n", ";").split(";"))):
        stage, dot, rest = entry.partition(".")
        if not dot or stage not in STAGES:
            raise Alos2TutError(
                f"'{entry}' does not begin with a stage and a dot, as in pretrain.steps=20",
                where="overrides",
                remedy=closest(stage, STAGES),
            )
        by_stage[stage].append(rest)
    return by_stage


def describe_settings(stage: str, profile: str = "quick") -> list[tuple[str, Any, str]]:
    """Every setting of a stage: its key, its value in a profile, and what it means."""
    return _described(load_config(stage, profile), "")


def _described(config: Any, prefix: str) -> list[tuple[str, Any, str]]:
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            lines += _described(value, f"{prefix}{field.name}.")
        else:
            owners = (vars(cls).get("__pydantic_fields__", {}) for cls in type(config).__mro__)
            texts = (owner[field.name].description for owner in owners if field.name in owner)
            lines.append((prefix + field.name, value, next(filter(None, texts), "")))
    return lines


def settings_for_key(config: Any) -> dict[str, Any]:
    """The part of a config that decides the result, for :func:`alos2tut.core.artifacts.stage_dir`."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in _NOT_HASHED}
    return {key: _plain(value) for key, value in settings.items()}


def _plain(value: Any) -> Any:
    """A setting as JSON can hold it: days as texts, and infinity, for which JSON has no number."""
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, date) or value == math.inf else value


def from_dict(cls: type[T], settings: Mapping[str, Any], *, where: str | Path) -> T:
    """A config read back from a file; unknown keys and wrong values are named."""
    return _build(cls, settings, where=where)


def _build(cls: type[T], settings: Mapping[str, Any], *, where: str | Path) -> T:
    try:
        return cls(**{str(key): value for key, value in settings.items()})
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = _field_names(cls, [str(part) for part in first["loc"][:-1]])
            raise Alos2TutError(
                f"unknown key {quoted(path)}", where=where, remedy=closest(str(first["loc"][-1]), known)
            ) from None
        if first["type"] == "missing":
            raise Alos2TutError(f"'{path}' is missing", where=where) from None
        raise Alos2TutError(f"{path}={quoted(first['input'])}: {first['msg']}", where=where) from None


def _field_names(cls: Any, path: list[str]) -> list[str]:
    if path and path[0] == "encoder":
        cls = EncoderConfig
    return [field.name for field in dataclasses.fields(cls)]


def _merged(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in new.items():
        if key == "encoder" and isinstance(value, str):
            value = _encoder_preset(value)
        elif key == "encoder" and isinstance(value, Mapping):
            # a nested config is refined key by key; any other value replaces the old one
            value = {**(merged.get(key) or {}), **value}
        merged[key] = value
    return merged


def _encoder_preset(name: str) -> dict[str, Any]:
    if name not in encoder_presets():
        raise Alos2TutError(f"unknown encoder '{name}'", where="encoder", remedy=closest(name, encoder_presets()))
    return encoder_presets()[name]


def _read_settings(path: str | Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise Alos2TutError("holds no 'key: value' lines", where=path)
    return content
