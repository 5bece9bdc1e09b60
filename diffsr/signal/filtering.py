"""Linear convolution with long responses."""

from __future__ import annotations

import torch
from torch import Tensor


def convolve(wave: Tensor, response: Tensor, n_samples: int, start: int = 0) -> Tensor:
    """Samples `start` to `start + n_samples` of the full linear convolution, [T] * [..., L] -> [..., n].

    Behind the end of the convolution stand zeros. By overlap-add on the CPU, without gradient.
    """
    from scipy.signal import oaconvolve

    rows = wave.detach().numpy().reshape((1,) * (response.ndim - 1) + (-1,))
    out = torch.from_numpy(oaconvolve(rows, response.detach().numpy(), axes=-1))
    out = out[..., start : start + n_samples]
    return torch.nn.functional.pad(out, (0, n_samples - out.shape[-1]))
