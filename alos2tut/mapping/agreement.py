"""How far a map of a whole product agrees with label rasters, and where it does not.

This is no test: the map covers training ground, too. It shows where to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from ..core.errors import Alos2TutError
from ..core.progress import progress_bar
from ..core.public import public
from ..core.version import __version__
from ..dataset.labels import EQUAL_SIZE, LabelMap, Placement, label_files, warn_of_lost_labels
from ..dataset.legend import IGNORE, Legend
from ..headlines import of_scores
from ..metrics import confusion_of_pixels, scores_from_confusion
from ..products.metadata import IMAGE_TAGS
from ..products.rasters import write_cog
from .files import STRIP_ROWS, MapFile, label_frame, place_of

#: value of a map of differences where map and labels agree; no class has this index
AGREES = 254

_LIGHT_GREY = (225, 225, 225, 255)
_READING = (
    "Agreement with the labels over all the ground that the map covers, training ground included, so it is no test "
    "score: the scores of the test list are."
)
#: tags of a map that also hold for where it differs
_KEPT_TAGS = ("PRODUCT", "ACQUIRED", "SIMULATED", "TRAINED_ON_SIMULATED", "SOURCE", *IMAGE_TAGS)


@public
def map_agreement(
    map_path: str | Path,
    labels: str | Path | Sequence[str | Path],
    legend: Legend,
    difference_path: str | Path,
    placement: Placement = EQUAL_SIZE,
    *,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Compare a map with label rasters, and write where they differ.

    A few rows are in memory at a time. The map of differences holds :data:`AGREES` where both agree, the index of the
    label's class where they differ, and 255 where there is nothing to compare; its tags and colours say so.

    Args:
        map_path: a map as :func:`alos2tut.map_scene` writes it.
        labels: label rasters in any coordinate system, or in the frame of an image on no map; what
            :func:`alos2tut.dataset.labels.label_files` takes.
        legend: the map's, which makes classes of the labels' codes.
        difference_path: the GeoTIFF to write, whole or not at all.
        placement: where labels lie on an image that lies on no map.
        progress: show a bar; None: only where someone watches.

    Returns:
        Plain values, ready for JSON: ``headlines`` (:mod:`alos2tut.headlines`), ``reading`` (what the scores are, and
        are not, in a sentence), ``map``, ``difference`` and ``labels`` (names of files; of the labels those that may
        lie there), ``legend``, ``classes``, ``simulated`` (None if the map does not say), ``pixels`` (``mapped``,
        ``compared`` and ``agreeing``), ``pixel_accuracy``, ``miou``, ``macc``, ``absent`` (names of classes without a
        labelled pixel, which the means leave out), ``per_class`` (by name: ``iou``, ``precision``, ``recall``, ``f1``
        and ``pixels``) and ``confusion_matrix`` (rows are the labels, columns the map).

    Raises:
        Alos2TutError: a map that cannot be read or has other classes than the legend; labels that :class:`LabelMap`
            refuses, that do not lie where the map is, or none of whose classes lies on mapped ground; a
            ``difference_path`` that is the map or a label raster, or cannot be written.
    """
    source, paths = MapFile.open(map_path), label_files(labels)
    source.check_legend(legend)
    difference_path = Path(difference_path)
    if difference_path.resolve() in {path.resolve() for path in (source.path, *map(Path, paths))}:
        raise Alos2TutError("is what is to be compared", where=difference_path, remedy="Name another file to write.")
    # pixels by class of the label (rows) and of the map, where no label is in the last row
    matrix = np.zeros((len(legend) + 1, len(legend)), dtype=np.int64)
    with LabelMap(paths, legend, placement) as label_map:
        touching = label_map.touching(*label_frame(source.grid, source.shape))
        if not touching:
            remedy = "Give the label rasters of this ground."
            raise Alos2TutError("no label raster lies where the map is", where=source.path, remedy=remedy)
        warn_of_lost_labels(touching, legend)
        write_cog(
            difference_path,
            _differences(source, label_map, matrix, progress),
            shape=source.shape,
            dtype="uint8",
            **place_of(source.grid),
            no_data=IGNORE,
            tags=_tags(source, legend, touching),
            colormap=legend.colormap() | {AGREES: _LIGHT_GREY},
            description="class of the label where map and labels differ",
            resampling="mode",
        )
    scores, names = scores_from_confusion(matrix[:-1]), legend.names
    return {
        "headlines": of_scores(matrix[:-1], names),
        "reading": _READING,
        "map": source.path.name,
        "difference": difference_path.name,
        "labels": [Path(path).name for path in touching],
        "legend": legend.name,
        "classes": names,
        "simulated": {"yes": True, "no": False}.get(source.tags.get("SIMULATED", "")),
        "pixels": {
            "mapped": int(matrix.sum()),
            "compared": scores["pixels"],
            "agreeing": int(np.trace(matrix)),
        },
        **{name: scores[name] for name in ("pixel_accuracy", "miou", "macc")},
        "absent": [names[index] for index in scores["absent"]],
        "per_class": dict(zip(names, scores["per_class"], strict=True)),
        "confusion_matrix": matrix[:-1].tolist(),
    }


def _differences(
    source: MapFile, labels: LabelMap, matrix: NDArray[np.int64], progress: bool | None
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """Rows of the map of differences from top to bottom; on the way their pixels are added to the matrix."""
    grid, (height, width), classes = source.grid, source.shape, matrix.shape[1]
    strips, count = source.class_strips(classes), -(-height // STRIP_ROWS)
    for first, mapped in progress_bar(strips, "comparing", "strip", total=count, show=progress):
        labelled = labels.classes_on(grid.crs, grid.transform, mapped.shape, offset=(first, 0))
        is_mapped = mapped != IGNORE
        matrix += confusion_of_pixels(np.minimum(labelled, classes)[is_mapped], mapped[is_mapped], matrix.shape)
        differing = np.where(labelled == mapped, np.uint8(AGREES), labelled)
        yield Window(0, first, width, len(mapped)), np.where(is_mapped, differing, np.uint8(IGNORE))
    # raised before the file takes its name
    if not matrix[:-1].any():
        raise Alos2TutError(
            f"of its {matrix.sum():,} mapped pixels none has a label",
            where=source.path,
            remedy="Give the label rasters of this ground.",
        )


def _tags(source: MapFile, legend: Legend, labels: Sequence[str]) -> dict[str, str]:
    """What the map of differences says of itself."""
    kept = {tag: source.tags[tag] for tag in _KEPT_TAGS if tag in source.tags}
    names = {f"CLASS_{index}": name for index, name in enumerate(legend.names)}
    return kept | names | {
        "LEGEND": legend.name,
        f"CLASS_{AGREES}": "map and labels agree",
        "NO_DATA": "nothing to compare",
        "MEANING": (
            f"{AGREES}: map and labels agree; 0 to {len(legend) - 1}: they differ, and the label is of this class; "
            f"{IGNORE}: nothing to compare. {_READING}"
        ),
        "MAP": source.path.name,
        "LABELS": ", ".join(Path(path).name for path in labels),
        "SOFTWARE": f"alos2tut {__version__}",
    }  # fmt: skip
