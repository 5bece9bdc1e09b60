"""What a call of a backbone costs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def gflop_per_second(network: nn.Module, rate_hz: int, window_s: float = 8.192) -> float:
    """GFLOP per second of audio of one call on a window, attention included.

    Counted, not estimated: two for each multiply-add of all matrix products and convolutions. The FFTs
    and element-wise operations are left out (below 2 % for the frame transformer).
    """
    device = next(network.parameters()).device
    wave = torch.zeros(1, round(window_s * rate_hz), device=device)
    counter = FlopCounterMode(display=False)
    # The fused attention kernels are not known to the counter on every device.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(wave, torch.zeros(1, device=device))
    return counter.get_total_flops() / window_s / 1e9
