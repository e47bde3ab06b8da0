"""Weights in and out, and what is refused."""

import dataclasses
import json
import warnings
from functools import partial
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import networks
from support.networks import SIGNAL
from support.rights import files_of_at_most

from alos2tut.core.errors import Alos2TutError, Alos2TutWarning
from alos2tut.dataset.encoding import SPACING_TOLERANCE, Statistics
from alos2tut.dataset.store import open_dataset
from alos2tut.networks import weights
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder, build_encoder
from alos2tut.networks.published import export_checkpoint
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import (
    check_signal,
    load_encoder,
    load_segmenter,
    read_header,
    read_weights,
    save_encoder,
    save_segmenter,
    settle_statistics,
)

TINY = EncoderConfig(**networks.TINY)
STATISTICS = Statistics((-10.4,), (5.8,))


@pytest.fixture
def encoder_file(tmp_path):
    torch.manual_seed(0)
    encoder = SwinEncoder(TINY, (32, 48))
    path = tmp_path / "encoder.safetensors"
    _save(path, encoder)
    return path


def _save(path, encoder, simulated=False, **options):
    kept = {
        "statistics": STATISTICS,
        "signal": SIGNAL,
        "provenance": {"dataset": "abc"},
        "objective": {"name": "simmim"},
    }
    save_encoder(path, encoder, simulated=simulated, **kept, **options)


def _rewrite(path, *, header=None, tensors=None, drop=()):
    content = {**read_header(path), **(header or {})}
    content = {key: value for key, value in content.items() if key not in drop}
    save_file({**load_file(path), **(tensors or {})}, path, metadata={"alos2tut": json.dumps(content)})


def test_encoder_comes_back_equal(encoder_file):
    torch.manual_seed(0)
    original = SwinEncoder(TINY, (32, 48)).eval()
    loaded = load_encoder(encoder_file)
    x = torch.randn(1, 1, 32, 48)
    assert torch.equal(loaded(x), original(x)) and not loaded.training
    assert (loaded.config, loaded.image_px, loaded.statistics, loaded.signal) == (TINY, (32, 48), STATISTICS, SIGNAL)
    assert loaded.header["provenance"] == {"dataset": "abc"}


def test_half_precision_takes_half_the_bytes_and_is_read_as_float32(encoder_file, tmp_path):
    half, encoder = tmp_path / "half.safetensors", load_encoder(encoder_file)
    _save(half, encoder, half=True)
    assert half.stat().st_size < 0.55 * encoder_file.stat().st_size
    assert read_header(half) == read_header(encoder_file) | {"precision": "float16"}
    kept, found = load_file(half), read_weights(half, "encoder")[1]
    for name, tensor in encoder.state_dict().items():
        assert kept[name].dtype == (torch.float16 if tensor.is_floating_point() else tensor.dtype)
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], kept[name].to(tensor.dtype))
    assert all(torch.equal(tensor, found[name]) for name, tensor in load_encoder(half).state_dict().items())
    # a file of any other precision, too
    _rewrite(encoder_file, tensors={name: t.double() for name, t in found.items() if t.is_floating_point()})
    assert {t.dtype for t in read_weights(encoder_file, "encoder")[1].values()} <= {torch.float32, torch.int64}
    with torch.no_grad():
        next(encoder.parameters()).fill_(1e5)
    with pytest.raises(Alos2TutError, match=r"half\.safetensors: '\w.*' is beyond half precision"):
        _save(half, encoder, half=True)


def test_weights_are_written_whole_or_not_at_all(tmp_path):
    encoder_file = tmp_path / "encoder.safetensors"
    _save(encoder_file, SwinEncoder(TINY, (64, 64)))
    before = encoder_file.read_bytes()
    exports = {"microsoft": tmp_path / "x.pth", "authors": tmp_path / "x.safetensors"}
    calls = [lambda: _save(encoder_file, SwinEncoder(TINY, (64, 64)))]
    calls += [partial(export_checkpoint, encoder_file, path, layout) for layout, path in exports.items()]
    for call in calls:
        with files_of_at_most(20_000), pytest.raises(Alos2TutError, match=r"could not be written \(.*free disk space"):
            call()
    assert list(tmp_path.iterdir()) == [encoder_file] and encoder_file.read_bytes() == before


