"""Weights of others in and out: Microsoft's Swin, SimMIM's and BEiT's, and those of the authors of arXiv 2603.15119.

Their checkpoints are read without running anything (:mod:`alos2tut.networks.pickles`). The architecture is found from
the shapes. Every entry of the file is loaded, dropped for a reason, or an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic.dataclasses import dataclass
from timm.layers.pos_embed_rel import gen_relative_position_index
from torch import Tensor

from ..core.artifacts import sha256_file
from ..core.config import CHECKED, from_dict
from ..core.errors import Alos2TutError
from ..core.public import public
from ..dataset.encoding import Statistics
from ..dataset.legend import Legend, load_legend
from .config import EncoderConfig
from .encoders import Encoder, SwinEncoder, build_encoder
from .pickles import read_checkpoint
from .published import check_apart, check_decoder, published_name, published_shape
from .segmenter import Segmenter
from .weights import JAXA_DATA, Metres, describe_encoder, describe_segmenter, save_weights

#: What the authors standardise by, and the architecture of their encoder (arXiv 2603.15119).
AUTHORS_STATISTICS = Statistics((-10.4327,), (5.8041,))
AUTHORS_ENCODER = (EncoderConfig(), (256, 256), 1)
#: Their classes in our reading; they name none.
AUTHORS_LEGEND = "japan_9"
#: Who is to be named for their weights.
AUTHORS_DATA = f"{JAXA_DATA}, provided under the JAXA-AIST agreement"

_PATCHES = "patch_embed.proj.weight"
_TABLE = "relative_position_bias_table"
_DROPOUT = 0.5

#: where the weights lie among other entries, and entries beside them that a training keeps for itself
_WRAPPERS = ("model", "state_dict", "model_state_dict", "module")
_TRAINING = {"optimizer", "optimizer_states", "lr_scheduler", "lr_schedulers", "scheduler", "scaler", "amp", "loops"}

#: why an entry of the weights has no place in ours
_NOT_NEEDED = {
    r"(^|\.)(relative_position_index|attn_mask)$": "buffer, computed anew",
    r"(^|\.)(head|lm_head)\.(weight|bias)$": "head of another task",
    r"(^|\.)decoder\.0\.(weight|bias)$": "SimMIM's decoder of pixels",
}


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class _Signal:
    """What the input of a network is; the defaults are the authors'."""

    quantity: Literal["sigma0", "gamma0", "beta0", "relative"] = "sigma0"
    polarizations: tuple[Literal["HH", "HV", "VH", "VV"], ...] = ("HH",)
    spacing_m: tuple[Metres, Metres] = (5.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a checkpoint: see :func:`convert_checkpoint`."""

    source: str
    """The file's name."""
    sha256: str
    """Of the file."""
    kind: str
    """What it holds, in words."""
    encoder: EncoderConfig
    """The architecture, as found from the shapes."""
    image_px: tuple[int, int]
    """(height, width) of the encoder's input."""
    in_channels: int
    """Channels of the encoder's input."""
    classes: int | None
    """Classes of the segmenter; None: an encoder alone."""
    loaded: list[str]
    """The file's entries whose numbers are in the new file."""
    changed: dict[str, str]
    """Those of them whose numbers are not the file's, bit for bit, and what was done."""
    dropped: dict[str, str]
    """The file's other entries, and why they are left out."""
    missing: dict[str, str]
    """Entries that the file lacks, and what stands for them."""
    assumed: list[str]
    """What no checkpoint tells and nobody gave."""

    def to_text(self) -> str:
        """The report in lines, entries grouped by what became of them: how many, the first by name, and why."""
        config = self.encoder
        shape = f"patch {config.patch_size}, width {config.embed_dim}, depths {'-'.join(map(str, config.depths))}, "
        shape += f"heads {'-'.join(map(str, config.num_heads))}, MLP {config.mlp_ratio:g}, position {config.position}"
        if config.kind == "swin":
            shape += f", window {config.window_size}" + ("" if config.shifted else ", not shifted")
        size = f"{self.in_channels} × {self.image_px[0]} × {self.image_px[1]} px"
        lines = [f"{self.source}: {self.kind}", f"encoder: {config.kind}, {shape}", f"image: {size}"]
        if self.classes is not None:
            lines.append(f"segmenter: {self.classes} classes")
        lines.append(f"loaded: {len(self.loaded)} entries")
        for title in ("changed", "dropped", "missing"):
            names: dict[str, list[str]] = {}
            for name, reason in getattr(self, title).items():
                names.setdefault(reason, []).append(name)
            for reason, group in names.items():
                first = ", ".join(group[:3]) + (", …" if len(group) > 3 else "")
                lines.append(f"{title}: {len(group)} {'entry' if len(group) == 1 else 'entries'} ({first}): {reason}")
        return "\n".join([*lines, *(f"assumed: {line}" for line in self.assumed)])


@public
def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    image_px: int | tuple[int, int] | None = None,
    window_size: int | None = None,
    num_heads: int | None = None,
    statistics: Statistics | None = None,
    signal: Mapping[str, Any] | None = None,
    legend: str | Path | Legend | None = None,
    attribution: str | None = None,
    simulated: bool = False,
    strict: bool = True,
) -> Conversion:
    """Make a checkpoint of Microsoft's Swin, SimMIM, or the paper's authors a file of this package.

    Args:
        source: a file of PyTorch's (zipped or of the older form) or a safetensors file: an encoder, with or without
            the head or decoder it was trained with, or an encoder with the authors' segmentation decoder. Nothing in
            it is run.
        target: the ``.safetensors`` file to write, whole or not at all: an encoder for
            :func:`alos2tut.load_encoder`, or a segmenter for :func:`alos2tut.load_segmenter`.
        image_px: side, or (height, width), of the encoder's input; None: as the position embedding or the masks of
            shifted windows tell it, taken for a square. A Swin without position embedding can get another size.
        window_size: side of a Swin's attention windows, in tokens; tables of biases are interpolated for another one
            (bicubic, as Microsoft's code does it). None: as they are, bit for bit.
        num_heads: a ViT's attention heads, where no table of biases tells them.
        statistics: mean and spread in dB that its input is standardised by; None: the authors', for one channel.
        signal: of its input ``quantity``, ``polarizations`` and ``spacing_m`` (rows, columns; metres), or some of them;
            the others are the authors'.
        legend: a segmenter's classes, as :func:`alos2tut.load_legend` takes it; None: ``japan_9``, for nine classes.
        attribution: who is to be named for the data; None: JAXA if it is the authors' architecture.
        simulated: whether its data were simulated.
        strict: refuse entries that have no place; otherwise they are dropped, too, and named.

    Returns:
        What became of every entry.

    Raises:
        Alos2TutError: no checkpoint, or a damaged one; one that names Python code; entries that are missing, of a
            wrong shape or not finite; something that it does not tell and that must be given.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise Alos2TutError("the file to write is not named *.safetensors", where=target)
    checkpoint = _Checkpoint(source)
    check_apart(source, target)
    size = (image_px, image_px) if isinstance(image_px, int) else image_px
    # without memory of its own, until the file's tensors take their places
    with torch.device("meta"):
        encoder = _encoder(checkpoint, size, window_size, num_heads)
        statistics = _statistics(checkpoint, statistics, encoder.in_channels)
        own_signal = _signal(checkpoint, signal or {}, encoder.in_channels)
        segmenter = None
        if checkpoint.is_segmenter:
            segmenter = _segmenter(checkpoint, encoder, legend, statistics, own_signal)
    resize = window_size is not None or (size is not None and encoder.config.position == "none")
    checkpoint.fill(segmenter or encoder, resize=resize)
    checkpoint.drop_the_rest(strict)

    digest = sha256_file(source)
    # the role that a training gives to the weights it starts from
    provenance = {"stage": "convert", "file": source.name, "made_from": {"init": digest}}
    whose = {"simulated": simulated, "attribution": attribution or _attribution(checkpoint, encoder, simulated)}
    if segmenter is not None:
        save_weights(target, segmenter, "segmenter", describe_segmenter(segmenter, provenance) | whose)
    else:
        header = describe_encoder(encoder, statistics, own_signal, provenance) | whose
        save_weights(target, encoder, "encoder", {**header, "objective": {"name": checkpoint.objective}})
    fates = ("loaded", "changed", "dropped", "missing", "assumed")
    return Conversion(
        source=source.name,
        sha256=digest,
        kind=checkpoint.kind,
        encoder=encoder.config,
        image_px=encoder.image_px,
        in_channels=encoder.in_channels,
        classes=len(segmenter.legend) if segmenter else None,
        **{name: getattr(checkpoint, name) for name in fates},
    )


# --- the entries of a checkpoint -------------------------------------------------------------------------------------


class _Checkpoint:
    """The entries of a file without a fate yet, by its names; and of the others what :class:`Conversion` has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loaded: list[str] = []
        self.changed: dict[str, str] = {}
        self.dropped: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.assumed: list[str] = []
        self.entries = self._unwrapped(read_checkpoint(path))
        found = [key.removesuffix(_PATCHES) for key in self.entries if re.search(rf"(^|\.){re.escape(_PATCHES)}$", key)]
        if len(found) != 1:
            problem = f"has {len(found)} encoders ({', '.join(map(repr, found))})" if found else f"lacks '{_PATCHES}'"
            raise self.error(f"{problem}: a checkpoint of one Swin or ViT in Microsoft's names has it once")
        # what stands before the names of their entries, as in module.encoder.
        self.encoder = found[0]
        self.decoder = re.sub(r"(^|(?<=\.))(encoder|backbone)\.$", "", self.encoder) + "decoder."
        self._had = set(self.entries)

    def _unwrapped(self, content: dict[str, Any]) -> dict[str, Any]:
        """The weights among other entries, of which the plain values and a training's state are dropped here."""
        entries: dict[str, Any] = {}
        while wrapper := next((name for name in _WRAPPERS if isinstance(content.get(name), dict)), None):
            entries |= {key: value for key, value in content.items() if key != wrapper}
            content = {str(key): value for key, value in content[wrapper].items()}
        entries |= content
        for key in [key for key, value in entries.items() if key in _TRAINING or not _holds_tensors(value)]:
            self.dropped[key] = "state of the training" if key in _TRAINING else "no weights"
            del entries[key]
        return entries

    @property
    def is_segmenter(self) -> bool:
        """Whether it has the decoder that the authors fine-tune."""
        return any(key.startswith((self.decoder + "decoder.", self.decoder + "prog_head.")) for key in self._had)

    @property
    def objective(self) -> str:
        """What the encoder was trained to do, as far as what lies beside it tells."""
        if self.has("mask_token") or self.decoder + "0.weight" in self._had:
            return "simmim"
        return "classification" if self.has("head.weight") else "unknown"

    @property
    def kind(self) -> str:
        """What the file is, in words."""
        network = "Swin" if self.has("layers.0.blocks.0.norm1.weight") else "ViT"
        if self.is_segmenter:
            return f"{network} with the authors' segmentation decoder"
        if self.decoder + "0.weight" in self._had:
            return f"{network} with SimMIM's decoder"
        return f"{network} with a classification head" if self.has("head.weight") else f"{network} encoder alone"

    def error(self, problem: str, remedy: str | None = None) -> Alos2TutError:
        """An error that names the file."""
        return Alos2TutError(problem, where=self.path, remedy=remedy)

    def has(self, name: str) -> bool:
        """Whether the encoder has that entry in the file."""
        return self.encoder + name in self._had

    def shape(self, name: str, axes: int, *, of: str | None = None) -> tuple[int, ...]:
        """The shape of an entry of the encoder (or of what stands before it), which must have that many axes."""
        key = (self.encoder if of is None else of) + name
        tensor = self.entries.get(key)
        if not isinstance(tensor, Tensor):
            raise self.error(f"lacks '{key}'", "The architecture cannot be told without it.")
        if tensor.ndim != axes or 0 in tensor.shape:
            raise self.error(f"'{key}' is {tuple(tensor.shape)}, which no known architecture explains")
        return tuple(tensor.shape)

    def depths(self, pattern: str) -> tuple[int, ...]:
        """Blocks of each stage, by entries' names: the pattern's last group is the block, one before it the stage."""
        blocks: dict[int, set[int]] = {}
        for key in self.entries:
            if match := re.match(re.escape(self.encoder) + pattern, key):
                stage, block = [0, *map(int, match.groups())][-2:]
                blocks.setdefault(stage, set()).add(block)
        for what, numbers in [("stages", set(blocks)), *((f"blocks in stage {i}", blocks[i]) for i in sorted(blocks))]:
            if gaps := set(range(len(numbers))) - numbers:
                raise self.error(f"has {len(numbers)} {what}, but none with the number {min(gaps)}")
        return tuple(len(blocks[stage]) for stage in sorted(blocks))

    def fill(self, network: Encoder | Segmenter, *, resize: bool) -> None:
        """Give a network on torch's device ``meta`` the file's numbers; ``resize`` fits tables to other windows."""
        own: dict[str, Tensor] = network.state_dict()
        keys = {name: self._key(name) for name in own}
        lacking = [key for name, key in keys.items() if key not in self.entries and not name.endswith("mask_token")]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise self.error(f"lacks '{lacking[0]}'{more}", "It is cut, or of another architecture.")
        weights = {}
        for name, key in keys.items():
            shape = tuple(own[name].shape)
            if key not in self.entries:
                self.missing[key] = "stays zero: no token was hidden in this training, or the file leaves it out"
                weights[name] = torch.zeros(shape)
            elif resize and name.endswith(_TABLE):
                attention: Any = network.get_submodule(name.rpartition(".")[0])
                weights[name] = self._table(key, tuple(attention.window_size), shape)
            else:
                weights[name] = self._take(key, published_shape(name, shape)).reshape(shape)
        network.load_state_dict(weights, assign=True)

    def _key(self, name: str) -> str:
        """The file's name of one of our parameters."""
        published = published_name(name)
        if name.startswith("decoder."):
            return self.decoder + published.removeprefix("decoder.")
        return self.encoder + published.removeprefix("encoder.")

    def _take(self, key: str, shape: tuple[int, ...] | None) -> Tensor:
        """An entry's finite float32 numbers."""
        tensor: Tensor = self.entries.pop(key)
        strided = isinstance(tensor, Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not strided or not tensor.is_floating_point():
            raise self.error(f"'{key}' holds {getattr(tensor, 'dtype', type(tensor).__name__)}, no plain real numbers")
        if shape is not None and tuple(tensor.shape) != shape:
            raise self.error(
                f"'{key}' is {tuple(tensor.shape)}, not {shape} as the other entries would have it",
                "The file is damaged, or of another architecture.",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise self.error(f"'{key}' holds NaN or infinity", "Its training broke down, or the file is damaged.")
        self.loaded.append(key)
        if tensor.dtype != torch.float32:
            self.changed[key] = f"{str(tensor.dtype).removeprefix('torch.')} made float32"
        numbers = tensor.detach().to(torch.float32)
        # a part of a larger block would be taken for shared memory when it is written
        return numbers if numbers.untyped_storage().nbytes() == numbers.nbytes else numbers.clone()

    def _table(self, key: str, window: tuple[int, int], shape: tuple[int, ...]) -> Tensor:
        """A table of relative position biases (offsets, heads), interpolated where its window is another one."""
        table = self._take(key, None)
        if tuple(table.shape) == shape:
            return table
        side = math.isqrt(table.shape[0]) if table.ndim == 2 else 0
        if table.shape != (side**2, shape[1]) or side % 2 == 0:
            raise self.error(f"'{key}' is {tuple(table.shape)}: no square window has such a table")
        self.changed[key] = (
            f"interpolated (bicubic) from windows of {side // 2 + 1} to {window[0]} × {window[1]} tokens"
        )
        offsets = (2 * window[0] - 1, 2 * window[1] - 1)
        resized = F.interpolate(table.T.reshape(1, -1, side, side), size=offsets, mode="bicubic", align_corners=False)
        return resized.flatten(2)[0].T.contiguous()

    def drop_the_rest(self, strict: bool) -> None:
        """Say why each entry that is left has no place."""
        for key, tensor in list(self.entries.items()):
            reason = next((why for pattern, why in _NOT_NEEDED.items() if re.search(pattern, key)), None)
            if key.endswith("relative_position_index"):
                self._check_index(key, tensor)
            if reason is None and strict:
                raise self.error(
                    f"has an entry that is not known here: '{key}'",
                    "Another architecture may need it. --drop-unknown (strict=False) leaves it out.",
                )
            self.dropped[key] = reason or "not known here"
        self.entries.clear()

    def _check_index(self, key: str, index: Any) -> None:
        """Refuse biases that are ordered otherwise than ours."""
        class_token = key.endswith("rel_pos_bias.relative_position_index")
        tokens = index.shape[0] - class_token if isinstance(index, Tensor) and index.ndim == 2 else -1
        side = math.isqrt(max(tokens, 0))
        if side**2 == tokens:
            ours = gen_relative_position_index((side, side), class_token=class_token)
            if index.device == ours.device and torch.equal(index.long(), ours.long()):
                return
        if tokens < 0 or side**2 == tokens:  # what stands for rectangles depends on their sides
            raise self.error(f"'{key}' orders the biases in a way that is not known here")


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensors, value.values()))
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(map(_holds_tensors, value)))


