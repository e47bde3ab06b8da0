"""A wheel carries the list of published data, which lies beside the package in a checkout."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithManifest(build_py):
    """Build from nothing, whatever an older build left, and copy ``data_manifest.yaml`` into the package."""

    def run(self) -> None:
        """Clean, build, then copy."""
        if not self.editable_mode:
            # setuptools packs all that lies here, also modules that the source no longer has
            shutil.rmtree(Path(self.build_lib, "alos2tut"), ignore_errors=True)
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "alos2tut", "downloads", "data_manifest.yaml")
            self.copy_file("data_manifest.yaml", str(target))


setup(cmdclass={"build_py": BuildWithManifest})
