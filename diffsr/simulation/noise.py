"""Noise of a scene: excerpts of any length, and several microphones from a recording with one."""

from __future__ import annotations

import torch
from torch import Tensor

CROSS_FADE_S = 0.05
SPEED_OF_SOUND_M_S = 343.0


def excerpt(recording: Tensor, start: int, n_samples: int, fade: int) -> Tensor:
    """Samples from `start` on, [C, T] -> [C, n]; the end joins the beginning with a cross-fade.

    The cross-fade keeps the power of noise: its weights are cosine and sine.

    Args:
        recording: The whole recording.
        start: Where the excerpt starts, 0 <= start < T - fade.
        n_samples: Its length, possibly longer than the recording.
        fade: Length of the cross-fade in samples; at most half of the recording is used.
    """
    length = recording.shape[-1]
    if start + n_samples <= length:
        return recording[:, start : start + n_samples]
    fade = min(fade, length // 2)
    # One period of the loop: its first `fade` samples are the beginning faded into what was the end.
    angle = (torch.arange(fade) + 0.5) * (torch.pi / 2 / max(fade, 1))
    period = recording[:, : length - fade].clone()
    period[:, :fade] = recording[:, :fade] * angle.sin() + recording[:, length - fade :] * angle.cos()
    first = recording[:, start : length - fade]  # up to the first join nothing is faded
    repeats = -(-max(0, n_samples - first.shape[-1]) // period.shape[-1])
    return torch.cat([first, *[period] * repeats], dim=-1)[:, :n_samples]


def diffuse(channels: Tensor, distances_m: Tensor, rate_hz: int) -> Tensor:
    """Uncorrelated channels made coherent as in a spherically isotropic field, [C, T] -> [C, T].

    The coherence of microphones i and j becomes sinc(2 f d_ij / c); the first channel stays as it is.

    Args:
        channels: One excerpt a microphone, as unrelated as possible and of about equal power.
        distances_m: Between the microphones, [C, C].
        rate_hz: Sample rate.

    References:
        Habets, Cohen and Gannot 2008, "Generating nonstationary multisensor signals under a spatial
        coherence constraint", JASA 124(5), with the Cholesky decomposition.
    """
    from scipy.fft import next_fast_len

    n_channels, n_samples = channels.shape
    if n_channels == 1:
        return channels
    size = next_fast_len(n_samples, real=True)
    frequency_hz = torch.arange(size // 2 + 1, dtype=torch.float64) * (rate_hz / size)
    argument = 2 * frequency_hz[:, None, None] * distances_m.double() / SPEED_OF_SOUND_M_S
    coherence = torch.sinc(argument)
    # At 0 Hz all channels are the same: a little of each channel's own keeps the matrix regular.
    coherence = coherence + 1e-6 * torch.eye(n_channels, dtype=torch.float64)
    mixing = torch.linalg.cholesky(coherence)  # [F, C, C], lower: the first channel is not mixed
    mixing = mixing / mixing.square().sum(-1, keepdim=True).sqrt()
    spectrum = torch.fft.rfft(channels.double(), size)
    mixed = torch.einsum("fij,jf->if", mixing.to(spectrum.dtype), spectrum)
    return torch.fft.irfft(mixed, size)[:, :n_samples].to(channels.dtype)
