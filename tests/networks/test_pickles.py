"""Checkpoints that are none, that are damaged, or that name code: nothing is run."""

import io
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
