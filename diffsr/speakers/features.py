"""Log-mel features without level and without the colour of the microphone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffsr.signal.stft import STFT
from diffsr.signal.torchaudio_home import import_torchaudio

WINDOW_S, HOP_S = 0.032, 0.016
LOWEST_HZ = 60.0
FLOOR = 1e-2
"""Share of a band's mean power below which nothing is seen: 20 dB, so that noise floors stay out of it."""
EMPTY = 1e-7
"""A band with less than this share of the mean power of the bands (70 dB) counts as empty."""
SILENT_RMS = 1e-8


class RelativeLogMel(nn.Module):
    """`ln(P / mean_n P + 0.01)` of the mel powers P `[B, M, N]`: each band relative to its mean over time.

    A gain and a fixed equalisation multiply P and its mean alike, so they cancel (exactly where the
    equalisation is flat over a band). What lies 20 dB below the mean of a band, the noise floor of most
    recordings, is hardly seen.

    Args:
        rate_hz: Sampling rate.
        n_mels: Bands, from 60 Hz to half the rate, on Slaney's scale (linear below 1 kHz).
    """

    filters: Tensor

    def __init__(self, rate_hz: int, n_mels: int) -> None:
        super().__init__()
        self.stft = STFT(round(WINDOW_S * rate_hz), round(HOP_S * rate_hz))
        melscale_fbanks = import_torchaudio().functional.melscale_fbanks
        filters = melscale_fbanks(
            self.stft.n_bins, LOWEST_HZ, rate_hz / 2, n_mels, rate_hz, norm=None, mel_scale="slaney"
        )
        self.register_buffer("filters", filters.T.contiguous(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """`[B, T] -> [B, M, N]` with 62.5 frames a second; silence gives a constant."""
        with torch.autocast(wave.device.type, enabled=False):  # powers span more than bfloat16 resolves
            wave = wave.float()
            # Under the root, so that silence has a gradient, too.
            level = (wave.square().mean(-1, keepdim=True) + SILENT_RMS**2).sqrt()
            spec = torch.view_as_real(self.stft(wave / level))
            power = self.filters @ spec.square().sum(-1)
            mean = power.mean(-1, keepdim=True)
            mean = mean + EMPTY * mean.mean(1, keepdim=True)
            return (power / mean.clamp_min(torch.finfo(mean.dtype).tiny) + FLOOR).log()


def is_silent(wave: Tensor) -> Tensor:
    """Whether a wave is digital silence, `[..., T]` -> bool `[...]`."""
    return wave.detach().float().square().mean(-1).sqrt() < SILENT_RMS
