"""Hostile files at the doors of the command line: each is refused in a line, in bounded memory and time."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import rasterio

from alos2tut import Alos2TutError, open_product
from alos2tut.dataset.label_arrays import open_array

#: runs all commands of the table in one process with little memory
RUN = """
import json, resource, sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from alos2tut.cli import main
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)
for arguments in json.load(sys.stdin):
    told = StringIO()
    with redirect_stderr(told), redirect_stdout(told):
        try:
            status = main(arguments)
        except BaseException as error:
            status = repr(error)
    print(json.dumps([status, told.getvalue()]))
"""


def _tar_of_claims(path):
    """A tar whose one member claims 10^15 bytes (base-256 numbers, as GNU tar writes them)."""
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("IMG-HH"))
    content = bytearray(path.read_bytes())
    content[124:136] = b"\x80" + (10**15).to_bytes(11, "big")
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * ord(" ") + sum(content[156:512]))
    path.write_bytes(content)


BOMB = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 29))
#: name of a file, what it holds or who writes it, the command (FILE stands for it), what it says
CASES = [
    ("bomb.yaml", BOMB, ["build-dataset", "--config", "FILE"], "more than 10,000 values"),
    ("deep.yaml", "[" * 10**5, ["build-dataset", "--config", "FILE"], "not valid YAML"),
    ("endless", lambda path: path.symlink_to("/dev/zero"), ["build-dataset", "--config", "FILE"], "no such file"),
    ("pipe", os.mkfifo, ["build-dataset", "--config", "FILE"], "no such file"),
    ("legend.yaml", "name: [" + "1," * 2**20, ["build-dataset", "p", "--labels", "l", "--legend", "FILE"], "not valid"),
    ("endless.yaml", lambda path: path.symlink_to("/dev/zero"), ["fetch", "--list", "--manifest", "FILE"], "no such"),
    ("list.csv", "path\n" + "x" * 10**6, ["build-dataset", "FILE", "--labels", "l"], "field"),
    ("nul.csv", "path\n\0", ["build-dataset", "FILE", "--labels", "l"], "NUL"),
    ("d/dataset.json", "[" * 10**5, ["info", "FILE/.."], "not valid JSON"),
    ("e/dataset.json", lambda path: path.symlink_to("/dev/zero"), ["verify", "FILE/.."], ""),
    ("f/dataset.json", '{"schema": 1, "schema": 1}', ["info", "FILE/.."], "given twice"),
    ("claims.tar", _tar_of_claims, ["info", "FILE"], "claim 1,000,000,000,000,000"),
    ("summary.txt", "\x1b[2J" * 2**19, ["verify", "FILE"], ""),
]


def test_hostile_files_at_the_command_line(tmp_path):
    commands = []
    for name, content, command, _ in CASES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content) if isinstance(content, str) else content(path)
        commands.append([part.replace("FILE/..", str(path.parent)).replace("FILE", str(path)) for part in command])
    # a generous limit, for what would never end
    ran = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(answers) == len(CASES), ran.stderr
    for (name, _, _, message), (status, told) in zip(CASES, answers, strict=True):
        assert status == 2 and message in told and "\x1b" not in told and len(told) < 2000, (name, status, told)


def test_names_in_archives_steer_no_terminal(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("../\x1b[31mIMG\x07\u202eHH", b"x")
    with pytest.raises(Alos2TutError, match=r"x1b\[31mIMG") as refused:
        open_product(tmp_path / "x.zip")
    assert not set("\x1b\x07\u202e") & set(str(refused.value))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_numbers_that_no_backscatter_has_are_no_image_without_data(tmp_path):
    path = tmp_path / "hundredths.tif"
    stored = np.full((20, 30), -1250, np.int16)  # −12.5 dB in hundredths, and no tag says so
    with rasterio.open(path, "w", driver="GTiff", dtype="int16", count=1, height=20, width=30) as raster:
        raster.write(stored, 1)
    said = {"scale": "db", "quantity": "gamma0", "polarization": "HH"}
    with pytest.raises(Alos2TutError, match="all numbers of all pixels lie beyond ±300 dB"):
        open_product(path, **said)
    with rasterio.open(path, "r+") as raster:
        raster.scales = (0.01,)
    product = open_product(path, **said)
    assert product.read_db()[3, 4] == pytest.approx(-12.5, abs=1e-4)
    np.testing.assert_allclose(product.bands["HH"].thumbnail(10), 10 ** (-12.5 / 20), rtol=1e-5)


def test_labels_in_hdf5_are_named(tmp_path):
    path = tmp_path / "labels.mat"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(504))
    with pytest.raises(Alos2TutError, match="is HDF5"):
        open_array(str(path))