def test_segmenter_comes_back_equal(tmp_path, packed_dataset):
    dataset = open_dataset(packed_dataset)
    encoder = SwinEncoder(TINY, (32, 32))
    segmenter = Segmenter(encoder, dataset.legend, STATISTICS, dataset.signal, width=24, dropout=0.3).eval()
    save_segmenter(tmp_path / "s.safetensors", segmenter, provenance={}, simulated=False)
    loaded = load_segmenter(tmp_path / "s.safetensors")
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(loaded(x), segmenter(x)) and not loaded.training
    assert (loaded.legend, loaded.statistics, loaded.image_px) == (dataset.legend, STATISTICS, (32, 32))
    assert loaded.signal == SIGNAL and loaded.decoder.dropout == 0.3
    assert loaded.header["decoder"] == {"kind": "paper", "width": 24, "dropout": 0.3}
    with pytest.raises(Alos2TutError, match="'segmenter', not 'encoder'"):
        load_encoder(tmp_path / "s.safetensors")
    _rewrite(tmp_path / "s.safetensors", header={"decoder": {"width": 24}})
    with pytest.raises(Alos2TutError, match=r"'decoder\.\w+' is missing"):
        load_segmenter(tmp_path / "s.safetensors")
    _rewrite(tmp_path / "s.safetensors", drop=("legend",))
    with pytest.raises(Alos2TutError, match="'legend'"):
        load_segmenter(tmp_path / "s.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 5},
        {"polarizations": None},
        {"polarizations": []},
        {"polarizations": "HH"},
        {"spacing_m": "abc"},
        {"spacing_m": [5.0, 5.0, 5.0]},
        {"spacing_m": [5.0, 0]},
        {"spacing_m": float("nan")},
        {"spacing_m": float("inf")},
    ],
    ids=repr,
)
def test_a_signal_that_no_data_can_have_is_named(encoder_file, change):
    _rewrite(encoder_file, header={"signal": SIGNAL | change})
    with pytest.raises(Alos2TutError, match=rf"encoder\.safetensors: .* signal\.{next(iter(change))}.*Make the file"):
        load_encoder(encoder_file)


@pytest.mark.parametrize("change", [{"width": -3}, {"dropout": 7}, {"kind": "none"}], ids=repr)
def test_a_decoder_that_cannot_be_is_named(tmp_path, packed_dataset, change):
    dataset, path = open_dataset(packed_dataset), tmp_path / "s.safetensors"
    segmenter = Segmenter(SwinEncoder(TINY, (32, 32)), dataset.legend, STATISTICS, dataset.signal, width=24)
    save_segmenter(path, segmenter, provenance={}, simulated=False)
    _rewrite(path, header={"decoder": {"kind": "paper", "width": 24, "dropout": 0.1} | change})
    with pytest.raises(Alos2TutError, match=rf"s\.safetensors: the header's decoder\.{next(iter(change))}=.*Make"):
        load_segmenter(path)


def test_fields_that_are_not_known_are_passed_over(encoder_file):
    """Another version may have written more."""
    _rewrite(encoder_file, header={"signal": SIGNAL | {"looks": 2}, "more": 1})
    assert load_encoder(encoder_file).signal == SIGNAL


def test_equal_weights_make_equal_files(encoder_file, tmp_path):
    _save(tmp_path / "again.safetensors", load_encoder(encoder_file))
    assert (tmp_path / "again.safetensors").read_bytes() == encoder_file.read_bytes()


@pytest.mark.parametrize("simulated", [True, False])
def test_weights_say_whether_their_data_were_simulated(encoder_file, simulated):
    _save(encoder_file, SwinEncoder(TINY, (32, 48)), simulated)
    header = read_header(encoder_file)
    assert header["simulated"] is simulated
    assert header["attribution"] == ("simulated" if simulated else "ALOS-2 PALSAR-2 data (c) JAXA")


