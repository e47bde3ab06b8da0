"""Weights in the names and shapes that others' code reads: Microsoft's Swin, BEiT's ViT, the authors' decoder."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..core.artifacts import atomic_path, named_path
from ..core.errors import Alos2TutError, closest
from ..core.public import public
from .bundle import named_weights
from .encoders import Encoder, SwinEncoder, VisionTransformerEncoder
from .header import read_header
from .segmenter import Segmenter
from .weights import load_encoder, load_segmenter, stage_weights

LAYOUTS = ("microsoft", "authors")

#: groups of every norm in the authors' decoder
_GROUPS = 16

#: modules of our decoder by their published names, both below ``decoder.``
_DECODER = {
    "context.fuse": "decoder.PPMHead.final",
    "widen": "decoder.conv_x1",
    "fuse": "decoder.fuse_all",
    "classify": "prog_head.cls_seg",
    **{f"context.branches.{i}": f"decoder.PPMHead.psp_modules.ppm_modules.{i}" for i in range(4)},
    **{f"laterals.{i}": f"decoder.Conv_fuse{i + 1}" for i in range(3)},
    **{f"merges.{i}": f"decoder.Conv_fuse{i + 1}_" for i in range(3)},
    # counted from the enlargement before the convolution
    **{f"head.{i}.{j}": f"prog_head.up{i + 1}.{j + 1}" for i in range(2) for j in range(2)},
}


@public
def export_checkpoint(source: str | Path, target: str | Path, layout: str = "microsoft") -> Path:
    """Write an encoder or a segmenter of this package under the names that others' code reads.

    Args:
        source: ``encoder.safetensors`` or ``segmenter.safetensors``, or the folder of a training that holds it, or
            ``bundled``: the segmenter that comes with the package.
        target: the file to write, whole or not at all: ``.pth`` or ``.pt`` (tensors in a dictionary, which
            ``torch.load(weights_only=True)`` reads) or ``.safetensors``.
        layout: ``microsoft``: an encoder in Swin's or BEiT's names, in a ``.pth`` under ``model``; ``authors``: as the
            paper's authors keep it, an encoder by bare names, a segmenter below ``encoder.`` and ``decoder.``

    Returns:
        The file written. Statistics, legend and history stay behind: the other forms have no place for them.

    Raises:
        Alos2TutError: other weights, an unknown layout or ending, or an architecture that the others' code does not
            compute alike.
    """
    source, target = named_weights(source, "source"), named_path(target, "target")
    if layout not in LAYOUTS:
        raise Alos2TutError(f"unknown layout '{layout}'", where="layout", remedy=closest(layout, LAYOUTS))
    if target.suffix not in (".pth", ".pt", ".safetensors"):
        raise Alos2TutError("the file to write is not named *.pth, *.pt or *.safetensors", where=target)
    source = stage_weights(source)
    header = read_header(source)
    check_apart(source, target)
    kind = header.get("kind")
    if kind not in ("encoder", "segmenter"):
        raise Alos2TutError(f"holds weights of the kind '{kind}', not an encoder or a segmenter", where=source)
    if kind == "segmenter" and layout == "microsoft":
        problem = "Microsoft's names know no segmentation decoder"
        raise Alos2TutError(problem, where=source, remedy="Use the layout 'authors'.")
    network = load_encoder(source) if kind == "encoder" else load_segmenter(source)
    _check_exportable(network, source)
    tensors = published_tensors(network)
    with atomic_path(target) as temporary:
        if target.suffix == ".safetensors":
            origin = {"attribution": str(header.get("attribution")), "simulated": str(header.get("simulated")).lower()}
            save_file(tensors, temporary, metadata={"format": "pt", **origin})
        else:
            torch.save({"model": tensors} if layout == "microsoft" else tensors, temporary)
    return target


def published_tensors(network: Encoder | Segmenter) -> dict[str, Tensor]:
    """An encoder's or a segmenter's numbers by their published names and in their published shapes.

    Microsoft's code keeps two kinds of buffers with the weights, so they are here, too. A segmenter's mask token, which
    nothing reads any more, is left out.
    """
    kept = ("relative_position_index", "attn_mask")
    buffers = {name: buffer for name, buffer in network.named_buffers() if name.endswith(kept)}
    tensors = {
        published_name(name): tensor.detach().reshape(published_shape(name, tuple(tensor.shape))).contiguous()
        for name, tensor in {**network.state_dict(), **buffers}.items()
    }
    tensors.pop("encoder.mask_token", None)
    return tensors


def published_name(name: str) -> str:
    """The published name of one of our parameters: Microsoft's or BEiT's in the encoder, the authors' in the decoder.

    Args:
        name: in an encoder, or in a segmenter, where it begins with ``encoder.`` or ``decoder.``
    """
    if name.startswith("decoder."):
        path = name.removeprefix("decoder.")
        module = next(module for module in _DECODER if path.startswith(module + "."))
        return f"decoder.{_DECODER[module]}{path.removeprefix(module)}"
    prefix, path = ("encoder.", name[8:]) if name.startswith("encoder.") else ("", name)
    path = re.sub(r"^(swin|vit)\.", "", "absolute_pos_embed" if path == "position" else path)
    # timm counts a merging to the stage it leads to, Microsoft to the one it comes from
    path = re.sub(r"^layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", path)
    return prefix + path


def published_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The published shape of one of our parameters: tokens in a row, the mask token with a batch of one."""
    own = name.removeprefix("encoder.")
    if own == "mask_token":
        return (1, 1, *shape)
    return (1, shape[1] * shape[2], shape[3]) if own == "position" else shape


