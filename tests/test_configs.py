"""Settings: profiles, files and single values; names and types checked."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import get_args, get_overloads, get_type_hints

import pytest

from alos2tut import Alos2TutError, load_config
from alos2tut.configs import STAGES, describe_settings, encoder_presets, profile_names, split_overrides
from alos2tut.core.config import from_dict, settings_for_key
from alos2tut.networks.config import EncoderConfig
from alos2tut.pretraining.config import PretrainConfig
from alos2tut.training.module import learning_rate, number_of_steps


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("profile", profile_names())
def test_every_profile_loads_for_every_stage(stage, profile):
    config = load_config(stage, profile)
    assert type(config) is STAGES[stage]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.work_dir = "elsewhere"


def test_types_name_the_config_of_every_stage():
    hints = [get_type_hints(overload) for overload in get_overloads(load_config.__wrapped__)]
    assert {get_args(hint["stage"]): hint["return"] for hint in hints[:-1]} == {(s,): c for s, c in STAGES.items()}


def test_the_paper_profile_holds_the_published_numbers():
    assert profile_names() == ["smoke", "quick", "laptop", "paper"]
    pretrain, finetune = load_config("pretrain", "paper"), load_config("finetune", "paper")
    assert pretrain.encoder.depths == (2, 2, 18, 2) and pretrain.encoder.embed_dim == 128
    assert (pretrain.batch_size, pretrain.epochs, pretrain.base_lr, pretrain.mask_ratio) == (2048, 800, 1e-4, 0.6)
    assert (finetune.batch_size, finetune.epochs, finetune.base_lr) == (256, 100, 1.25e-4)
    assert (load_config("dataset", "paper").patch_px, load_config("dataset", "paper").looks) == (256, 2)


def test_encoders_by_name():
    paper = load_config("pretrain", "paper", overrides=["encoder=paper"]).encoder
    assert paper == EncoderConfig() and paper.position == "learned" and paper.window_size == 8
    # a name stands for a whole encoder: nothing of the profile's stays; single keys refine it
    tiny = load_config("pretrain", "quick", overrides=["encoder=tiny", "encoder.window_size=4"]).encoder
    assert (tiny.embed_dim, tiny.depths, tiny.window_size) == (96, (2, 2, 6, 2), 4)
    assert load_config("finetune", "quick", encoder="small").encoder.depths == (2, 2, 18, 2)
    vit = load_config("pretrain", encoder="paper_vit").encoder
    assert (vit.depths, vit.num_heads, vit.layer_scale, vit.patch_size) == ((12,), (12,), 0.1, 16)
    assert vit.shared_relative_position and vit.position == "none"
    assert 32 % (8 * EncoderConfig(**encoder_presets()["patch32"]).patch_size) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("block_m", "buffer_m") for value in (math.inf, math.nan, 1e300, -1.0)),
        ("block_m", 1e-300),
        ("temperature", math.nan),
        ("points", 10**19),
        ("max_class_share", {"forest": math.nan}),
        ("max_class_share", {"forest": 1.1}),
        ("products", ["a", "b\0"]),
        ("labels", "a\0"),
        ("crs", "EPSG:326\0"),
    ],
)
def test_settings_of_a_dataset_that_cannot_be_are_refused(name, value):
    with pytest.raises(Alos2TutError, match=f"dataset settings: {name}") as refused:
        load_config("dataset", **{name: value})
    assert "\0" not in str(refused.value)


#: what no count, share, rate or list of them should be
ODD = (".nan", ".inf", "-.inf", "-1", "0", "1e30", f"1{'0' * 30}", "[]", "[1]", "[0, 1, 2, 3, 4, 5, 6]", "[.nan, .nan]")
#: numbers that may be infinite: the norm that is not clipped, and the temperature at which classes are drawn alike; and
#: what stands for no data, which may be any
UNBOUNDED = {"clip_norm", "temperature", "no_data"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_number_has_a_domain_and_what_lies_in_it_leads_on(stage):
    keys = [(key, str(kind)) for key, *_, kind in describe_settings(stage) if re.search("int|float|tuple", str(kind))]
    assert keys
    for key, kind in keys:
        taken = set()
        for value in (*ODD, "[2, 1]"):
            try:
                config = load_config(stage, "smoke", overrides=[f"{key}={value}"])
            except Alos2TutError as error:
                assert key.rpartition(".")[2] in str(error), (key, value)
                continue
            taken.add(value)
            json.dumps(settings_for_key(config), allow_nan=False)
            if stage in ("pretrain", "finetune"):
                steps = number_of_steps(config, 1000)
                assert all(0 <= learning_rate(config, step, steps) < 2000 for step in (0, steps // 2, steps - 1))
        if "str" not in kind and key not in UNBOUNDED | {"size_px"}:
            assert taken <= {"0", "[]", "[1]", "[2, 1]"}, (key, taken)


@pytest.mark.parametrize(
    ("stage", "override", "message"),
    [
        ("pretrain", "betas=[2,3]", r"betas\.0=2.*less than 1"),
        ("pretrain", "betas=[0.9]", r"betas\.1"),
        ("pretrain", "encoder.mlp_ratio=.inf", r"encoder\.mlp_ratio=inf.*finite"),
        ("finetune", "encoder.depths=[1000000,1,1,1]", r"encoder\.depths\.0=1000000.*256"),
        ("pretrain", "lr_drops=[5]", r"lr_drops\.0=5.*less than 1"),
        ("pretrain", "lr_drops=[.nan]", r"lr_drops\.0=nan"),
        ("pretrain", "lr_drops=[0.9,0.5]", "lr_drops do not rise"),
        ("pretrain", "weight_percentiles=[99,1]", "weight_percentiles fall"),
        ("compare", "budgets=[10,10]", "a budget stands twice"),
        ("dataset", "off_nadir_deg=[28,95]", r"off_nadir_deg\.1=95.*90"),
        ("simulate", "corner=[.nan,3]", r"corner\.0=nan"),
    ],
)
def test_values_outside_their_domain_are_refused_with_the_range(stage, override, message):
    with pytest.raises(Alos2TutError, match=message):
        load_config(stage, overrides=[override])


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_says_what_it_means(stage):
    described = describe_settings(stage)
    assert len({key for key, *_ in described}) == len(described) >= 3
    assert [key for key, _, text, _ in described if len(text) < 5] == []
    assert ("encoder.depths" in [key for key, *_ in described]) == (stage in ("pretrain", "finetune"))


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        pytest.param("lr=1e-4", "lr", 1e-4, id="a number that YAML reads as text"),
        pytest.param("steps=null", "steps", None, id="none"),
        pytest.param(" steps = 20 ", "steps", 20, id="spaces"),
        pytest.param("betas=[0.9, 0.95]", "betas", (0.9, 0.95), id="a list becomes a tuple"),
        pytest.param("lr_drops=[]", "lr_drops", (), id="an empty list"),
        pytest.param("dataset=a=b", "dataset", "a=b", id="an equals sign in the value"),
    ],
)
def test_values_become_the_type_of_their_field(override, field, value):
    found = getattr(load_config("pretrain", overrides=[override]), field)
    assert found == value and type(found) is type(value)


def test_nested_overrides_change_one_key_and_keep_the_profiles_others():
    quick = load_config("pretrain").encoder
    changed = load_config("pretrain", overrides=["encoder.depths=[1,1,2,1]", "encoder.window_size=8"]).encoder
    assert changed == dataclasses.replace(quick, depths=(1, 1, 2, 1), window_size=8)


def test_later_sources_win_over_earlier_ones(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("seed: 1\nlr: 1e-2\nencoder: {embed_dim: 16}\n")
    by_file = load_config("pretrain", file=path)
    assert (by_file.seed, by_file.lr, by_file.encoder.embed_dim) == (1, 0.01, 16)
    assert by_file.encoder.depths == load_config("pretrain").encoder.depths
    assert load_config("pretrain", file=path, overrides=["seed=2"]).seed == 2
    assert load_config("pretrain", file=path, overrides=["seed=2"], seed=3).seed == 3
    assert load_config("pretrain", file=path, overrides=["seed=2"], seed=None).seed == 2


def test_paths_may_be_text_or_pathlibs_one_or_several_and_a_temperature_infinite():
    given = {"products": Path("a/b"), "labels": [Path("c"), "d"], "legend": Path("my.yaml"), "temperature": math.inf}
    config = load_config("dataset", **given)
    assert (config.products, config.labels, config.legend) == (("a/b",), ("c", "d"), "my.yaml")
    assert config.temperature == math.inf


@pytest.mark.parametrize(
    ("override", "message"),
    [
        pytest.param("stesp=2", r"unknown key 'stesp'.*'steps'", id="key"),
        pytest.param("encoder.depth=2", r"unknown key 'encoder\.depth'.*'depths'", id="nested key"),
        pytest.param("steps=many", r"steps='many'", id="no number"),
        pytest.param("lr=.nan", r"lr=nan", id="not a number"),
        pytest.param("mask_ratio=1.5", r"mask_ratio=1\.5", id="range"),
        pytest.param("mask_ratio=0", "mask_ratio", id="nothing masked"),
        pytest.param("loss=l3", r"loss='l3'.*'l1'", id="choice"),
        pytest.param("weight_percentiles=[99,1]", "weight_percentiles fall", id="percentiles that fall"),
        pytest.param("encoder=5", r"encoder", id="no encoder"),
        pytest.param("encoder=tiney", r"unknown encoder 'tiney'.*'tiny'", id="encoder by a wrong name"),
        pytest.param("encoder.depths=[1]", "depths of a swin has 4 numbers, not 1", id="one depth"),
        pytest.param("encoder.depths=[2,0,2,2]", r"encoder\.depths\.1=0", id="no block"),
        pytest.param("encoder=paper_vit;encoder.num_heads=[1,2,3,4]", "a vit has 1 number, not 4", id="heads of a vit"),
        pytest.param("encoder.layer_scale=0.1", "belong to a vit", id="of the other kind"),
        pytest.param("lr", r"'lr' is not.*key=value", id="no value"),
        pytest.param("=1", r"key=value", id="no key"),
        pytest.param("init=", r"'init=' gives no value.*null", id="empty value"),
        pytest.param("init= ", r"gives no value", id="blank value"),
        pytest.param("init=''", r"init='': is empty", id="empty text"),
        pytest.param("lr=[1", r"cannot be read", id="broken value"),
        pytest.param("steps=010", r"'steps=010' cannot be read: .*no plain decimal number", id="octal value"),
    ],
)
def test_what_is_not_understood_is_refused_with_advice(override, message):
    with pytest.raises(Alos2TutError, match=message):
        load_config("pretrain", overrides=override.split(";"))


@pytest.mark.parametrize(
    ("given", "values", "message"),
    [
        (["pretrian"], {}, r"unknown stage.*'pretrain'"),
        (["pretrain", "quik"], {}, r"unknown profile 'quik'.*'quick'"),
        (["pretrain", None], {}, "profile=None is not a text"),
        (["pretrain"], {"mask_raito": 0.5}, r"'mask_ratio'"),
        (["dataset"], {"products": 3}, r"products"),
        (["dataset"], {"products": ""}, r"products.0='': is empty"),
        (["dataset"], {"beam": " "}, r"beam=' ': is empty"),
        (["evaluate"], {"baseline": ""}, r"baseline='': is empty"),
        (["compare"], {"starts": {"pretrained": ""}}, r"starts.pretrained='': is empty"),
    ],
)
def test_arguments_that_are_not_understood_are_refused_with_advice(given, values, message):
    with pytest.raises(Alos2TutError, match=message):
        load_config(*given, **values)


@pytest.mark.parametrize(
    ("stage", "values"),
    [
        ("map", {"batch_size": "x"}),
        ("map", {"bach_size": 1}),
        ("pretrain", {"encoder": {"depht": 3}}),
        ("dataset", {"area": [1, 2]}),
        ("evaluate", {"dataset": 5}),
        ("simulate", {"seed": -1}),
    ],
)
def test_what_is_wrong_is_told_alike_by_a_config_made_in_python(stage, values):
    with pytest.raises(Alos2TutError) as by_name:
        load_config(stage, **values)
    with pytest.raises(Alos2TutError) as by_class:
        STAGES[stage](**values)
    assert str(by_class.value) == str(by_name.value) and next(iter(values)) in str(by_class.value)
    with pytest.raises(Alos2TutError, match=f"{stage} settings: 5 is given without the name"):
        STAGES[stage](5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"a: [", "not valid YAML"),
        (b"\xff\xfe", "not valid YAML"),
        (b"- 1\n- 2\n", "no 'key: value'"),
        (b"", "no 'key: value'"),
        (b"1: 2\n", "unknown key '1'"),
        (b"encoder: {1: 2}\n", "encoder"),
        (b"init: ''\n", "init='': is empty"),
        (b"work_dir:\n", "work_dir=None"),
    ],
)
def test_a_settings_file_that_is_none_is_named(tmp_path, content, message):
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Alos2TutError, match=message) as refused:
        load_config("pretrain", file=path)
    assert str(path) in str(refused.value)


def test_overrides_are_dealt_to_their_stages():
    by_stage = split_overrides("pretrain.steps=20; finetune.lr=1e-3;\n dataset.patch_px=64;")
    assert by_stage["pretrain"] == ["steps=20"] and by_stage["finetune"] == ["lr=1e-3"]
    assert by_stage["dataset"] == ["patch_px=64"] and by_stage["map"] == []
    for text in ("steps=20", "pretrian.steps=20", "pretrain"):
        with pytest.raises(Alos2TutError, match=r"overrides.*pretrain"):
            split_overrides(text)


def test_places_and_speed_do_not_decide_the_result():
    allowed = load_config("finetune", allow_other_signal=True)
    assert settings_for_key(allowed) == settings_for_key(load_config("finetune"))
    one = load_config("pretrain", dataset="a", work_dir="b", devices=2, loader_workers=3)
    assert settings_for_key(one) == settings_for_key(load_config("pretrain"))
    assert settings_for_key(load_config("pretrain", seed=1)) != settings_for_key(one)


def test_a_maps_key_is_what_it_was_before_its_settings_became_many():
    others = {"probability": True, "entropy": True, "preview": False, "overwrite": True, "labels": "l"}
    assert settings_for_key(load_config("map", **others)) == {"overlap_px": None, "batch_size": 32, "flips": False}
    for changed in ({"convert": True}, {"polarization": "HV"}):
        assert settings_for_key(load_config("map", **changed)).items() > changed.items()


def test_settings_survive_a_file():
    config = load_config("pretrain", "laptop", dataset="d")
    assert from_dict(PretrainConfig, dataclasses.asdict(config), where="run.json") == config
    with pytest.raises(Alos2TutError, match=r"run\.json: unknown key 'stepz'.*'steps'"):
        from_dict(PretrainConfig, {"stepz": 1}, where="run.json")