def test_a_segmenter_says_what_its_encoder_started_from(tmp_path, packed_dataset):
    path, dataset, encoder = tmp_path / "s.safetensors", open_dataset(packed_dataset), SwinEncoder(TINY, (32, 32))
    _save(tmp_path / "encoder.safetensors", encoder, simulated=True)
    for start, expected in [
        (encoder, (False, "ALOS-2 PALSAR-2 data (c) JAXA")),
        (load_encoder(tmp_path), (True, "ALOS-2 PALSAR-2 data (c) JAXA; simulated")),
    ]:
        segmenter = Segmenter(start, dataset.legend, STATISTICS, dataset.signal, width=16)
        save_segmenter(path, segmenter, provenance={}, simulated=False)
        header = load_segmenter(path).header
        assert (header["simulated"], header["attribution"]) == expected


def test_a_stage_folder_stands_for_its_file(encoder_file):
    assert torch.equal(load_encoder(encoder_file.parent).mask_token, load_encoder(encoder_file).mask_token)
    with pytest.raises(Alos2TutError, match=r"segmenter\.safetensors: there is no such file"):
        load_segmenter(encoder_file.parent)


@pytest.mark.parametrize("spoil", [lambda b: b[:0], lambda b: b[:5], lambda b: b[:100], lambda b: b[:-1],
                                   lambda b: b"PK\x03\x04" + b"something else" * 100])  # fmt: skip
def test_a_file_that_is_cut_or_no_safetensors(encoder_file, spoil):
    encoder_file.write_bytes(spoil(encoder_file.read_bytes()))
    with pytest.raises(Alos2TutError, match=r"encoder\.safetensors: is cut off or no safetensors file"):
        load_encoder(encoder_file)


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {"alos2tut": "{cut"}])
def test_no_header(encoder_file, metadata):
    save_file(load_file(encoder_file), encoder_file, metadata=metadata)
    with pytest.raises(Alos2TutError, match="has no header 'alos2tut'"):
        load_encoder(encoder_file)


@pytest.mark.parametrize("field", ["encoder", "image_px", "in_channels", "statistics", "signal"])
def test_header_without_a_field(encoder_file, field):
    _rewrite(encoder_file, drop=(field,))
    with pytest.raises(Alos2TutError, match=f"encoder.safetensors.*'{field}'"):
        load_encoder(encoder_file)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"format": 99}, "format"),
        ({"provenance": 5}, "provenance"),
        ({"simulated": "no"}, "simulated"),
        ({"simulated": None}, "simulated"),
        ({"attribution": ["a"]}, "attribution"),
        ({"provenance": {"made_from": [1]}}, "made_from"),
        ({"image_px": "wide"}, "image_px"),
        ({"encoder": {"colour": 1}}, "colour"),
        ({"encoder": {"patch_size": "big"}}, "patch_size"),
        ({"statistics": {"mean_db": [0.0], "std_db": [0.0]}}, "std_db.0=0.0: .*greater than 0"),
        ({"signal": {"quantity": "sigma0"}}, "polarizations"),
    ],
)
def test_broken_header(encoder_file, header, named):
    _rewrite(encoder_file, header=header)
    with pytest.raises(Alos2TutError, match=named) as caught:
        load_encoder(encoder_file)
    assert "encoder.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"encoder": {"embed_dim": 2**14}}, r"mask_token' is \(24,\), not \(16384,\)"),
        ({"encoder": {"embed_dim": 10**7}}, "embed_dim"),
        ({"encoder": {"depths": [2, 2, 256, 2]}}, "depths are 262 blocks, and the file has"),
        ({"encoder": {"depths": [10**6] * 4}}, "depths"),
        ({"encoder": {"window_size": 1024}, "image_px": [2**15, 2**15]}, "not"),
        ({"encoder": {"mlp_ratio": 64.0}}, "mlp.fc1"),
        ({"image_px": [2**15, 2**15]}, "position' is"),
        ({"image_px": [10**12, 10**12]}, "position' is|sizes cannot be"),
        ({"image_px": [10**30, 10**30]}, "image_px|sizes cannot be"),
        ({"image_px": [-32, 32]}, "do not divide"),
        ({"in_channels": 10**9}, "proj.weight"),
        ({"in_channels": 10**18}, "proj.weight|sizes cannot be"),
    ],
    ids=repr,
)
def test_sizes_of_a_header_are_found_in_the_file_before_they_take_memory(encoder_file, header, named, monkeypatch):
    config = dataclasses.asdict(TINY) | header.pop("encoder", {})
    _rewrite(encoder_file, header={"encoder": config, **header})
    # only plans are made, which take none
    made = Mock(side_effect=lambda *given: build_encoder(*given) if torch.empty(0).is_meta else pytest.fail("built"))
    monkeypatch.setattr(weights, "build_encoder", made)
    with pytest.raises(Alos2TutError, match=named) as refused:
        load_encoder(encoder_file)
    assert "encoder.safetensors" in str(refused.value)


