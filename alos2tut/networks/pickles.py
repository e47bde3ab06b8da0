"""Checkpoints of others, read without running or importing anything that a pickle names.

Plain values and tensors come in, a few harmless classes are replaced by stand-ins, and whatever asks for more is
refused by name.
"""

from __future__ import annotations

import argparse
import pickletools
import re
import textwrap
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.errors import Alos2TutError, system_error


class _Mapping:
    """Stands for a class of mappings: the unpickler fills an ordered dictionary in its place."""

    def __new__(cls, *args: Any) -> Any:
        """An empty dictionary, whatever the pickle gives."""
        return OrderedDict()


class _Nothing:
    """Stands for a number of NumPy's, which no weights are: takes everything and does nothing."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


#: what a checkpoint may name beyond plain values and tensors, and what takes its place; none of it is imported
_STAND_INS = {
    "yacs.config.CfgNode": _Mapping,
    "numpy.dtype": _Nothing,
    "numpy.core.multiarray.scalar": _Nothing,
    "numpy._core.multiarray.scalar": _Nothing,
}
# the unpickler finds a class by the name it bears
_ALLOWED: list[Any] = [
    argparse.Namespace,
    *(
        type(name.rpartition(".")[2], (base,), {"__module__": name.rpartition(".")[0]})
        for name, base in _STAND_INS.items()
    ),
]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, by its own names; nothing in it is run, and tensors stay in the file where they can.

    Args:
        path: a file of PyTorch's or of safetensors', by its content, not by its name.

    Raises:
        Alos2TutError: no file, no checkpoint, a damaged one, a program (TorchScript), or one that names Python code.
    """
    path = Path(path)
    if path.is_dir():
        raise Alos2TutError("is a folder", where=path, remedy="Name the checkpoint in it.")
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise Alos2TutError("there is no such file", where=path) from None
    except OSError as error:
        raise system_error(error, path, "cannot be read") from None
    content: Any
    if start[8:] == b"{":
        content = _read_safetensors(path)
    elif start.startswith((b"PK\x03\x04", b"\x80")):
        # PyTorch would read a .safetensors as another form, and maps only what is not compressed
        stored = start.startswith(b"PK") and _check_archive(path)
        content = _read_pickle(path, mapped=stored and path.suffix != ".safetensors")
    else:
        problem = f"is no checkpoint: neither PyTorch's form nor safetensors, it begins with {start!r}"
        raise Alos2TutError(problem, where=path)
    if not isinstance(content, dict):
        raise Alos2TutError(f"holds a {type(content).__name__}, not weights by name", where=path)
    return {str(key): value for key, value in content.items()}


def _check_archive(path: Path) -> bool:
    """Refuse what is no checkpoint; returns whether its tensors lie there as they are, not compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    names = [record.filename for record in records]
    if any(name.endswith("/constants.pkl") for name in names):
        raise Alos2TutError(
            "is a program (TorchScript), not a file of weights",
            where=path,
            remedy="Ask its maker for the weights alone: torch.save(model.state_dict(), …).",
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise Alos2TutError("is a ZIP archive without weights: it has no data.pkl", where=path)
    return all(record.compress_type == zipfile.ZIP_STORED for record in records)


def _read_pickle(path: Path, *, mapped: bool) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
        warnings.simplefilter("ignore")
        try:
            with open(path, "rb") as file:
                return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
        except Exception as error:  # a broken pickle can lead to any
            named = re.search(r"\bGLOBAL (\S+)", str(error))
            name = named[1] if named else None if zipfile.is_zipfile(path) else _first_global(path)
            if name is None:
                raise _damaged(path, error) from None
    raise Alos2TutError(
        f"names the Python code '{name}', which weights do not need, so it was not read; nothing was run",
        where=path,
        remedy="It may do harm: open it with no other tool unless you trust its source. Weights alone "
        "(torch.save(model.state_dict(), …) or safetensors) can be read.",
    )


def _first_global(path: Path) -> str | None:
    """The first Python name in a plain pickle, of a form that PyTorch's reader does not know."""
    strings: list[str] = []
    try:
        with open(path, "rb") as file:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if operation.name == "STACK_GLOBAL":
                    return ".".join(strings[-2:])
                if isinstance(argument, str):
                    strings.append(argument)
    except (ValueError, OSError):
        pass
    return None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if "alos2tut" in (file.metadata() or {}):
                raise Alos2TutError("is a file of this package", where=path, remedy="It needs no conversion.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> Alos2TutError:
    reason = textwrap.shorten(str(error).rpartition("WeightsUnpickler error: ")[2], 160) or type(error).__name__
    return Alos2TutError(
        f"is cut off, damaged or no checkpoint ({reason})", where=path, remedy="Copy or download it again."
    )