# --- the architecture, from the shapes -------------------------------------------------------------------------------

_Size = tuple[int, int]


def _encoder(
    checkpoint: _Checkpoint, image_px: _Size | None, window_size: int | None, num_heads: int | None
) -> Encoder:
    """An encoder of the file's architecture."""
    width, channels, patch, other = checkpoint.shape(_PATCHES, 4)
    if patch != other:
        raise checkpoint.error(f"'{checkpoint.encoder}{_PATCHES}' has patches of {patch} × {other} px, no squares")
    if stages := checkpoint.depths(r"layers\.(\d{1,4})\.blocks\.(\d{1,4})\."):
        if num_heads is not None:
            raise checkpoint.error("is a Swin, whose tables tell the heads: --num-heads (num_heads) is for a ViT")
        settings, grid = _swin(checkpoint, stages, patch, image_px, window_size)
    elif blocks := checkpoint.depths(r"blocks\.(\d{1,4})\."):
        if window_size is not None:
            raise checkpoint.error("is a ViT, which has no windows: --window-size (window_size) is for a Swin")
        settings, grid = _vit(checkpoint, blocks, patch, image_px, num_heads)
    else:
        raise checkpoint.error(f"has no blocks, neither '{checkpoint.encoder}layers.0.blocks.0.…' nor '….blocks.0.…'")
    hidden, inner = checkpoint.shape(("layers.0." if stages else "") + "blocks.0.mlp.fc1.weight", 2)
    settings |= {"patch_size": patch, "embed_dim": width, "mlp_ratio": hidden / inner}
    config = from_dict(EncoderConfig, settings, where=checkpoint.path)
    try:
        return build_encoder(config, image_px or (grid[0] * patch, grid[1] * patch), channels)
    except Alos2TutError as error:
        raise checkpoint.error(error.problem, error.remedy) from None


