"""Sliders for a live notebook. Each shows what a static figure of its notebook shows, for other settings.

Where nobody watches (papermill, nbclient) nothing is built: a widget would be a dead picture there, and headless
clients have been seen to hang on its messages (jupyter/nbclient#312).
"""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import plotting
from ..core.progress import is_interactive
from ..dataset.store import PatchDataset
from ..products.product import Product
from ..speckle import despeckling
from .figures import dataset as dataset_figures
from .figures import speckle as speckle_figures

if TYPE_CHECKING:
    from ..mapping.files import PixelWindow
    from ..pretraining.weighting import Weighting
    from .map_view import MapView


#: pixels of a page an inch, and of a screen for each of them
_CSS_PX, _FINE = 96, 1.5
#: seconds in which the kernel's other thread has sent a picture
_SENDING_S = 0.02


def _live(draw: Callable[..., Figure], **controls: Any) -> Any:
    """Controls above one picture, whose content is replaced when it is drawn: it never vanishes in between.

    While only a slider moves, axes keep the place that they had, so that nothing jumps, and layout is done once.

    Returns:
        A box of the controls, of what drawing prints and of the picture; its ``f`` draws for given settings and returns
        the figure. None, where nobody watches.
    """
    if not is_interactive():
        print("Sliders appear here in a live notebook.")
        return None
    for name, control in controls.items():
        control.description = control.description or name.replace("_", " ")
    picture = ipywidgets.Image(format="png")
    chosen = [name for name, control in controls.items() if isinstance(control, ipywidgets.Dropdown)]
    layouts: dict[tuple[Any, ...], list[Any]] = {}

    def show(**settings: Any) -> Figure:
        with _garbage_kept():
            figure = draw(**settings)
            # notebooks would show what pyplot still holds a second time
            plt.close(figure)
            _lay_out(figure, layouts, tuple(settings[name] for name in chosen))
            picture.layout.width = f"{figure.get_figwidth() * _CSS_PX:.0f}px"
            picture.value = _png(figure)
        return figure

    box = ipywidgets.VBox([*controls.values(), ipywidgets.interactive_output(show, controls), picture])
    box.f = show
    return box


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Let the collector wait until a picture is sent: its full rounds take half a second with torch in memory."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        time.sleep(_SENDING_S)
    finally:
        if was_enabled:
            gc.enable()


def _lay_out(figure: Figure, layouts: dict[tuple[Any, ...], list[Any]], of: tuple[Any, ...]) -> None:
    """Give axes and words the place that those of an earlier figure of this kind had; the first is laid out."""
    entries = [len(legend.get_texts()) for legend in figure.legends]
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    wide = [max((len(label.get_text()) for label in axis.get_ticklabels()), default=0) for axis in axes]
    of = (*of, *entries, *wide, *figure.get_size_inches(), len(figure.texts))
    placed: list[Any] = [*figure.axes, *figure.texts]
    if of not in layouts:
        for _ in range(2):  # what lies beside an image has its place only after the first
            figure.draw_without_rendering()
        layouts[of] = [artist.get_position() for artist in placed]
    figure.set_layout_engine("none")
    for artist, place in zip(placed, layouts[of], strict=True):
        artist.set_position(place)


def _png(figure: Figure) -> bytes:
    """A figure as it is laid out: to search for its edges, or to compress it well, would take as long again."""
    figure.set_dpi(_FINE * _CSS_PX)
    memory = io.BytesIO()
    FigureCanvasAgg(figure).print_png(memory, pil_kwargs={"compress_level": 1})  # type: ignore[no-untyped-call]
    return memory.getvalue()


def _slider(value: float, least: float, most: float, step: float = 1, **known: Any) -> Any:
    """A slider that draws when it is let go; of whole numbers where its value is one."""
    kind = ipywidgets.IntSlider if isinstance(value, int) else ipywidgets.FloatSlider
    return kind(value, min=least, max=most, step=step, continuous_update=False, **known)


def explore_looks(product: Product, window: tuple[int, int, int, int]) -> Any:
    """The window at 1 to 16 looks a side."""

    def draw(looks: int) -> Figure:
        return speckle_figures.looks_ladder(product, window, (1, looks))

    return _live(draw, looks=_slider(4, 2, 16))


def explore_filters(product: Product, window: tuple[int, int, int, int], looks: float) -> Any:
    """A filter and its ratio image on a movable part of the window, 64, 128 or 256 pixels a side."""
    sizes = [n for n in (64, 128, 256) if n <= min(window[2:])] or [min(window[2:])]
    limits = plotting.grey_limits(product.read_db(window, looks=min(2, *window[2:])))  # one grey scale for all of it

    def draw(filter_name: str, filter_px: int, down: float, right: float, size_px: int) -> Figure:
        row, col = (round(window[i] + part * (window[i + 2] - size_px)) for i, part in enumerate((down, right)))
        power = product.read_power((row, col, size_px, size_px))
        return speckle_figures.despeckled(power, looks, [filter_name], filter_px, product.quantity, limits)

    return _live(
        draw,
        filter_name=ipywidgets.Dropdown(options=list(despeckling.FILTERS), value="refined Lee", description="filter"),
        filter_px=ipywidgets.Dropdown(options=[5, 7, 9, 11], value=7, description="filter, px"),
        down=_slider(0.5, 0, 1, 0.05),
        right=_slider(0.5, 0, 1, 0.05),
        size_px=ipywidgets.Dropdown(options=sizes, value=sizes[-1], description="window, px"),
    )


