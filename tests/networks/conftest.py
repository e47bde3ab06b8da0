"""Fixtures of networks' tests."""

import sys
import types

import pytest


@pytest.fixture
def yacs(monkeypatch):
    """A module as the one that SimMIM's settings are of, to write with; it is gone when the file is read."""
    module = types.ModuleType("yacs.config")
    module.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    yield module
    monkeypatch.undo()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"
