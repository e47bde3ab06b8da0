"""A wheel carries the list of published data, which lies beside the package in a checkout."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithManifest(build_py):
    """Copy ``data_manifest.yaml`` into the package that is built."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "alos2tut", "downloads", "data_manifest.yaml")
            self.copy_file("data_manifest.yaml", str(target))


setup(cmdclass={"build_py": BuildWithManifest})