def browse_patches(dataset: PatchDataset) -> Any:
    """Patches of a list beside their labels, those first that have most of a class."""
    names = dataset.legend.names
    lists = ("train", "val", "test")
    amounts = {split: dataset_figures.class_amounts(dataset.split(split), len(names)) for split in lists}

    def draw(split: str, land_class: str, place: int) -> Figure:
        of_class = amounts[split][names.index(land_class)]
        holders = np.argsort(-of_class, kind="stable")[: np.count_nonzero(of_class)]
        if not len(holders):
            return plotting.words_only(f"No patch of the list '{split}' holds {land_class}.")
        rank = min(place, len(holders))
        figure = dataset_figures.patch_and_labels(dataset, split, int(holders[rank - 1]))
        figure.suptitle(f"patch {rank} of {len(holders)} that hold {land_class}", fontsize="medium")
        return figure

    return _live(
        draw,
        split=ipywidgets.Dropdown(options=lists, description="list"),
        land_class=ipywidgets.Dropdown(options=names, description="class"),
        place=_slider(1, 1, 100, description="most first"),
    )


def explore_masks(patches_db: NDArray[np.floating[Any]], quantity: str) -> Any:
    """The first of patches (n, H, W) under other masks, and what copying the visible neighbours makes of it."""
    from .figures import pretraining as pretraining_figures

    side = patches_db.shape[-1]
    # of fewer than sixteen units the largest ratio would leave none visible
    units = [unit for unit in (4, 8, 16, 32, 64) if side % unit == 0 and 4 * unit <= side] or [side // 2]

    def draw(unit_px: int, ratio: float, seed: int) -> Figure:
        mask = pretraining_figures.random_mask(side, unit_px, ratio, seed)
        return pretraining_figures.one_mask(patches_db[0], mask, quantity)

    return _live(
        draw,
        unit_px=ipywidgets.Dropdown(options=units, value=16 if 16 in units else units[-1], description="unit, px"),
        ratio=_slider(0.6, 0.1, 0.9, 0.1),
        seed=_slider(0, 0, 9),
    )


def explore_weights(patches_db: NDArray[np.floating[Any]], quantity: str) -> Any:
    """Patches (n, H, W) and their weights, by scale and way of scaling power."""
    from .figures import pretraining as pretraining_figures

    def draw(weighting: Weighting, scale: float, patch: int) -> Figure:
        return pretraining_figures.one_weight(patches_db[patch - 1], weighting, scale, quantity)

    return _live(
        draw,
        weighting=ipywidgets.Dropdown(options=list(pretraining_figures.WEIGHTINGS), description="weighting"),
        scale=_slider(1.0, 0.25, 3, 0.25),
        patch=_slider(1, 1, len(patches_db)),
    )


def explore_threshold(
    probabilities: NDArray[np.floating[Any]], dataset: PatchDataset, split: str, indices: Sequence[int]
) -> Any:
    """One class as a yes or no, by class and threshold: probabilities (n, classes, H, W) of patches of a list."""
    from .figures import evaluation as evaluation_figures

    part, names = dataset.split(split), dataset.legend.names
    labels = part.gather(list(indices))[1]

    def draw(land_class: str, threshold: float, patch: int) -> Figure:
        index, order = names.index(land_class), np.roll(np.arange(len(indices)), 1 - patch)
        first, quantity = part.db(int(indices[patch - 1]))[0], dataset.signal["quantity"]
        chosen = probabilities[order, index]
        truth = labels[order]
        return evaluation_figures.class_threshold(chosen, truth, first, land_class, index, threshold, quantity)

    return _live(
        draw,
        land_class=ipywidgets.Dropdown(options=names, description="class"),
        threshold=_slider(0.5, 0.02, 0.98, 0.02),
        patch=_slider(1, 1, len(indices)),
    )


def swipe(view: MapView, windows: Mapping[str, PixelWindow]) -> Any:
    """Two layers of a map on one picture, with a line to push between them, on the whole map or a named window."""
    from .figures import map as map_figures

    shown, places = map_figures.layers(view), {"whole map": None, **windows}

    def draw(left: str, right: str, position: float, place: str) -> Figure:
        return map_figures.swipe(view, left, right, position, places[place])

    return _live(
        draw,
        left=ipywidgets.Dropdown(options=shown, value=shown[0]),
        right=ipywidgets.Dropdown(options=shown, value="map"),
        position=_slider(0.5, 0, 1, 0.02),
        place=ipywidgets.Dropdown(options=list(places)),
    )
