"""Manifests of tests, and no way off this machine."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from alos2tut.downloads import fetching


@pytest.fixture(autouse=True)
def stay_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def look_up(host: str, *rest: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(f"the tests do not look up {host}")
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(fetching, "_WAITS_S", (0.0, 0.0, None))
    monkeypatch.setenv("COLUMNS", "116")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def write_manifest(tmp_path: Path) -> Callable[..., Path]:
    def write(*files: dict[str, Any], **changes: Any) -> Path:
        entry = {"name": "some", "title": "Some data", "used_for": "tests", "files": list(files), **changes}
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump({"version": 2, "datasets": [entry]}))
        return path

    return write