def test_sizes_that_no_entry_tells_are_bounded(tmp_path):
    free = dataclasses.replace(TINY, position="none")
    _save(tmp_path / "encoder.safetensors", SwinEncoder(free, (256, 256)))
    _rewrite(tmp_path / "encoder.safetensors", header={"image_px": [2**17, 2**17]})
    with pytest.raises(Alos2TutError, match=r"image_px and window_size claim .* bytes beside the weights"):
        load_encoder(tmp_path / "encoder.safetensors")


@pytest.mark.parametrize("text", ['{"format": 1, "format": 1}', "[" * 10**5, '{"a": "' + "x" * 2**23 + '"}'])
def test_a_header_that_was_not_written_here_is_refused(encoder_file, text):
    save_file(load_file(encoder_file), encoder_file, metadata={"alos2tut": text})
    with pytest.raises(Alos2TutError, match=r"has no header 'alos2tut' \(is not valid JSON"):
        read_header(encoder_file)


def test_keys_too_many_too_few_wrong_shape_and_nan(encoder_file):
    whole = load_file(encoder_file)
    metadata = {"alos2tut": json.dumps(read_header(encoder_file))}
    for tensors, named in [
        ({**whole, "surplus": torch.zeros(1)}, "do not belong there: 'surplus'"),
        ({name: t for name, t in whole.items() if name != "mask_token"}, "lacks the weights 'mask_token'"),
        ({**whole, "mask_token": torch.zeros(5)}, r"'mask_token' is \(5,\), not \(24,\)"),
        ({**whole, "mask_token": torch.full((24,), torch.nan)}, "'mask_token' holds NaN"),
    ]:
        save_file(tensors, encoder_file, metadata=metadata)
        with pytest.raises(Alos2TutError, match=named):
            load_encoder(encoder_file)


@pytest.mark.parametrize(
    ("field", "value"), [("quantity", "gamma0"), ("polarizations", ["HV"]), ("spacing_m", [10.0, 10.0])]
)
def test_other_signals_are_refused_unless_allowed(field, value):
    other = {**SIGNAL, field: value}
    with pytest.raises(Alos2TutError, match=f"encoder: was trained on {field}"):
        check_signal(SIGNAL, other, "encoder")
    with pytest.warns(Alos2TutWarning, match=f"encoder: was trained on {field}"):
        check_signal(SIGNAL, other, "encoder", allow_other=True)


def test_which_signals_pass():
    with pytest.raises(Alos2TutError, match="polarizations"):
        check_signal(SIGNAL, {**SIGNAL, "polarizations": ["HH", "HV"]}, "encoder", allow_other=True)
    check_signal(SIGNAL, {"quantity": "sigma0", "polarizations": ("HH",), "spacing_m": (5.0, 5.0001)}, "encoder")
    # as far as degrees change with latitude
    check_signal(SIGNAL, {**SIGNAL, "spacing_m": [5.0, 5.0 * (1 + 0.9 * SPACING_TOLERANCE)]}, "encoder")


