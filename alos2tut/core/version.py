"""The version of the package, which pyproject.toml takes from here: to ask the installer takes time at each start."""

__version__ = "0.2.0"
