"""Weights in and out: safetensors files with a JSON header that says what they are.

Loading one executes nothing. The header (metadata key ``alos2tut``) holds the architecture, the statistics that
standardise the input, the signal (quantity, polarisations, pixel size), where the weights come from, whether the data
were simulated and, for a segmenter, the legend.
"""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from safetensors.torch import save_file
from torch import Tensor, nn

from ..core.artifacts import atomic_path
from ..core.config import from_dict
from ..core.errors import Alos2TutError, quoted, warn
from ..core.public import public
from ..core.version import __version__
from ..dataset.encoding import Statistics, same_spacing
from ..dataset.legend import Legend
from ..dataset.store import USUAL_SENSOR
from ..products.satellites import owner_of
from .bundle import HUB_FILE, named_weights
from .config import EncoderConfig
from .encoders import Encoder, build_encoder
from .header import FORMAT, KEY, REMEDY, opened_weights, read_header
from .segmenter import Segmenter

#: who is to be named for weights that real data made
JAXA_DATA = f"{USUAL_SENSOR} data (c) JAXA"

_SIGNAL = ("quantity", "polarizations", "spacing_m")
#: what a signal of unknown pixel size says instead: pixels of the image along a side of one that was trained on
_LOOKS = "looks"
#: dB by which means and spreads of scenes differ without need of a word: about what their ground makes
_USUAL_DB = 0.5
#: bytes of what a network holds beside its weights (masks of shifted windows, positions)
_LARGEST_BUFFERS = 2**30

#: a length that can be
Metres = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


#: fields that are not known here were written for others
_HEADER = ConfigDict(extra="ignore")


@dataclass(frozen=True, kw_only=True, config=_HEADER)
class _Signal:
    quantity: str
    polarizations: Annotated[list[str], Field(min_length=1)]
    spacing_m: Annotated[
        tuple[Metres, Metres] | None,
        BeforeValidator(lambda sides: sides if sides is None or isinstance(sides, list) else [sides, sides]),
    ]
    looks: Annotated[int, Field(ge=1, le=64)] | None = None


@dataclass(frozen=True, kw_only=True, config=_HEADER)
class _EncoderHeader:
    """What a header says of an encoder, as far as it is needed to build it."""

    encoder: EncoderConfig
    image_px: tuple[int, int]
    in_channels: int = Field(ge=1)
    statistics: Statistics
    signal: _Signal


@dataclass(frozen=True, kw_only=True, config=_HEADER)
class _Decoder:
    kind: Literal["paper", "refined", "linear", "pixel"]
    width: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)


@dataclass(frozen=True, kw_only=True, config=_HEADER)
class _SegmenterHeader(_EncoderHeader):
    legend: Any
    decoder: _Decoder


_Header = TypeVar("_Header", bound=_EncoderHeader)
_Network = TypeVar("_Network", bound=nn.Module)


def save_encoder(
    path: str | Path,
    encoder: Encoder,
    *,
    statistics: Statistics,
    signal: Mapping[str, Any],
    objective: Mapping[str, Any],
    provenance: Mapping[str, Any],
    simulated: bool,
    sensors: Sequence[str | None] = (USUAL_SENSOR,),
    half: bool = False,
) -> None:
    """Write an encoder; its header says, too, who is to be named for the data.

    Args:
        path: the file to write, whole or not at all.
        encoder: its weights and architecture.
        statistics: what its input is standardised by.
        signal: quantity, polarizations and spacing_m of what it was trained on.
        objective: what it was trained to do, by plain values.
        provenance: what it was made from, by plain values: no times, host names or absolute paths, so that equal
            training gives equal files.
        simulated: whether it was trained on simulated data; it counts as such, too, if the encoder that it started
            from does.
        sensors: whose data it was trained on, if they are real; None for one that is not known.
        half: in half precision, which the header then says: a file half as large. It is read as float32.

    Raises:
        Alos2TutError: a number that is too large for half precision; or it cannot be written.
    """
    header = describe_encoder(encoder, statistics, signal, provenance) | _origin(simulated, sensors, encoder.header)
    save_weights(path, encoder, "encoder", {**header, "objective": dict(objective)}, half=half)


