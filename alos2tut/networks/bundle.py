"""The weights that come with the package, called ``bundled``: an encoder and a segmenter of simulated scenes only.

They lie in ``alos2tut/bundled``, where ``bundle.json`` says what they are; ``benchmarks/bundle.py`` puts them there.
Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.artifacts import named_path, read_json, sha256_file
from ..core.errors import Alos2TutError, system_errors_named
from ..core.tables import Interval
from ..core.validation import is_count, is_number

#: the word that stands for them, wherever weights are named
BUNDLED = "bundled"
#: raised with every change of the weights, so that those of another release are not taken for this one's
BUNDLE_VERSION = 1
FOLDER = Path(__file__).parents[1] / BUNDLED
#: what is there beside ``bundle.json``, each as ``<kind>.safetensors``
KINDS = ("encoder", "segmenter")
#: the weights in a folder of :func:`alos2tut.export_hub`, of whatever kind
HUB_FILE = "model.safetensors"
_REMEDY = "Install the package anew, or name weights of your own."


def named_weights(path: str | Path, what: str = "weights") -> Path:
    """A path of weights as the user gave it; of the word ``bundled`` the folder of those that come with the package.

    The word means these also where a file or folder of that name lies beside: that one is ``./bundled`` (as text;
    :class:`pathlib.Path` drops the ``./``, and takes ``absolute()``).

    Raises:
        Alos2TutError: an empty path, or as :func:`read_bundle`.
    """
    if str(path) != BUNDLED:
        return named_path(path, what)
    read_bundle()
    return FOLDER


def read_bundle() -> dict[str, Any]:
    """What ``bundle.json`` says of the weights, whose every byte is checked.

    Raises:
        Alos2TutError: no weights in this installation, those of another version than the package's, or a file that is
            missing or damaged.
    """
    path = FOLDER / "bundle.json"
    if not path.is_file():
        raise Alos2TutError("this installation has no bundled weights", where=path, remedy=_REMEDY)
    content: Any = read_json(path)
    if not (isinstance(content, dict) and isinstance(files := content.get("files"), dict)):
        raise Alos2TutError("describes no weights", where=path, remedy=_REMEDY)
    if (version := content.get("bundle")) != BUNDLE_VERSION:
        problem = f"is of version {version} of the bundled weights, the package of version {BUNDLE_VERSION}"
        raise Alos2TutError(problem, where=path, remedy=_REMEDY)
    for file in (FOLDER / f"{kind}.safetensors" for kind in KINDS):
        with system_errors_named(file, "cannot be read", _REMEDY):
            found = sha256_file(file)
        if found != files.get(file.name):
            raise Alos2TutError("is damaged: it is not the file of bundle.json", where=file, remedy=_REMEDY)
    return content


def is_installed() -> bool:
    """Whether this installation has bundled weights; whether they are whole, :func:`read_bundle` says."""
    return (FOLDER / "bundle.json").is_file()


@dataclass(frozen=True)
class Published:
    """A number of the longer run, as ``docs/results.md`` has it: of simulated scenes, with a 95 % interval.

    A score's interval is over draws of training patches (and, where they were varied, first weights), a difference's
    over these and over test ground.

    Args:
        method: a key of ``evidence.yaml``: ``floor``, ``random``, ``chosen``, ...
        name: the same in words.
        minus: the key of what was subtracted on the same draws; None: nothing was, it is a score.
        labels: labelled patches.
        miou: on test ground that nothing was chosen on; or the difference.
        runs: trainings that it is the mean of.
    """

    method: str
    name: str
    minus: str | None
    labels: int
    miou: Interval
    runs: int


def published_results() -> list[Published]:
    """The final comparison of the longer run, at its standard level; empty if the weights came without.

    Raises:
        Alos2TutError: as :func:`read_bundle`; or a table that is none.
    """
    content = read_bundle()
    return [_published(entry) for entry in content.get("results", [])]


def _published(entry: Any) -> Published:
    # what is missing is None, which is neither a text nor a number
    value: dict[str, Any] = dict.fromkeys(("method", "name", "minus", "labels", "miou", "low", "high", "runs"))
    value |= entry if isinstance(entry, dict) else {}
    miou, low, high = value["miou"], value["low"], value["high"]
    ends = (miou, miou) if low is None and high is None else (low, high)
    named = all(isinstance(text, str) for text in (value["method"], value["name"], value["minus"] or ""))
    counted = is_count(value["labels"]) and is_count(value["runs"])
    if not (named and counted and all(map(is_number, (miou, *ends))) and abs(miou) <= 1 and ends[0] <= miou <= ends[1]):
        problem = f"names a result that is none: {str(entry)[:160]}"
        raise Alos2TutError(problem, where=FOLDER / "bundle.json", remedy=_REMEDY)
    about = {key: value[key] for key in ("method", "name", "minus", "labels", "runs")}
    return Published(**about, miou=Interval(miou, low, high))
