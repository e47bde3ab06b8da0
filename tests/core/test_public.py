"""Arguments of wrong types are refused at the doors, by name, before anything is done."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

import alos2tut
from alos2tut import Alos2TutError
from alos2tut.core.public import public
from alos2tut.mapping import DeviceExecutor, MapConfig
from alos2tut.mapping.config import MapConfig as Config

if TYPE_CHECKING:
    from nowhere import Unknown


@public
def door(
    path: "str | Path" = "x",
    count: "int | None" = None,
    share: "float" = 0.5,
    *others: "Any",
    flag: "bool" = False,
    names: "str | Sequence[str | Path]" = (),
    kind: "Literal['a', 'b']" = "a",
    window: "tuple[int, int]" = (0, 0),
    config: "Config" = MapConfig(),  # noqa: B008
    numbers: "Iterable[int]" = (),
    unknown: "Unknown | None" = None,
    **values: "Any",
) -> str:
    """A door."""
    return "passed"


@pytest.mark.parametrize(
    "values",
    [
        {"path": Path("x"), "count": np.int64(3), "share": 1, "flag": np.bool_(True), "names": "x", "kind": "c"},
        {"count": None, "share": np.float32(2), "names": [Path("x"), "y"], "window": [1, 2], "numbers": {3, 4}},
        {"numbers": iter([1]), "unknown": 5, "further": object(), "names": ()},
    ],
)
def test_values_of_the_types_of_the_hints_pass(values):
    assert door(**values) == "passed" and door("x", 3, 0.5, object()) == "passed" and door.__doc__ == "A door."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": 5}, "path: path=5 is not a text or a path"),
        ({"path": b"x"}, "is not a text or a path"),
        ({"count": True}, "count=True is not a whole number or None"),
        ({"count": 2.0}, "count=2.0 is not a whole number"),
        ({"share": "0.5"}, "share='0.5' is not a number"),
        ({"flag": 1}, "flag=1 is not True or False"),
        ({"names": [5]}, r"names=\[5\] is not a text or a sequence \(a text or a path\)"),
        ({"names": np.array([1])}, "names=array"),
        ({"kind": 3}, "kind=3 is not a text"),
        ({"window": "ab"}, "window='ab' is not a tuple"),
        ({"config": {}}, r"config=\{\} is not a MapConfig. load_config makes a MapConfig"),
        ({"numbers": ["1"]}, "not a sequence"),
        ({"numbers": 3}, "not a sequence"),
    ],
)
def test_others_are_refused_by_name(values, message):
    with pytest.raises(Alos2TutError, match=message) as error:
        door(**values)
    assert error.value.where == next(iter(values))
    if "path" in values:
        with pytest.raises(Alos2TutError, match=message):
            door(values["path"])


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (lambda: alos2tut.open_product(5), "path"),
        (lambda: alos2tut.open_product("x", scan="1"), "scan"),
        (lambda: alos2tut.open_dataset(None), "path"),
        (lambda: alos2tut.load_config("map", 3), "profile"),
        (lambda: alos2tut.load_legend(7), "name"),
        (lambda: alos2tut.build_dataset(None), "config"),
        (lambda: alos2tut.pretrain("work"), "config"),
        (lambda: alos2tut.finetune(alos2tut.load_config("map")), "config"),
        (lambda: alos2tut.evaluate({"dataset": "x"}), "config"),
        (lambda: alos2tut.map_scene(3, "s.safetensors", "m.tif"), "product"),
        (lambda: alos2tut.map_scene("p", "s.safetensors", "m.tif", None), "config"),
        (lambda: alos2tut.simulate_product("none", seed="a"), "seed"),
        (lambda: alos2tut.simulate_product("none", size_px="a"), "size_px"),
        (lambda: alos2tut.load_encoder([]), "path"),
        (lambda: alos2tut.export_hub("e.safetensors", "hub", license=3), "license"),
        (lambda: alos2tut.fetch(3), "name"),
        (lambda: DeviceExecutor(2), "devices"),
        (lambda: DeviceExecutor([]), "devices"),
    ],
)
def test_the_doors_of_the_package_are_checked(use, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Alos2TutError) as error:
        use()
    assert error.value.where == name and not list(tmp_path.iterdir())
