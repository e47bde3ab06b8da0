"""What a file of weights says of itself, which needs no torch to be read: see :mod:`alos2tut.networks.weights`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..core.artifacts import named_path, parse_json
from ..core.errors import Alos2TutError, system_errors_named
from ..core.public import public

#: key of a file's metadata, and version of the header under it
KEY, FORMAT = "alos2tut", 1
REMEDY = "Make the file anew, or copy it again."
#: characters of a header
_LONGEST_HEADER = 4 * 2**20


@public
def read_header(path: str | Path) -> dict[str, Any]:
    """What a file of ours says about its weights, of whatever kind they are; they are not read.

    Raises:
        Alos2TutError: no such file, no safetensors file, or no header of ours.
    """
    path = named_path(path, "weights")
    if not path.is_file():
        raise Alos2TutError("there is no such file", where=path)
    with opened_weights(path, "np") as file:
        metadata = file.metadata() or {}
    text = metadata.get(KEY, "")
    try:
        header = parse_json(text[:_LONGEST_HEADER], where=path)
    except Alos2TutError as error:
        raise Alos2TutError(
            f"has no header '{KEY}' ({error.problem})" if text else f"has no header '{KEY}'",
            where=path,
            remedy="It was not written by this package: convert it first.",
        ) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise Alos2TutError(f"the header's 'format' is not {FORMAT}", where=path, remedy=REMEDY)
    provenance = header.get("provenance", {})
    if not (isinstance(provenance, dict) and isinstance(provenance.get("made_from", {}), dict)):
        raise Alos2TutError("the header's 'provenance' and its 'made_from' are no objects", where=path, remedy=REMEDY)
    for name, kind, what in (("simulated", bool, "neither true nor false"), ("attribution", str, "no text")):
        if not isinstance(header.get(name, kind()), kind):
            raise Alos2TutError(f"the header's '{name}' is {what}", where=path, remedy=REMEDY)
    return header


@contextmanager
def opened_weights(path: Path, framework: str = "pt") -> Iterator[Any]:
    """A safetensors file, open; its tensors are of that framework: "pt" or "np".

    Raises:
        Alos2TutError: it cannot be read, is cut off or no such file.
    """
    # its library takes any file that it cannot open for missing
    with system_errors_named(path, "cannot be read"), open(path, "rb"):
        pass
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise Alos2TutError(f"is cut off or no safetensors file ({error})", where=path, remedy=REMEDY) from None
