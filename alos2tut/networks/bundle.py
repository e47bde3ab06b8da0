"""The weights that come with the package, called ``bundled``: an encoder and a segmenter of simulated scenes only.

They lie in ``alos2tut/bundled``, where ``bundle.json`` says what they are; ``benchmarks/bundle.py`` puts them there.
Nothing here imports torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.artifacts import named_path, read_json, sha256_file
from ..core.errors import Alos2TutError, system_errors_named

#: the word that stands for them, wherever weights are named
BUNDLED = "bundled"
#: raised with every change of the weights, so that those of another release are not taken for this one's
BUNDLE_VERSION = 1
FOLDER = Path(__file__).parents[1] / BUNDLED
#: what is there beside ``bundle.json``, each as ``<kind>.safetensors``
KINDS = ("encoder", "segmenter")
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
