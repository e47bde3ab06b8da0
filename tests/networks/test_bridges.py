"""Encoders and patches in the hands of others: timm's conventions and torchgeo's, and torchvision."""

import numpy as np
import pytest
import rasterio
import torch
from support.datasets import build, labels_of
from support.networks import TINY
from torchvision.ops import FeaturePyramidNetwork

from alos2tut import export_patches, open_dataset
from alos2tut.networks.bridges import FeatureExtractor, PatchSamples
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import build_encoder

SWIN = EncoderConfig(**TINY)
VIT = EncoderConfig(kind="vit", patch_size=8, embed_dim=24, depths=(4,), num_heads=(2,))


@pytest.mark.parametrize(("config", "channels", "reduction"), [(SWIN, [24, 48, 96, 192], [2, 4, 8, 16]),
                                                               (VIT, [24] * 4, [8] * 4)])  # fmt: skip
def test_an_encoder_is_a_feature_extractor_as_timm_has_them(config, channels, reduction):
    extractor = FeatureExtractor(build_encoder(config, (32, 32)).eval(), out_indices=(1, 3))
    assert extractor.feature_info.channels() == [channels[1], channels[3]]
    assert extractor.feature_info.reduction() == [reduction[1], reduction[3]]
    maps = extractor(torch.zeros(2, 1, 32, 32))
    assert [tuple(each.shape) for each in maps] == [(2, channels[i], *[32 // reduction[i]] * 2) for i in (1, 3)]


def test_torchvisions_pyramid_stands_on_it():
    extractor = FeatureExtractor(build_encoder(SWIN, (32, 32)))
    pyramid = FeaturePyramidNetwork(extractor.feature_info.channels(), 16)
    named = {str(i): each for i, each in enumerate(extractor(torch.randn(1, 1, 32, 32)))}
    pyramid(named)["0"].sum().backward()
    assert extractor.encoder.swin.patch_embed.proj.weight.grad.abs().sum() > 0


def test_samples_are_those_of_torchgeo_and_lie_where_exported_patches_do(small_scene, tmp_path):
    folder = build(products=small_scene, labels=labels_of(small_scene), patch_px=16, block_m=320, looks=2,
                   work_dir=tmp_path)  # fmt: skip
    split = open_dataset(folder).split("train")
    loader = torch.utils.data.DataLoader(PatchSamples(split), batch_size=3)
    batch = next(iter(loader))
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items() if name != "crs"} == {
        "image": (torch.float32, (3, 1, 16, 16)), "mask": (torch.int64, (3, 16, 16)), "bounds": (torch.float64, (3, 4)),
    }  # fmt: skip
    np.testing.assert_array_equal(batch["image"][1], split[1][0])
    exported = export_patches(folder, tmp_path / "exported", progress=False)
    for index, record in enumerate(split.table[:3]):
        [path] = exported.rglob(f"{record['FileName']}*")
        with rasterio.open(path) as raster:
            assert batch["crs"][index] == raster.crs.to_string()
            np.testing.assert_allclose(batch["bounds"][index], raster.bounds)