def load_encoder(path: str | Path, *, drop_path: float = 0.0) -> Encoder:
    """Read an encoder that :func:`save_encoder` wrote.

    Args:
        path: its file, or the folder of the pretraining or of :func:`alos2tut.export_hub`; ``bundled``: the one that
            comes with the package.
        drop_path: rate of stochastic depth, for training it further.

    Returns:
        The encoder in evaluation mode, with ``.statistics``, ``.signal`` and ``.header``. It is called with
        standardised dB (B, C, H, W) and, by choice, ``mask=`` (B, H/patch, W/patch) bool, and returns its final,
        normalised features (B, D, H/stride, W/stride).

    Raises:
        Alos2TutError: a missing, cut or foreign file, another kind of weights, a header or weights that do not fit.
    """
    header, tensors = read_weights(path, "encoder")
    checked = _checked(_EncoderHeader, header, path)
    return _built(checked, lambda: _encoder_from(checked, header, drop_path), tensors, path).eval()


def save_segmenter(
    path: str | Path,
    segmenter: Segmenter,
    *,
    provenance: Mapping[str, Any],
    simulated: bool,
    sensors: Sequence[str | None] = (USUAL_SENSOR,),
    half: bool = False,
) -> None:
    """Write a segmenter, with its statistics, signal, legend and decoder settings; see :func:`save_encoder`."""
    header = describe_segmenter(segmenter, provenance) | _origin(simulated, sensors, segmenter.encoder.header)
    save_weights(path, segmenter, "segmenter", header, half=half)


def load_segmenter(path: str | Path) -> Segmenter:
    """Read a segmenter that :func:`save_segmenter` wrote.

    Args:
        path: its file, or the folder of the fine-tuning or of :func:`alos2tut.export_hub`; ``bundled``: the one that
            comes with the package.

    Returns:
        The segmenter in evaluation mode: standardised dB (B, C, H, W) → logits (B, classes, H, W). It carries
        ``.statistics``, ``.signal``, ``.legend``, ``.image_px`` and ``.header``.

    Raises:
        Alos2TutError: as :func:`load_encoder`.
    """
    header, tensors = read_weights(path, "segmenter")
    checked = _checked(_SegmenterHeader, header, path)
    legend, kept = Legend.from_dict(checked.legend, where=path), checked.decoder
    decoder: dict[str, Any] = {"decoder": kept.kind, "width": kept.width, "dropout": kept.dropout}

    def make() -> Segmenter:
        encoder = _encoder_from(checked, header)
        return Segmenter(encoder, legend, checked.statistics, encoder.signal or {}, **decoder)

    segmenter = _built(checked, make, tensors, path)
    segmenter.header = header
    return segmenter.eval()


def save_weights(
    path: str | Path, module: nn.Module, kind: str, header: Mapping[str, Any], *, half: bool = False
) -> None:
    """Write any module's weights under a header of that kind; ``half`` as for :func:`save_encoder`."""
    content = {"format": FORMAT, "package": f"alos2tut {__version__}", "kind": kind, **header}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    if half:
        content["precision"] = "float16"
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        if large := next((name for name, t in tensors.items() if not bool(torch.isfinite(t).all())), None):
            raise Alos2TutError(f"'{large}' is beyond half precision", where=path, remedy="Write it in float32.")
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: json.dumps(content, sort_keys=True)})


def load_weights(path: str | Path, module: nn.Module, kind: str) -> None:
    """Read weights of that kind into a module. Raises as :func:`load_encoder`."""
    tensors = read_weights(path, kind)[1]
    _check_entries(module, tensors, path)
    module.load_state_dict(tensors)


