"""One result of several posterior samples of one talker."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.samplers.joining import Joiner
from diffsr.signal.stft import STFT
from diffsr.typing import Sources

SILENCE = 1e-7
"""Least magnitude of a bin, so that digital silence has a logarithm."""


class LogSpectralMean(Joiner):
    """The phase of the mean, and in each bin the magnitude whose logarithm is the mean of the samples'.

    Where samples disagree on phase, their mean is weaker than any of them, and its spectrum has holes where
    speech should be. The logarithmic mean keeps the level that they agree on: it is the estimate of the
    log-spectral amplitude (Ephraim and Malah 1985, doi 10.1109/TASSP.1985.1164550) with the expectation taken
    over samples in place of a Gaussian. Scores do not count.

    Args:
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.
    """

    def __init__(self, n_fft: int = 512, hop_samples: int = 128) -> None:
        self.stft = STFT(n_fft, hop_samples)

    def __call__(self, restarts: Sources, scores: Tensor, rate_hz: int) -> Tensor:
        """See `Joiner`; samples `[R, S, T]` -> `[S, T]`."""
        if len(restarts) == 1:
            return restarts[0]
        stft = self.stft.to(restarts.device)
        logs = torch.stack([stft(sample).abs().clamp_min(SILENCE).log() for sample in restarts])
        mean = stft(restarts.mean(0))
        gain = logs.mean(0).exp() / mean.abs().clamp_min(SILENCE)
        return stft.inverse(gain * mean, restarts.shape[-1])
