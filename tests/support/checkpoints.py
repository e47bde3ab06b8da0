"""Checkpoints of others: plain networks in the published names, and files of them."""

import argparse

import numpy as np
import torch
from support import plain_models as plain
from torch import nn

from alos2tut.dataset.encoding import Statistics
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.weights import load_encoder

SWIN = {"patch_size": 4, "embed_dim": 16, "depths": (2, 2, 3, 2), "num_heads": (2, 4, 4, 8), "window_size": 4}
CONFIG = EncoderConfig(**SWIN)
VIT = {"patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
THREE = {
    "statistics": Statistics((-9.0, -15.0, -8.0), (5.0, 6.0, 5.0)),
    "signal": {"polarizations": ["HH", "HV", "VV"], "spacing_m": [10.0, 10.0]},
}


def twice(x):
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def conv_block(channels, width, kernel=1, *, dropout=True):
    parts = [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.GroupNorm(16, width), nn.GELU()]
    return nn.Sequential(*parts, *([nn.Dropout(0.5)] if dropout else []))


class PlainPooling(nn.Module):
    """Maxima over 1, 2², 3² and 6² parts beside the map itself."""

    def __init__(self, channels, width):
        super().__init__()
        self.psp_modules = nn.Module()
        self.psp_modules.ppm_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveMaxPool2d(bins), *conv_block(channels, width, dropout=False))
            for bins in (1, 2, 3, 6)
        )
        self.final = conv_block(channels + 4 * width, width)

    def forward(self, x):
        pooled = [part(x) for part in self.psp_modules.ppm_modules]
        size = {"size": x.shape[2:], "mode": "bilinear", "align_corners": True}
        return self.final(torch.cat([x, *(nn.functional.interpolate(part, **size) for part in pooled)], 1))


class PlainPyramid(nn.Module):
    """From the deepest map to the finest, and all of them together."""

    def __init__(self, channels, width):
        super().__init__()
        self.PPMHead = PlainPooling(channels[3], width)
        self.conv_x1 = nn.Conv2d(width, width, 1)
        self.Conv_fuse1, self.Conv_fuse1_ = conv_block(channels[2], width), conv_block(width, width)
        self.Conv_fuse2, self.Conv_fuse2_ = conv_block(channels[1], width), conv_block(width, width)
        self.Conv_fuse3, self.Conv_fuse3_ = conv_block(channels[0], width), conv_block(width, width)
        self.fuse_all = conv_block(4 * width, width)

    def forward(self, maps):
        deepest = self.PPMHead(maps[3])
        first = self.Conv_fuse1_(self.conv_x1(twice(deepest)) + twice(self.Conv_fuse1(maps[2])))
        second = self.Conv_fuse2_(twice(first) + twice(self.Conv_fuse2(maps[1])))
        third = self.Conv_fuse3_(twice(second) + twice(self.Conv_fuse3(maps[0])))
        size = {"size": third.shape[2:], "mode": "bilinear", "align_corners": True}
        levels = [nn.functional.interpolate(level, **size) for level in (deepest, first, second)]
        return self.fuse_all(torch.cat([*levels, third], 1))


class PlainHead(nn.Module):
    """Twice enlarged and convolved, then classes."""

    def __init__(self, width, classes):
        super().__init__()
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.up1 = nn.Sequential(up, *conv_block(width, width, 3, dropout=False))
        self.up2 = nn.Sequential(up, *conv_block(width, width, 3, dropout=False))
        self.cls_seg = nn.Conv2d(width, classes, 3, padding=1)

    def forward(self, x):
        return self.cls_seg(self.up2(self.up1(x)))


class PlainSegmenter(nn.Module):
    """The encoder's maps, the pyramid and the head."""

    def __init__(self, encoder, width, classes):
        super().__init__()
        self.encoder, self.decoder = encoder, nn.Module()
        features = encoder.num_features
        self.decoder.decoder = PlainPyramid((features // 4, features // 2, features, features), width)
        self.decoder.prog_head = PlainHead(width, classes)

    def forward(self, x):
        return self.decoder.prog_head(self.decoder.decoder(self.encoder.stage_outputs(x)))


def randomised(network):
    return plain.randomised(network).float()


def swin(image_px=(64, 64), channels=1, **changes):
    return randomised(plain.PlainSwin(image_px, channels, **(SWIN | changes)))


def vit(image_px=(32, 32), channels=1, **changes):
    return randomised(plain.PlainViT(image_px, channels, **(VIT | changes)))


def segmenter(classes=9, width=128):
    return randomised(PlainSegmenter(swin(), width, classes))


def without(state, *endings):
    return {key: value for key, value in state.items() if not key.endswith(endings)}


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def full_checkpoint(network, config_class):
    """All that a SimMIM training keeps, after one step."""
    model = plain.PlainSimMIM(network, network.stride, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    config = config_class({"MODEL": config_class({"TYPE": "swin"})})
    config.__dict__["__immutable__"], config.__dict__["__deprecated_keys__"] = True, {"OLD"}
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"base_values": [1e-4]},
        "max_accuracy": np.float64(0.5),
        "epoch": 799,
        "config": config,
        "args": argparse.Namespace(batch_size=256),
    }


def images(network, image_px, n=2):
    channels = network.patch_embed.proj.in_channels
    return torch.randn(n, channels, *image_px, generator=torch.Generator().manual_seed(5))


def agree(path, network, image_px):
    """The converted encoder computes what the plain network does, with and without hidden tokens."""
    encoder = load_encoder(path)
    x = images(network, image_px)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), network(x), **CLOSE)
        if encoder.mask_token.any():
            hidden = torch.rand(len(x), *encoder.grid, generator=torch.Generator().manual_seed(1)) < 0.6
            torch.testing.assert_close(encoder(x, mask=hidden), network(x, hidden), **CLOSE)
    return encoder