def check_signal(
    file_signal: Mapping[str, Any],
    dataset_signal: Mapping[str, Any],
    where: str | Path,
    *,
    allow_other: bool = False,
) -> None:
    """Refuse weights for data of another quantity, polarisation or pixel size.

    Args:
        file_signal: ``.signal`` of an encoder or segmenter.
        dataset_signal: ``.signal`` of a dataset.
        where: the weights' file, for the message.
        allow_other: warn instead; another number of polarisations is still refused, since no network reads it, and
            the same ones in another order, since nobody means that. Pixels of unknown size, of either, match nothing
            without it; with it those of as many looks do, and of others it warns.

    Raises:
        Alos2TutError: naming the field in which they differ.
    """
    for field in _SIGNAL:
        trained, given = _plain(file_signal[field]), _plain(dataset_signal[field])
        if same_spacing(trained, given) if field == "spacing_m" else trained == given:
            continue
        problem = f"was trained on {field} {trained}, the data have {given}"
        remedy = "Build the dataset alike, train for these data, or take them as they are (allow_other_signal)."
        if field == "spacing_m" and None in (trained, given):
            sizes = [_size_in_words(signal) for signal in (file_signal, dataset_signal)]
            if allow_other and sizes[0] == sizes[1]:
                continue
            problem = f"was trained on {sizes[0]}, the data have {sizes[1]}, which cannot be compared"
            remedy = "If they are alike, say so (allow_other_signal); or build datasets with their size (spacing_m)."
        if field == "polarizations" and sorted(trained) == sorted(given):
            remedy = f"Channels have an order: build the dataset with polarization={','.join(trained)}."
            raise Alos2TutError(problem, where=where, remedy=remedy)
        if not allow_other:
            if field != "spacing_m" and may_standardise_by_own(file_signal, dataset_signal):
                remedy += " Trainings and probes from such weights take statistics=own with it."
            raise Alos2TutError(problem, where=where, remedy=remedy)
        if field == "polarizations" and len(trained) != len(given):
            raise Alos2TutError(problem, where=where, remedy="Build the dataset alike, or train for these data.")
        warn(f"{where}: {problem}.")


def _size_in_words(signal: Mapping[str, Any]) -> str:
    """The pixels of a signal; of unknown size all that is told is how many of the image's make one."""
    spacing = _plain(signal["spacing_m"])
    return f"pixels of {spacing} m" if spacing else f"pixels of unknown size (looks={signal.get(_LOOKS, 1)})"


def extend_channels(encoder: Encoder, polarizations: Sequence[str], dataset: Statistics, where: str | Path) -> None:
    """Let an encoder of one channel read several; what is saved of it says ``extended_from`` in its header.

    Each channel gets the weights of its patch embedding, divided by the number of channels, so that channels which
    are equal once standardised give the tokens that the one gave. The polarisation that it was trained on keeps its
    statistics; the others have the dataset's.

    Args:
        encoder: with ``.statistics`` and ``.signal``; it is changed.
        polarizations: of the channels, in their order.
        dataset: statistics of the data, by channel.
        where: the encoder's file, for the warning.
    """
    assert encoder.statistics is not None and encoder.signal is not None
    [trained], count = encoder.signal["polarizations"], len(polarizations)
    embedding: Any = encoder.get_submodule(f"{encoder.config.kind}.patch_embed.proj")
    embedding.weight = nn.Parameter(embedding.weight.detach().repeat(1, count, 1, 1) / count)
    embedding.in_channels = encoder.in_channels = count
    is_old = [name == trained for name in polarizations]
    mean, std = (
        tuple(own[0] if old else value for old, value in zip(is_old, of_data, strict=True))
        for own, of_data in (
            (encoder.statistics.mean_db, dataset.mean_db),
            (encoder.statistics.std_db, dataset.std_db),
        )
    )
    encoder.statistics, encoder.extended_from = Statistics(mean, std), trained
    encoder.signal = {**encoder.signal, "polarizations": list(polarizations)}
    added = ", ".join(name for name, old in zip(polarizations, is_old, strict=True) if not old)
    warn(
        f"{where}: was trained on {trained} alone. Each of {', '.join(polarizations)} gets its patch embedding, "
        f"divided by {count}; the statistics of {added} are the dataset's."
    )


def may_standardise_by_own(file_signal: Mapping[str, Any], dataset_signal: Mapping[str, Any]) -> bool:
    """Whether data may be standardised by their own statistics instead of those that travel with an encoder.

    That is so of relative power, whose level in dB means nothing, and of other polarisations, whose level is another.
    """
    is_relative = "relative" in (file_signal["quantity"], dataset_signal["quantity"])
    return is_relative or _plain(file_signal["polarizations"]) != _plain(dataset_signal["polarizations"])


