"""Checkpoints that are none, that are damaged, or that name code: nothing is run."""

import io
import os
import pickle
import re
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.checkpoints import (
    agree,
    saved,
    swin,
)

from alos2tut.core.errors import Alos2TutError
from alos2tut.networks.conversion import convert_checkpoint


class Hostile:
    """Makes a file when a careless reader opens it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_that_names_code_is_refused_by_that_name(tmp_path, out, form):
    proof, path = tmp_path / "proof", tmp_path / "hostile.pth"
    content = {"model": swin().state_dict(), "config": Hostile(proof)}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"model": Hostile(proof)}))
    else:
        saved(path, content, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(Alos2TutError, match=r"hostile\.pth: names the Python code 'posix\.system'.*nothing was run"):
        convert_checkpoint(path, out)
    assert not proof.exists() and not out.exists()
    if form != "pickle":
        # it is a real one
        torch.load(path, weights_only=False)
        assert proof.exists()


@pytest.mark.parametrize("thing", [eval, types.SimpleNamespace(a=1), re.compile("a"), np.arange(3)])
def test_other_code_is_refused_too(tmp_path, out, thing):
    with pytest.raises(Alos2TutError, match=r"names the Python code"):
        convert_checkpoint(saved(tmp_path / "x.pth", {"model": swin().state_dict(), "x": thing}), out)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_cut_file(tmp_path, out, share, legacy):
    path = saved(tmp_path / "cut.pth", swin().state_dict(), _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(Alos2TutError, match=r"cut\.pth: is (cut off|no checkpoint)"):
        convert_checkpoint(path, out)
    assert not out.exists()


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "is no checkpoint.*it begins with b'version h'"),
        (b"\x80\x02}q\x00.", "is cut off, damaged or no checkpoint"),
        (b"\x10\0\0\0\0\0\0\0{broken", "is cut off, damaged or no checkpoint"),
        (zipped("program/data.pkl", "program/constants.pkl"), r"is a program \(TorchScript"),
        (zipped("IMG-HH"), r"is a ZIP archive .* has no data\.pkl"),
    ],
    ids=["LFS", "pickle", "safetensors", "program", "archive"],
)
def test_no_checkpoint(tmp_path, out, content, message):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(Alos2TutError, match=rf"x\.pth: {message}"):
        convert_checkpoint(tmp_path / "x.pth", out)


def test_other_things_than_checkpoints(tmp_path, out):
    with pytest.raises(Alos2TutError, match="is a folder"):
        convert_checkpoint(tmp_path, out)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Alos2TutError, match="pipe: is a device or a pipe"):
        convert_checkpoint(tmp_path / "pipe", out)
    with pytest.raises(Alos2TutError, match=r"nothing\.pth: there is no such file"):
        convert_checkpoint(tmp_path / "nothing.pth", out)
    two = {f"{x}.{k}": v for k, v in swin().state_dict().items() for x in "ab"}
    for content, message in [
        ([torch.zeros(2)], "holds a list"),
        ({"model": {"conv.weight": torch.zeros(2)}}, r"lacks 'patch_embed\.proj\.weight'"),
        ({"a": swin().state_dict(), "b": {}}, r"lacks 'patch_embed\.proj\.weight'"),
        ({"model": two}, r"has 2 encoders \('a\.', 'b\."),
    ]:
        with pytest.raises(Alos2TutError, match=message):
            convert_checkpoint(saved(tmp_path / "x.pth", content), out)
    convert_checkpoint(saved(tmp_path / "x.pth", swin().state_dict()), out)
    with pytest.raises(Alos2TutError, match="is a file of this package"):
        convert_checkpoint(out, tmp_path / "again.safetensors")
    with pytest.raises(Alos2TutError, match=r"not named \*\.safetensors"):
        convert_checkpoint(tmp_path / "x.pth", tmp_path / "out.pth")
    save_file(swin().state_dict(), out)
    with pytest.raises(Alos2TutError, match="would overwrite what it is made from"):
        convert_checkpoint(out, out)


def test_a_compressed_archive_is_read(tmp_path, out):
    network = swin()
    path = saved(tmp_path / "x.pth", network.state_dict())
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    convert_checkpoint(tmp_path / "y.pth", out)
    agree(out, network, (64, 64))


def doubled(times: int, kind: str = "list") -> bytes:
    """A pickle of few bytes whose containers hold the one before twice."""
    step = {"list": b"(h%cj%cl", "tuple": b"h%ch%c\x86"}[kind].replace(b"j", b"h")
    parts = b"".join(step % (n, n) + b"q%c" % (n + 1) for n in range(times))
    return b"\x80\x02}q\xff(X\x01\x00\x00\x00aK\x01q\x00" + parts + b"u."


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"abc",  # BINUNICODE8
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"abc",  # BINBYTES8
        b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b"abc",  # BYTEARRAY8
        b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"abc",  # LONG4
        b"\x80\x02X" + (2**32 - 1).to_bytes(4, "little") + b"abc",  # BINUNICODE
        b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",  # lists in each other
        b"\x80\x02" + b"(" * 10**5,
        b"\x80\x02" + b"N0" * 10**5 + b"N.",
        b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.",  # itself, within itself
        doubled(40),
        doubled(40, "tuple"),
    ],
    ids=["text", "bytes", "array", "number", "short text", "deep", "marks", "flood", "itself", "lists", "tuples"],
)
@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_a_pickle_that_claims_or_grows_without_end_is_refused(tmp_path, out, content, form):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in {"x/data.pkl": content, "x/version": b"3", "x/byteorder": b"little"}.items():
                archive.writestr(name, part)
    with pytest.raises(Alos2TutError, match=r"x\.pth: (is cut off|holds a list|holds more than|lacks)"):
        convert_checkpoint(path, out)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(10**6, device="meta"),
        torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.ones(1), (10**9, 10**9)),
    ],
    ids=["strides", "meta", "sparse"],
)
def test_a_tensor_that_is_larger_than_its_bytes_is_refused(tmp_path, out, tensor):
    path = saved(tmp_path / "x.pth", {"model": {**swin().state_dict(), "norm.weight": tensor}})
    with pytest.raises(Alos2TutError, match=r"x\.pth: ('[\w.]+' holds a tensor|is cut off|names the Python code)"):
        convert_checkpoint(path, out)


def test_an_archive_that_claims_too_much_is_refused(tmp_path, out):
    with (
        zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x/data/0", "w") as file,
    ):
        for _ in range(300):
            file.write(bytes(2**20))
    with zipfile.ZipFile(tmp_path / "x.pth", "a") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
    with pytest.raises(Alos2TutError, match=r"x\.pth: claims 314,572,.* bytes in an archive of"):
        convert_checkpoint(tmp_path / "x.pth", out)
