"""Weights as a folder that model hubs take: the weights, what they are in JSON, and a page about them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from ..core.artifacts import atomic_path, check_vacant, named_path, write_json
from ..core.errors import Alos2TutError, quoted, visible
from ..core.public import public
from .bundle import HUB_FILE, named_weights
from .encoders import Encoder
from .header import read_header
from .segmenter import Segmenter
from .weights import load_encoder, load_segmenter, stage_weights

#: what hubs find a model by: of both kinds of weights, and of each
_TAGS = ("sar", "l-band", "alos-2", "palsar-2", "remote-sensing", "earth-observation")
_KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "encoder": ("image-feature-extraction", ("masked-image-modeling",)),
    "segmenter": ("image-segmentation", ("land-cover", "semantic-segmentation")),
}
_USE = {
    "encoder": """\
encoder = alos2tut.load_encoder("{folder}")  # the path of this folder
features = encoder(x)  # x: (B, C, H, W) float32, decibels standardised by encoder.statistics""",
    "segmenter": """\
segmenter = alos2tut.load_segmenter("{folder}")  # the path of this folder
classes = segmenter.predict(db)  # db: backscatter (H, W) in decibels, NaN where there is no data""",
}


@public
def export_hub(source: str | Path, folder: str | Path, *, license: str) -> Path:
    """Write an encoder or a segmenter as a folder for a model hub. Nothing is sent anywhere, and nothing is executed.

    It holds ``model.safetensors``, the weights byte for byte; ``config.json``, their header; and ``README.md``, a page
    with licence, tags and who is to be named for the data. The folder's path then stands for the weights wherever they
    are named, as in :func:`alos2tut.load_encoder`.

    Args:
        source: ``encoder.safetensors`` or ``segmenter.safetensors``, or the folder of a training that holds it, or
            ``bundled``: the segmenter that comes with the package.
        folder: one that does not exist yet or is empty; written whole or not at all.
        license: of the weights, as hubs write it: ``mit``, ``apache-2.0``, ``cc-by-4.0``, ``other``.

    Returns:
        ``folder``.

    Raises:
        Alos2TutError: weights that do not load, or of another kind; a folder that holds something; a licence that is no
            such word.
    """
    source, folder = stage_weights(named_weights(source, "source")), named_path(folder, "folder")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        problem, remedy = f"{quoted(license)} is no licence as hubs write it", "Take mit, apache-2.0, cc-by-4.0, other."
        raise Alos2TutError(problem, where="license", remedy=remedy)
    check_vacant(folder)
    header = read_header(source)
    kind = str(header.get("kind"))
    if kind not in _KINDS:
        raise Alos2TutError(f"holds weights of the kind {quoted(kind)}, not an encoder or a segmenter", where=source)
    # what does not load is not handed on
    network = load_segmenter(source) if kind == "segmenter" else load_encoder(source)
    with atomic_path(folder) as target:
        target.mkdir()
        shutil.copyfile(source, target / HUB_FILE)
        write_json(target / "config.json", header)
        (target / "README.md").write_text(_page(network, kind, license, folder.name), encoding="utf-8")
    return folder


def _page(network: Encoder | Segmenter, kind: str, license: str, name: str) -> str:
    """The page of weights, which begins with what hubs read of it (YAML)."""
    task, tags = _KINDS[kind]
    facts = {"license": license, "library_name": "alos2tut", "pipeline_tag": task, "tags": [*_TAGS, *tags]}
    what = "An encoder" if kind == "encoder" else "A segmenter"
    whose = _line(network.header.get("attribution") or "not stated")
    notes = [f"Trained on: {whose}."]
    if network.header.get("simulated"):
        notes.append("Simulated scenes are not real ground: scores on them do not tell what it is worth there.")
    if "JAXA" in whose:
        notes.append("Name them, as above, wherever the weights are used or passed on.")
    return f"""\
---
{yaml.safe_dump(facts, sort_keys=False)}---

# {_line(name)}

{what} of {_line(network.header.get("package"))}: land cover from L-band radar, after [SAR-weighted masked
pretraining](https://arxiv.org/abs/2603.15119).

| | |
|---|---|
{chr(10).join(f"| {title} | {_line(text)} |" for title, text in _facts(network))}

## Data

{" ".join(notes)}

## Use

```python
import alos2tut

{_USE[kind].format(folder=_line(name))}
```

`config.json` holds settings and hashes of the training. Nothing in this folder is code: `model.safetensors` holds
numbers and a header.
"""


def _facts(network: Encoder | Segmenter) -> list[tuple[str, str]]:
    """What weights are, and what they take and give, in words."""
    encoder = network.encoder if isinstance(network, Segmenter) else network
    signal, statistics = encoder.signal, encoder.statistics
    assert signal is not None and statistics is not None
    spreads = zip(statistics.mean_db, statistics.std_db, strict=True)
    told = [
        ("weights", f"{sum(weights.numel() for weights in network.parameters()):,}, {encoder.config.kind} encoder"),
        ("input", f"{signal['quantity']} in dB, {', '.join(signal['polarizations'])}"),
        ("pixels (rows, columns)", f"{signal['spacing_m']} m" if signal["spacing_m"] else "of unknown size"),
        ("image", " × ".join(map(str, encoder.image_px)) + " pixels"),
        ("standardised by", ", ".join(f"{mean:.2f} ± {std:.2f} dB" for mean, std in spreads)),
    ]
    if isinstance(network, Segmenter):
        legend = network.legend
        told += [("classes", ", ".join(legend.names)), (f"legend {legend.name}", legend.source or "—")]
    return told


def _line(text: object) -> str:
    """A text of a stranger's file on one line, without signs that a table or a page would take for its own."""
    return visible(" ".join(re.sub(r"[|<>`\"\[\]\\]", " ", str(text)).split()))
