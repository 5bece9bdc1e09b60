"""How much posterior samples differ."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def variance_of(samples: Iterable[Tensor]) -> Tensor:
    """Variance of a single sample, from R of them, real or complex `[...]`, looked at one by one.

    The first and second, the third and fourth and so on may be antithetic (see `samplers.RowNoise`) and
    differ by more than two draws do, so only samples of different pairs are compared: without bias for
    pairs and for independent samples alike. Of two samples there is only their own difference, which is too
    large by what the pairing is good for.

    Returns:
        `[...]`; NaN for a single sample.
    """
    total, squares, within = torch.zeros(()), torch.zeros(()), torch.zeros(())
    first = before = torch.zeros(())
    count = 0
    for count, sample in enumerate(samples, start=1):
        first = sample if count == 1 else first
        difference = sample - first  # of large equal parts nothing is left to be rounded
        total, squares = total + difference, squares + difference.abs().square()
        if count % 2 == 0:
            within = within + (sample - before).abs().square()
        before = sample
    between = count * squares - total.abs().square()  # all pairs of samples, each once
    n_compared = count * (count - 1) // 2
    if count > 2:
        between, n_compared = between - within, n_compared - count // 2
    return between.clamp_min(0) / (2 * n_compared) if n_compared else torch.full_like(between, torch.nan)
