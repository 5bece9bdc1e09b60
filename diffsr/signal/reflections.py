"""Early reflections of a room, seen as peaks of the long-term cepstrum, and their removal.

A reflection `a` after a time d leaves a ripple on the spectrum of everything that is said, and so a peak of
the cepstrum at d, whoever speaks and whatever is said. Formants lie below 2 ms, and a voice's pitch, which
moves, makes a broad hump; what stands out of its surroundings does not move, and is the room's (Oppenheim and
Schafer, Discrete-Time Signal Processing, ch. 13). The filter of minimum phase with these peaks is taken to be
the early room: it is where the direct sound is louder than what follows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.signal.filtering import fast_length, irfft, rfft
from diffsr.signal.stft import STFT

WINDOW_S, HOP_S = 0.256, 0.032
"""Several times as long as the latest reflection, whose peak a window would weaken."""
LATEST_S = 0.06
FLOOR = 0.1
"""Of the mean power of a bin, added to each frame: what is quieter tells of noise and late reverberation."""
LEAST = 1e-6
"""Of the mean power of all bins: a band without sound would be a cliff, which rings through a cepstrum."""
ACTIVE = 1e-4
"""Frames below this part of the loudest say nothing."""
CUT = 0.2
"""Share of the frames at either end that a mean leaves out: pitch peaks come and go, echoes stay."""
SURROUNDINGS_S = 0.00075
"""To either side of a peak."""
ENOUGH_S = 3.0
"""Of active speech; with less a pitch moves too little to be told from an echo."""
SIGMA_OF_MEDIAN = 1.4826
"""Standard deviation of normal numbers whose median magnitude is 1."""
RINGS = 8
"""Lengths of a cepstrum that its filters ring for."""


def early_peaks(x: Tensor, rate_hz: int, first_s: float, last_s: float, threshold: float) -> Tensor:
    """What stands out of the long-term cepstrum of speech between two quefrencies, `[K, T] -> [K, Q]`.

    Deviations from the median of the surroundings, in units of their spread, count as `stands_out` says;
    with less than `ENOUGH_S` of active speech they have to be larger, by the root of what is missing. Rows
    are alone. All zero for recordings shorter than a window.

    Args:
        x: Speech of one talker.
        rate_hz: Sample rate.
        first_s: Below this quefrency the result is 0.
        last_s: The last one, which the result ends with; up to `LATEST_S` a window leaves peaks their height.
        threshold: Of the deviations.
    """
    n_lags, hop_samples = round(last_s * rate_hz) + 1, round(HOP_S * rate_hz)
    out = x.new_zeros(len(x), n_lags)
    stft = STFT(hop_samples * round(WINDOW_S / HOP_S), hop_samples).to(x.device)
    if x.shape[-1] < stft.n_fft:
        return out
    margin = max(round(SURROUNDINGS_S * rate_hz), 1)
    for row in range(len(x)):  # one by one: spectra of all at once take much memory
        power = _active(stft(x[row : row + 1])[0].abs().square())
        if power.shape[-1]:
            missing = max(ENOUGH_S / (power.shape[-1] * HOP_S), 1.0) ** 0.5
            cepstrum = long_term_cepstrum(power, n_lags + margin)
            out[row] = stands_out(cepstrum, margin, threshold * missing)[:n_lags]
    lag_s = torch.arange(n_lags, device=x.device) / rate_hz
    return torch.where((lag_s >= first_s) & (lag_s <= last_s), out, 0.0)


def _active(power: Tensor) -> Tensor:
    """Those of the frames `[F, N]` in which there is something."""
    energy = power.sum(0)
    return power[:, energy > ACTIVE * energy.max()]


def long_term_cepstrum(power: Tensor, n_lags: int) -> Tensor:
    """Cepstrum of the log magnitude, trimmed mean over frames of power `[F, N]`, `[n_lags]`."""
    floor = FLOOR * power.mean(1, keepdim=True) + LEAST * power.mean() + torch.finfo(power.dtype).tiny
    size = 0.5 * (power + floor).log()
    frames = irfft(size.mT, 2 * (len(power) - 1))[:, :n_lags].sort(0).values
    n_cut = int(CUT * len(frames))
    return frames[n_cut : len(frames) - n_cut].mean(0)


def stands_out(cepstrum: Tensor, margin: int, threshold: float) -> Tensor:
    """Deviations of a cepstrum `[n]` from the median of `margin` lags to either side, `[n]`.

    Their unit is the spread of these lags (standard deviation, by the median magnitude). They count in full
    from 1.25 times the threshold on, not at all up to 0.75 times, and in part between: firm thresholding,
    which is continuous.
    """
    around = F.pad(cepstrum[None, None], (margin, margin), mode="reflect")[0, 0].unfold(0, 2 * margin + 1, 1)
    middle = around.median(-1, keepdim=True).values
    spread = SIGMA_OF_MEDIAN * (around - middle).abs().median(-1).values
    out = cepstrum - middle[:, 0]
    return out * ((out.abs() / spread.clamp_min(1e-9) / threshold - 0.75) / 0.5).clamp(0, 1)


def filtered(x: Tensor, cepstrum: Tensor, inverse: bool = False) -> Tensor:
    """Signals through the filters of minimum phase with a cepstrum, or their inverses, `[K, T], [K, Q]`.

    Rows without any come back bit by bit.
    """
    if len(x) == 0:
        return x
    n_fft = fast_length(x.shape[-1] + RINGS * cepstrum.shape[-1])
    log_gain = rfft(_folded(cepstrum), n_fft)
    out = irfft(rfft(x, n_fft) * (-log_gain if inverse else log_gain).exp(), n_fft)[..., : x.shape[-1]]
    return torch.where(cepstrum.any(-1, keepdim=True), out, x)


def power_gain(cepstrum: Tensor, stft: STFT) -> Tensor:
    """By how much such filters raise the power of white noise in STFT bins, `[K, Q] -> [K, F]`.

    The window smooths their power response: in lags it is a product of autocorrelations.
    """
    n_fft = fast_length(2 * max(RINGS * cepstrum.shape[-1], stft.n_fft))
    response = irfft((2 * rfft(_folded(cepstrum), n_fft).real).exp(), n_fft)[..., : stft.n_fft]
    window = irfft(rfft(stft.window[None], n_fft).abs().square(), n_fft)[..., : stft.n_fft]
    lags = response * (window / window[..., :1]).to(response)
    return 2 * rfft(lags, stft.n_fft).real - lags[..., :1]


def _folded(cepstrum: Tensor) -> Tensor:
    """All of a cepstrum of minimum phase, from that of its magnitude."""
    return torch.cat([cepstrum[..., :1], 2.0 * cepstrum[..., 1:]], dim=-1)