def settle_statistics(
    encoder: Encoder,
    dataset_signal: Mapping[str, Any],
    dataset: Statistics,
    where: str | Path,
    choice: Literal["encoder", "own"] = "encoder",
) -> None:
    """Settle what an encoder of a file has its input standardised by: its own statistics travel with it.

    The one exception is chosen by "own": the dataset's, where :func:`may_standardise_by_own` finds reason for them.

    Args:
        encoder: with ``.statistics`` and ``.signal``; its statistics are replaced if they are not to be used.
        dataset_signal: quantity, polarizations and spacing_m of the data.
        dataset: statistics of their list ``pretrain``.
        where: the encoder's file, for messages.
        choice: see above; "encoder" warns where the two differ by more than half a dB.

    Raises:
        Alos2TutError: "own" for data whose statistics differ, of the quantity and polarisations of the encoder's.
    """
    assert encoder.statistics is not None and encoder.signal is not None
    own = encoder.statistics
    if own == dataset:
        return
    may_replace = encoder.extended_from is not None or may_standardise_by_own(encoder.signal, dataset_signal)
    if choice == "own":
        if not may_replace:
            problem = f"'own', and nothing calls for it: {where} was trained on the same quantity and polarisation"
            remedy = "Leave it at statistics=encoder: statistics travel with the encoder."
            raise Alos2TutError(problem, where="statistics", remedy=remedy)
        encoder.statistics, encoder.has_own_statistics = dataset, True
        return
    ours, theirs = ((*of.mean_db, *of.std_db) for of in (own, dataset))
    if len(ours) == len(theirs) and max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= _USUAL_DB:
        return
    mean, std, other_mean, other_std = (
        ", ".join(f"{value:.2f}" for value in values)
        for values in (own.mean_db, own.std_db, dataset.mean_db, dataset.std_db)
    )
    warn(
        f"{where}: input is standardised by the weights' own mean {mean} and spread {std} dB; the dataset's are "
        f"{other_mean} and {other_std} dB{' (statistics=own would take these)' if may_replace else ''}."
    )


def weights_path(path: str | Path, kind: str) -> Path:
    """The file ``<kind>.safetensors`` of a stage folder, or the path itself where it names no folder.

    A folder of :func:`alos2tut.export_hub` has ``model.safetensors`` instead.
    ``bundled`` stands for the folder of the weights that come with the package: see
    :func:`alos2tut.networks.bundle.named_weights`.
    """
    path = named_weights(path, kind)
    if not path.is_dir():
        return path
    own, of_hub = path / f"{kind}.safetensors", path / HUB_FILE
    return of_hub if of_hub.is_file() and not own.is_file() else own


def stage_weights(path: Path) -> Path:
    """The segmenter's file of a folder, else its encoder's; or the path itself where it names no folder."""
    segmenter = weights_path(path, "segmenter")
    return segmenter if segmenter.is_file() else weights_path(path, "encoder")