def _check_exportable(network: Encoder | Segmenter, where: Path) -> None:
    """Refuse what the others' code would compute otherwise with the same numbers."""
    encoder = network.encoder if isinstance(network, Segmenter) else network
    if isinstance(network, Segmenter):
        check_decoder(network, where)
    if isinstance(encoder, VisionTransformerEncoder):
        return
    if not encoder.config.shifted or encoder.config.position == "sincos":
        raise Alos2TutError("its windows are not shifted or its positions fixed, unlike Microsoft's Swin", where=where)
    window = encoder.config.window_size
    for stage in range(len(encoder.config.depths)):
        height, width = (side >> stage for side in encoder.grid)
        whole = all(side % min(side, window) == 0 for side in (height, width))
        if not whole or (height != width and min(height, width) <= window):
            raise Alos2TutError(
                f"windows of {window} do not tile stage {stage}'s map of {height} × {width} tokens as Microsoft's "
                "code has it",
                where=where,
            )


def check_decoder(segmenter: Segmenter, where: Path) -> None:
    """Refuse a decoder that would not compute what the authors' does with the same numbers."""
    if segmenter.decoder_kind != "paper" or not isinstance(segmenter.encoder, SwinEncoder):
        problem = (
            f"the authors' names are for their decoder behind a Swin, not for '{segmenter.decoder_kind}' behind a "
        )
        raise Alos2TutError(problem + segmenter.encoder.config.kind, where=where)
    norms = [part for part in segmenter.decoder.modules() if isinstance(part, nn.GroupNorm)]
    if any(norm.num_groups != _GROUPS for norm in norms):
        problem = f"a decoder of {segmenter.decoder.width} channels is normalised in {norms[0].num_groups} groups here"
        raise Alos2TutError(f"{problem}, in the authors' code in {_GROUPS}", where=where)
    if segmenter.encoder.config.patch_size != 4:
        problem = f"the authors' decoder enlarges patches of 4 px, these have {segmenter.encoder.config.patch_size}"
        raise Alos2TutError(problem, where=where)


def check_apart(source: Path, target: Path) -> None:
    """Refuse to write a file over the one that it is made from."""
    if target.exists() and target.samefile(source):
        raise Alos2TutError("would overwrite what it is made from", where=target, remedy="Name another file.")
