"""What a voice tracker hears of two tracks: powers in bands that resolve the pitch, at one level for both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffsr.signal.stft import STFT
from diffsr.signal.torchaudio_home import import_torchaudio

WINDOW_S, HOP_S = 0.064, 0.016
N_LINES, N_MELS = 96, 40
"""Lines of the spectrum from 62.5 Hz on, 15.6 Hz apart, which resolve the harmonics; above them mel bands."""
FIRST_LINE = 4
FLOOR = 1e-3
"""Share of the mean power of a band of both tracks below which nothing is seen (30 dB)."""


class PairBands(nn.Module):
    """Powers of tracks in 96 lines up to 1.5 kHz and 40 mel bands above.

    Args:
        rate_hz: Sampling rate, at least 6400 Hz.

    Attributes:
        n_bands: M.
        hop_samples: Distance of frames.
        band_of_bin: Band of each bin of the spectrum, or the nearest, `[F]`.
    """

    filters: Tensor
    band_of_bin: Tensor

    def __init__(self, rate_hz: int) -> None:
        super().__init__()
        self.hop_samples = round(HOP_S * rate_hz)
        self.stft = STFT(round(WINDOW_S * rate_hz), self.hop_samples)
        lines = torch.eye(self.stft.n_bins)[FIRST_LINE : FIRST_LINE + N_LINES]
        edge_hz = (FIRST_LINE + N_LINES) / WINDOW_S
        mel = import_torchaudio().functional.melscale_fbanks(
            self.stft.n_bins, edge_hz, rate_hz / 2, N_MELS, rate_hz, norm=None, mel_scale="slaney"
        )
        self.n_bands = N_LINES + N_MELS
        filters = torch.cat([lines, mel.T]).contiguous()
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("band_of_bin", _nearest_bands(filters), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """`[..., T] -> [..., M, N]` with 62.5 frames a second."""
        with torch.autocast(wave.device.type, enabled=False):  # powers span more than bfloat16 resolves
            return self.filters @ torch.view_as_real(self.stft(wave.float())).square().sum(-1)


def _nearest_bands(filters: Tensor) -> Tensor:
    """`[M, F] -> [F]`: the band that hears most of a bin; that of the nearest bin where none does."""
    heard = filters.amax(0).nonzero()[:, 0]
    nearest = (torch.arange(filters.shape[1])[:, None] - heard).abs().argmin(1)
    return filters[:, heard[nearest]].argmax(0)


def relative_log(power: Tensor) -> Tensor:
    """`ln(P / mean P + 0.001) / 2` of two tracks `[B, 2, M, N]`; the mean is that of their sum."""
    mean = power.sum(1).mean((1, 2))[:, None, None, None]
    return 0.5 * (power / mean.clamp_min(torch.finfo(mean.dtype).tiny) + FLOOR).log()