def test_pixels_of_unknown_size_match_where_that_is_said():
    unknown = {**SIGNAL, "spacing_m": None, "looks": 2}
    for data, size in [(unknown, r"unknown size \(looks=2\)"), (SIGNAL, r"\[5.0, 5.0\] m")]:
        said = rf"unknown size \(looks=2\), the data have pixels of {size}, which cannot be compared"
        with pytest.raises(Alos2TutError, match=rf"{said}. If they are alike, say so \(allow_other_signal\)"):
            check_signal(unknown, data, "encoder")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_signal(unknown, dict(unknown), "encoder", allow_other=True)
    with pytest.warns(Alos2TutWarning, match=r"\(looks=2\), the data have pixels of unknown size \(looks=1\)"):
        check_signal(unknown, {**unknown, "looks": 1}, "encoder", allow_other=True)


def test_other_statistics_are_reported(recwarn):
    encoder = SwinEncoder(TINY, (32, 32))
    encoder.statistics, encoder.signal = STATISTICS, SIGNAL
    for near in (STATISTICS, Statistics((-10.7,), (5.4,))):
        settle_statistics(encoder, SIGNAL, near, "encoder")
    assert not recwarn.list
    with pytest.warns(Alos2TutWarning, match=r"the dataset's are -10\.40 and 5\.20 dB"):
        settle_statistics(encoder, SIGNAL, Statistics((-10.4,), (5.2,)), "encoder")
    with pytest.warns(Alos2TutWarning, match=r"own mean -10\.40 and spread 5\.80.* 5\.00 dB\.$"):
        settle_statistics(encoder, SIGNAL, Statistics((-9.0,), (5.0,)), "encoder")
    assert encoder.statistics == STATISTICS and not encoder.has_own_statistics


@pytest.mark.parametrize(
    ("trained", "data", "is_reason"),
    [
        ({}, {}, False),
        ({}, {"quantity": "beta0", "spacing_m": [9.0, 9.0]}, False),
        ({}, {"quantity": "relative"}, True),
        ({"quantity": "relative"}, {"quantity": "relative"}, True),
        ({"quantity": "relative"}, {}, True),
        ({}, {"polarizations": ["HV"]}, True),
    ],
)
def test_own_statistics_take_a_reason(trained, data, is_reason):
    encoder, other = SwinEncoder(TINY, (32, 32)), Statistics((-9.0,), (5.0,))
    encoder.statistics, encoder.signal = STATISTICS, {**SIGNAL, **trained}
    data = {**SIGNAL, **data}
    settle_statistics(encoder, data, STATISTICS, "encoder", "own")  # nothing is to be decided
    assert not encoder.has_own_statistics
    hint = "statistics=own" if is_reason else "train for these data"
    if encoder.signal != data:
        with pytest.raises(Alos2TutError, match=hint):
            check_signal(encoder.signal, data, "encoder")
    if is_reason:
        with pytest.warns(Alos2TutWarning, match="statistics=own would take these"):
            settle_statistics(encoder, data, other, "encoder")
        settle_statistics(encoder, data, other, "encoder", "own")
        assert encoder.statistics == other and encoder.has_own_statistics
        return
    with pytest.raises(Alos2TutError, match=r"statistics: 'own', and nothing calls for it.*statistics=encoder"):
        settle_statistics(encoder, data, other, "encoder", "own")
    assert encoder.statistics == STATISTICS


def test_whose_data_made_weights_is_named_by_their_sensors():
    assert (
        weights._origin(False, ("ALOS-2 PALSAR-2",), {})["attribution"]
        == weights.JAXA_DATA
        == "ALOS-2 PALSAR-2 data (c) JAXA"
    )
    named = weights._origin(False, ("AIRSAR", None), {"attribution": weights.JAXA_DATA, "simulated": False})
    assert named["attribution"] == "AIRSAR data; ALOS-2 PALSAR-2 data (c) JAXA; data of an unknown sensor"
    assert weights._origin(True, ("AIRSAR",), {}) == {"simulated": True, "attribution": "simulated"}
