"""Halving and doubling of a spectrogram's resolution, by plain convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINDS = ("fir", "box")


class Resampling(nn.Module):
    """Factor 2 in both directions of `[B, channels, F, N]`; F and N have to be even.

    `fir` is the binomial filter [1, 3, 3, 1] of StyleGAN2 (arXiv 1912.04958) that NCSN++ takes over
    (arXiv 2011.13456, appendix H.1), with zeros outside; `box` is the mean of 2 x 2 bins, and repetition.

    Args:
        kind: `fir` or `box`.
    """

    kernel: Tensor

    def __init__(self, kind: str = "fir") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"resampling is {kind!r}; expected one of {', '.join(KINDS)}.")
        self.kind = kind
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)

    def down(self, x: Tensor) -> Tensor:
        """`[B, channels, F, N] -> [B, channels, F / 2, N / 2]`; constants stay what they are."""
        if self.kind == "box":
            return F.avg_pool2d(x, 2)
        channels = x.shape[1]
        return F.conv2d(x, self.kernel.expand(channels, -1, -1, -1), stride=2, padding=1, groups=channels)

    def up(self, x: Tensor) -> Tensor:
        """`[B, channels, F, N] -> [B, channels, 2 F, 2 N]`; constants stay what they are."""
        if self.kind == "box":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        channels = x.shape[1]
        # Of four bins three are inserted zeros: the gain makes up for them.
        kernel = 4 * self.kernel.expand(channels, -1, -1, -1)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)
