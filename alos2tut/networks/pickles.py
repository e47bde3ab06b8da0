"""Checkpoints of others, read without running or importing anything that a pickle names.

Plain values and tensors come in, a few harmless classes are replaced by stand-ins, and whatever asks for more is
refused by name.
"""

from __future__ import annotations

import argparse
import io
import pickletools
import re
import textwrap
import warnings
import zipfile
import zlib
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.errors import Alos2TutError, quoted, system_error

#: bytes of what a checkpoint holds beside its weights; values in that
_LARGEST_PICKLE, _MOST_VALUES = 16 * 2**20, 2 * 10**6
#: bytes that a ZIP's records may claim together: so many in any case, and so many times its size
_ALWAYS_ALLOWED, _LARGEST_RATIO = 2**28, 100


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
    if path.exists() and not path.is_file():
        raise Alos2TutError("is a device or a pipe, no checkpoint", where=path)
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
        if start.startswith(b"\x80"):
            _check_pickles(_beginning(path), path)
        content = _read_pickle(path, mapped=stored and path.suffix != ".safetensors")
        _check_content(content, path)
    else:
        problem = f"is no checkpoint: neither PyTorch's form nor safetensors, it begins with {start!r}"
        raise Alos2TutError(problem, where=path)
    if not isinstance(content, dict):
        raise Alos2TutError(f"holds a {type(content).__name__}, not weights by name", where=path)
    return {str(key): value for key, value in content.items()}


def _check_archive(path: Path) -> bool:
    """Refuse what is no checkpoint; returns whether its tensors lie there as they are, not compressed."""
    pickles = []
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            for record in records:
                if record.filename.endswith("/data.pkl") and record.file_size <= _LARGEST_PICKLE:
                    pickles.append(io.BytesIO(archive.open(record).read(_LARGEST_PICKLE)))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, ValueError) as error:
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
    claimed, size = sum(record.file_size for record in records), path.stat().st_size
    if claimed > max(_ALWAYS_ALLOWED, _LARGEST_RATIO * size):
        raise Alos2TutError(f"claims {claimed:,} bytes in an archive of {size:,}, which no weights do", where=path)
    if any(record.file_size > _LARGEST_PICKLE for record in records if record.filename.endswith("/data.pkl")):
        raise Alos2TutError(f"has more than {_LARGEST_PICKLE:,} bytes beside its weights", where=path)
    for pickle in pickles:
        _check_pickles(pickle, path)
    return all(record.compress_type == zipfile.ZIP_STORED for record in records)


def _read_pickle(path: Path, *, mapped: bool) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
        warnings.simplefilter("ignore")
        try:
            with open(path, "rb") as file:
                return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
        except Exception as error:  # a broken pickle can lead to any
            named = re.search(r"\bGLOBAL (\S+)", str(error))
            name = named[1] if named else None if zipfile.is_zipfile(path) else _first_global(_beginning(path))
            if name is None:
                raise _damaged(path, error) from None
    raise Alos2TutError(
        f"names the Python code '{name}', which weights do not need, so it was not read; nothing was run",
        where=path,
        remedy="It may do harm: open it with no other tool unless you trust its source. Weights alone "
        "(torch.save(model.state_dict(), …) or safetensors) can be read.",
    )


def _check_pickles(pickles: io.BytesIO, path: Path) -> None:
    """Refuse pickles that claim more bytes than there are, or values that grow without end when they are compared.

    PyTorch's older form has five of them before the weights: a mark, a version, sizes of numbers, the content, names.
    """
    try:
        for _ in range(4):
            heaviest = _heaviest(pickles)
            if heaviest > _MOST_VALUES:
                raise Alos2TutError(f"holds more than {_MOST_VALUES:,} values, as within each other", where=path)
            if pickles.read(1) != b"\x80":
                return
            pickles.seek(-1, io.SEEK_CUR)
    except (ValueError, LookupError, OverflowError, MemoryError, ArithmeticError, AttributeError) as error:
        if _first_global(pickles) is None:
            raise _damaged(path, error) from None


def _heaviest(file: io.BytesIO) -> int:
    """Of all that a pickle makes the most values, where what is taken twice counts twice; nothing is made."""
    # a number for each value on the stack, None for a mark, as in pickletools.dis
    stack: list[int | None] = []
    memo: dict[int, int] = {}
    heaviest = 0
    for operation, argument, _ in pickletools.genops(file):
        name, count = operation.name, len(operation.stack_before)
        taken: list[int | None] = []
        if pickletools.markobject in operation.stack_before or (name == "POP" and stack and stack[-1] is None):
            while (value := stack.pop()) is not None:
                taken.append(value)
            before = operation.stack_before
            count = before.index(pickletools.markobject) if pickletools.markobject in before else 0
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else int(argument or 0)] = stack[-1] or 0
            continue
        taken += [stack.pop() for _ in range(count)]
        made = memo[int(argument or 0)] if name.endswith("GET") else 1 + sum(value or 0 for value in taken)
        heaviest = max(heaviest, made)
        stack += [None if kind is pickletools.markobject else made for kind in operation.stack_after]
    return heaviest


def _beginning(path: Path) -> io.BytesIO:
    """As much of a file as the pickles of a checkpoint may have, in memory: a claim of more finds no more."""
    with open(path, "rb") as file:
        return io.BytesIO(file.read(_LARGEST_PICKLE))


def _check_content(content: Any, path: Path) -> None:
    """Refuse what grows when it is looked at: containers within themselves, tensors larger than their bytes."""
    ahead, seen = [("the file", content)], 0
    while ahead:
        (name, value), seen = ahead.pop(), seen + 1
        if seen > _MOST_VALUES:
            raise Alos2TutError(f"holds more than {_MOST_VALUES:,} values, as containers in each other do", where=path)
        if isinstance(value, dict):
            ahead += value.items()
        elif isinstance(value, (list, tuple, set)):
            ahead += ((name, part) for part in value)
        elif isinstance(value, Tensor):
            is_plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
            if not is_plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                problem = f"{quoted(name)} holds a tensor {tuple(value.shape)} whose numbers are not all in the file"
                raise Alos2TutError(problem, where=path)


def _first_global(pickles: io.BytesIO) -> str | None:
    """The first Python name in a plain pickle, of a form that PyTorch's reader does not know."""
    pickles.seek(0)
    strings: list[str] = []
    # a broken pickle can lead to any error
    with suppress(Exception):
        for operation, argument, _ in pickletools.genops(pickles):
            if operation.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if operation.name == "STACK_GLOBAL":
                return ".".join(strings[-2:])
            if isinstance(argument, str):
                strings.append(argument)
    return None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if "alos2tut" in (file.metadata() or {}):
                raise Alos2TutError("is a file of this package", where=path, remedy="It needs no conversion.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def unpickling_reason(error: Exception) -> str:
    """Why PyTorch's safe reader stopped, in a few words."""
    if named := re.search(r"\bGLOBAL (\S+)", str(error)):
        return f"it names the Python code {named[1]}"
    return textwrap.shorten(str(error).rpartition("WeightsUnpickler error: ")[2], 160) or type(error).__name__


def _damaged(path: Path, error: Exception) -> Alos2TutError:
    problem = f"is cut off, damaged or no checkpoint ({unpickling_reason(error)})"
    return Alos2TutError(problem, where=path, remedy="Copy or download it again.")
