"""Architecture of an encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..core.config import settings


@settings
class EncoderConfig:
    """A Swin v1 transformer or a plain ViT (size and channels come from the data); the defaults are the paper's Swin-B.

    ``encoders.yaml`` has others by name, for ``encoder=tiny``.
    """

    kind: Literal["swin", "vit"] = "swin"
    """Hierarchical, in windows; or plain: one resolution, every token sees every other."""
    patch_size: int = Field(default=4, ge=1, le=256)
    """Side of a token, in pixels."""
    embed_dim: int = Field(default=128, ge=4, le=2**14)
    """Width of the first stage, which each later stage of a Swin doubles."""
    depths: tuple[Annotated[int, Field(ge=1, le=256)], ...] = (2, 2, 18, 2)
    """Blocks of each of a Swin's four stages; one number for a ViT."""
    num_heads: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = (4, 8, 16, 32)
    """Attention heads, alike."""
    window_size: int = Field(default=8, ge=1, le=1024)
    """Swin: side of an attention window, in tokens."""
    mlp_ratio: float = Field(default=4.0, gt=0, le=64)
    """Hidden width of a block's MLP over its width."""
    shifted: bool = True
    """Swin: every second block's windows are shifted; false as in MixMAE."""
    position: Literal["learned", "sincos", "none"] = "learned"
    """Position embedding, added after masking: learned, fixed (sine and cosine, as in MixMAE; Swin only), or none."""
    shared_relative_position: bool = False
    """ViT: one table of relative position biases for all blocks."""
    layer_scale: float | None = Field(default=None, gt=0, le=1000)
    """ViT: what each residual branch is multiplied by at first; None: no such factor."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> EncoderConfig:
        stages = {"swin": 4, "vit": 1}[self.kind]
        for name in ("depths", "num_heads"):
            if len(getattr(self, name)) != stages:
                number = f"{stages} number{'s' if stages > 1 else ''}"
                raise ValueError(f"{name} of a {self.kind} has {number}, not {len(getattr(self, name))}")
        if self.kind == "swin" and (self.shared_relative_position or self.layer_scale is not None):
            raise ValueError("shared_relative_position and layer_scale belong to a vit")
        if self.kind == "vit" and (not self.shifted or self.position == "sincos"):
            raise ValueError("shifted=false and position=sincos belong to a swin")
        return self