@public
def read_weights(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors, in float32 whatever the file holds, of a file of ours or of the stage folder.

    Raises:
        Alos2TutError: no such file, no safetensors file, no header of ours, or another kind of weights.
    """
    path = weights_path(path, kind)
    header = read_header(path)
    if header.get("kind") != kind:
        raise Alos2TutError(f"holds weights of the kind {quoted(header.get('kind'))}, not '{kind}'", where=path)
    with opened_weights(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    return header, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def describe_encoder(
    encoder: Encoder, statistics: Statistics, signal: Mapping[str, Any], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """The part of a header that says how to build an encoder, and what it reads; see :func:`save_encoder`.

    ``statistics_from`` is "own" where :func:`settle_statistics` put the data's in the place of the encoder's file's,
    ``extended_from`` the one polarisation that an encoder read before :func:`extend_channels`.
    """
    return {
        "encoder": dataclasses.asdict(encoder.config),
        "image_px": list(encoder.image_px),
        "in_channels": encoder.in_channels,
        "statistics": statistics.to_dict(),
        "signal": {field: _plain(signal[field]) for field in (*_SIGNAL, *([_LOOKS] if _LOOKS in signal else []))},
        "provenance": dict(provenance),
        **({"statistics_from": "own"} if encoder.has_own_statistics else {}),
        **({"extended_from": encoder.extended_from} if encoder.extended_from else {}),
    }


def describe_segmenter(segmenter: Segmenter, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a header that says how to build a segmenter, and what it reads and names."""
    decoder = segmenter.decoder
    return {
        **describe_encoder(segmenter.encoder, segmenter.statistics, segmenter.signal, provenance),
        "legend": segmenter.legend.to_dict(),
        "decoder": {"kind": segmenter.decoder_kind, "width": decoder.width, "dropout": decoder.dropout},
    }


def _origin(simulated: bool, sensors: Sequence[str | None], start: Mapping[str, Any]) -> dict[str, Any]:
    """Whether any data were simulated and who is to be named for them; ``start``: the header trained on from."""
    names = {f"{name} data {owner_of(name)}".rstrip() for name in sensors if name}
    names |= {"data of an unknown sensor"} if None in sensors else set()
    names = {"simulated"} if simulated else names
    if "attribution" in start:
        names.add(str(start["attribution"]))
    return {
        "simulated": simulated or bool(start.get("simulated")),
        "attribution": "; ".join(sorted(names)),
    }


def _encoder_from(checked: _EncoderHeader, header: dict[str, Any], drop_path: float = 0.0) -> Encoder:
    encoder = build_encoder(checked.encoder, checked.image_px, checked.in_channels, drop_path)
    encoder.statistics, encoder.header = checked.statistics, header
    is_needed = checked.signal.spacing_m is None and checked.signal.looks is not None
    looks = {_LOOKS: checked.signal.looks} if is_needed else {}
    encoder.signal = {field: header["signal"][field] for field in _SIGNAL} | looks
    return encoder


def _checked(cls: type[_Header], header: Mapping[str, Any], path: str | Path) -> _Header:
    """What a header says, as far as the class names it; what is missing or wrong is named with the file."""
    try:
        return from_dict(cls, header, where=path)
    except Alos2TutError as error:
        raise Alos2TutError(f"the header's {error.problem}", where=path, remedy=error.remedy or REMEDY) from None


def _built(
    checked: _EncoderHeader, make: Callable[[], _Network], tensors: dict[str, Tensor], path: str | Path
) -> _Network:
    """A network with a file's weights. It takes no memory before all that its header claims is found in the file.

    What no entry tells, as the size of the images does where positions are not learned, is bounded.
    """
    if (blocks := sum(checked.encoder.depths)) > len(tensors):
        problem = f"the header's encoder.depths are {blocks:,} blocks, and the file has {len(tensors):,} entries"
        raise Alos2TutError(problem, where=path, remedy=REMEDY)
    try:
        with torch.device("meta"):
            plan = make()
    except Alos2TutError as error:
        raise Alos2TutError(f"the header's {error}", where=path, remedy=REMEDY) from None
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        reason = textwrap.shorten(str(error), 160)
        raise Alos2TutError(f"the header's sizes cannot be ({reason})", where=path, remedy=REMEDY) from None
    _check_entries(plan, tensors, path)
    # positions are drawn where they are not kept, too
    drawn = 4 * math.prod(checked.image_px) // checked.encoder.patch_size**2 * checked.encoder.embed_dim
    claimed = drawn + sum(buffer.numel() * buffer.element_size() for buffer in plan.buffers())
    if claimed > _LARGEST_BUFFERS:
        problem = f"the header's image_px and window_size claim {claimed:,} bytes beside the weights"
        raise Alos2TutError(problem, where=path, remedy=REMEDY)
    module = make()
    module.load_state_dict(tensors)
    return module


def _check_entries(module: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    expected = module.state_dict()
    for problem, names in [
        ("lacks the weights", sorted(expected.keys() - tensors.keys())),
        ("holds weights that do not belong there:", sorted(tensors.keys() - expected.keys())),
    ]:
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise Alos2TutError(f"{problem} '{names[0]}'{more}", where=path, remedy=REMEDY)
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise Alos2TutError(
                f"'{name}' is {tuple(tensor.shape)}, not {tuple(expected[name].shape)}", where=path, remedy=REMEDY
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Alos2TutError(
                f"'{name}' holds NaN or infinity", where=path, remedy="The training broke down: repeat it."
            )


def _plain(value: Any) -> Any:
    """Tuples and NumPy values as JSON would give them back."""
    return json.loads(json.dumps(value, default=lambda v: v.tolist()))