def _swin(
    checkpoint: _Checkpoint, depths: tuple[int, ...], patch: int, image_px: _Size | None, window_size: int | None
) -> tuple[dict[str, Any], _Size]:
    tables = [checkpoint.shape(f"layers.{i}.blocks.0.attn.{_TABLE}", 2) for i in range(len(depths))]
    rows = [table[0] for table in tables]
    positions = checkpoint.shape("absolute_pos_embed", 3)[1] if checkpoint.has("absolute_pos_embed") else None
    tokens = _tokens_of_masks(checkpoint, len(depths)) if positions is None and image_px is None else positions
    grid = _grid(checkpoint, patch, image_px, tokens, checkpoint.encoder + "absolute_pos_embed")
    found = _window_of(rows, grid)
    if found is None:
        if window_size is None and (image_px is None or positions is not None):
            # the first stage whose table does not go with those before it
            stage = next((n for n in range(len(rows)) if _window_of(rows[: n + 1], grid) is None), len(rows) - 1)
            raise checkpoint.error(
                f"'{checkpoint.encoder}layers.{stage}.blocks.0.attn.{_TABLE}' has {rows[stage]} rows, which no window "
                f"explains in images of {grid[0] * patch} × {grid[1] * patch} px",
                "Give --image-px HEIGHT WIDTH (image_px) if they are no squares.",
            )
        found = max(math.isqrt(count) // 2 + 1 for count in rows)
    with_buffers = checkpoint.has("layers.0.blocks.0.attn.relative_position_index")
    masked = any(checkpoint.has(f"layers.{i}.blocks.1.attn_mask") for i in range(len(depths)))
    to_shift = any(depth > 1 and max(grid) >> stage > found for stage, depth in enumerate(depths))
    if to_shift and not with_buffers and not masked:
        checkpoint.assumed.append("windows shifted, as Swin's are: the file keeps none of the buffers that tell it")
    settings = {
        "kind": "swin",
        "depths": depths,
        "num_heads": [table[1] for table in tables],
        "window_size": found if window_size is None else window_size,
        "position": "none" if positions is None else "learned",
        # Microsoft's code keeps a mask in every block that shifts; a file with its other buffers has them all
        "shifted": masked or not (with_buffers and to_shift),
    }
    return settings, grid


def _tokens_of_masks(checkpoint: _Checkpoint, stages: int) -> int | None:
    """How many tokens the first stage has, as the masks of shifted windows (windows, tokens, tokens) tell it."""
    for stage in range(stages):
        if checkpoint.has(name := f"layers.{stage}.blocks.1.attn_mask"):
            windows, tokens, _ = checkpoint.shape(name, 3)
            return windows * tokens << 2 * stage
    return None


def _window_of(rows: Sequence[int], grid: _Size) -> int | None:
    """The window whose tables have so many rows: (2h − 1) · (2w − 1), where no side exceeds the stage's map."""
    for window in range(1, max(grid) + 1):
        sides = ([min(window, side >> stage) for side in grid] for stage in range(len(rows)))
        if [math.prod(2 * side - 1 for side in pair) for pair in sides] == list(rows):
            return window
    return None


def _vit(
    checkpoint: _Checkpoint, depths: tuple[int, ...], patch: int, image_px: _Size | None, num_heads: int | None
) -> tuple[dict[str, Any], _Size]:
    shared, positions = checkpoint.has(f"rel_pos_bias.{_TABLE}"), checkpoint.has("pos_embed")
    tokens, named = None, "pos_embed" if positions else f"rel_pos_bias.{_TABLE}"
    rows, heads = checkpoint.shape(f"rel_pos_bias.{_TABLE}", 2) if shared else (0, num_heads)
    if heads is None:
        raise checkpoint.error("does not tell its attention heads", "Give --num-heads (num_heads): 12 for a ViT-B.")
    if positions:
        tokens = checkpoint.shape("pos_embed", 3)[1] - 1
    elif shared:
        # (2h − 1) · (2w − 1) offsets and three of the class token
        offsets = rows - 3
        side = math.isqrt(max(offsets, 0)) // 2 + 1
        if image_px is None and (2 * side - 1) ** 2 != offsets:
            raise checkpoint.error(
                f"'{checkpoint.encoder}{named}' has {offsets + 3} rows, which no square explains",
                "Give --image-px HEIGHT WIDTH (image_px).",
            )
        tokens = side**2 if image_px is None else None
    settings = {
        "kind": "vit",
        "depths": depths,
        "num_heads": [heads],
        "position": "learned" if positions else "none",
        "shared_relative_position": shared,
        # where it began; where it has come to is in the weights
        "layer_scale": 0.1 if checkpoint.has("blocks.0.gamma_1") else None,
    }
    return settings, _grid(checkpoint, patch, image_px, tokens, checkpoint.encoder + named)


def _grid(checkpoint: _Checkpoint, patch: int, image_px: _Size | None, tokens: int | None, key: str) -> _Size:
    """(rows, columns) of tokens: those of the size that is given, else a square of so many."""
    if image_px is not None:
        grid = (image_px[0] // patch, image_px[1] // patch)
        if tokens is not None and grid[0] * grid[1] != tokens:
            raise checkpoint.error(
                f"'{key}' is for {tokens} patches of {patch} px, not for the {grid[0]} × {grid[1]} of images of "
                f"{image_px[0]} × {image_px[1]} px",
                "Learned positions are of one size: leave --image-px (image_px) out, or give the file's.",
            )
        return grid
    if tokens is None:
        raise checkpoint.error("does not tell the size of its images", "Give it: --image-px 256 (image_px=256).")
    side = math.isqrt(tokens)
    if side**2 != tokens:
        raise checkpoint.error(
            f"has {tokens} patches per image, which are no square", "Give --image-px HEIGHT WIDTH (image_px)."
        )
    return side, side


def _segmenter(
    checkpoint: _Checkpoint,
    encoder: Encoder,
    legend: str | Path | Legend | None,
    statistics: Statistics,
    signal: dict[str, Any],
) -> Segmenter:
    """The segmenter around an encoder, as wide as the file's and with its number of classes."""
    if not isinstance(encoder, SwinEncoder):
        raise checkpoint.error("has a segmentation decoder behind a ViT; only a Swin's is known")
    classes = checkpoint.shape("prog_head.cls_seg.weight", 4, of=checkpoint.decoder)[0]
    width = checkpoint.shape("decoder.conv_x1.weight", 4, of=checkpoint.decoder)[0]
    if legend is None:
        if classes != len(load_legend(AUTHORS_LEGEND)):
            raise checkpoint.error(f"has {classes} classes without names", "Give --legend (legend).")
        legend = AUTHORS_LEGEND
        checkpoint.assumed.append(f"the classes are those of '{AUTHORS_LEGEND}', our reading: the authors name none")
    legend = legend if isinstance(legend, Legend) else load_legend(legend)
    if len(legend) != classes:
        raise checkpoint.error(f"has {classes} classes, the legend '{legend.name}' has {len(legend)}")
    segmenter = Segmenter(encoder, legend, statistics, signal, decoder="paper", width=width, dropout=_DROPOUT)
    check_decoder(segmenter, checkpoint.path)
    return segmenter


# --- what no checkpoint tells ----------------------------------------------------------------------------------------


def _statistics(checkpoint: _Checkpoint, given: Statistics | None, channels: int) -> Statistics:
    """What the input is standardised by: what was given, or the authors' where there is one channel."""
    how = "--mean-db and --std-db (statistics), one number for each channel"
    if given is None:
        if channels != 1:
            problem = f"statistics missing: no checkpoint tells what its {channels} channels are standardised by"
            raise checkpoint.error(problem, f"Give {how}.")
        given = AUTHORS_STATISTICS
        checkpoint.assumed.append(f"standardised by the authors' {given.mean_db[0]} ± {given.std_db[0]} dB")
    Statistics.from_dict(given.to_dict(), where="statistics")
    if len(given.mean_db) != channels:
        raise checkpoint.error(f"has {channels} input channel(s), the statistics {len(given.mean_db)}", f"Give {how}.")
    return given


def _signal(checkpoint: _Checkpoint, given: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """Quantity, polarizations and pixel size (metres) as a header has them; the authors' where they are not given."""
    fields = asdict(from_dict(_Signal, given, where="signal"))
    signal = {field: list(value) if isinstance(value, tuple) else value for field, value in fields.items()}
    if len(signal["polarizations"]) != channels:
        raise checkpoint.error(
            f"has {channels} input channel(s), the polarizations are {signal['polarizations']}",
            "Give --polarizations (signal), one for each channel.",
        )
    checkpoint.assumed += [f"{field} {signal[field]}, the authors'" for field in signal if field not in given]
    return signal


def _attribution(checkpoint: _Checkpoint, encoder: Encoder, simulated: bool) -> str:
    """Who is to be named for the data: JAXA for what looks like the authors' weights; for others nobody is known."""
    if simulated:
        return "simulated"
    architecture = (encoder.config, encoder.image_px, encoder.in_channels)
    if architecture == AUTHORS_ENCODER and not checkpoint.has("head.weight"):
        checkpoint.assumed.append(f"the weights are the authors', so that it is to say: {AUTHORS_DATA}")
        return AUTHORS_DATA
    checkpoint.assumed.append("whose data made the weights is not stated: --attribution (attribution) says it")
    return f"not stated (weights of {checkpoint.path.name})"
