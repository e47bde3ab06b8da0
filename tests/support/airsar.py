"""Real labelled L-band radar: the two data sets of the manifest, from the copies at hand."""

from pathlib import Path

from support.products import real_data

from alos2tut.downloads.fetching import fetch_entry
from alos2tut.downloads.manifest import load_manifest


def fetch_airsar(folder: Path) -> Path:
    """The folder, with both data sets: links to the copies, which are complete, so that nothing is downloaded."""
    for name, copies in (("airsar_sanfrancisco", "airsar_sanfrancisco"), ("airsar_flevoland", "airsar_flevoland_1989")):
        source, entry = real_data(copies), load_manifest()[name]
        for file in entry.files:
            link = folder / name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((source / file.name.replace("LICENSE", "LICENSE_repo_mit")).resolve())
        fetch_entry(entry, folder, progress=False)
    return folder
