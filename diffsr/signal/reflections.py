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
FLOOR = 0.1
"""Of the mean power of a bin, added to each frame: what is quieter tells of noise and late reverberation."""
ACTIVE = 1e-4
"""Frames below this part of the loudest say nothing."""
CUT = 0.2
"""Share of the frames at either end that a mean leaves out: pitch peaks come and go, echoes stay."""
SURROUNDINGS_S = 0.00075
"""To either side of a peak."""
SIGMA_OF_MEDIAN = 1.4826
"""Standard deviation of normal numbers whose median magnitude is 1."""


def long_term_cepstrum(x: Tensor, rate_hz: int) -> Tensor:
    """Cepstrum of the log magnitude of speech, trimmed mean over its active frames, `[K, T] -> [K, Q]`.

    Q quefrencies of one sample each, half of a window; zeros for recordings shorter than that.
    """
    hop_samples = round(HOP_S * rate_hz)
    n_fft = hop_samples * round(WINDOW_S / HOP_S)
    if len(x) == 0 or x.shape[-1] < n_fft:
        return x.new_zeros(len(x), n_fft // 2)
    power = STFT(n_fft, hop_samples).to(x.device)(x).abs().square()
    return torch.stack([_cepstrum(row, n_fft) for row in power])


def _cepstrum(power: Tensor, n_fft: int) -> Tensor:
    """`[F, N] -> [Q]`."""
    energy = power.sum(0)
    power = power[:, energy > ACTIVE * energy.max()]
    if power.shape[-1] == 0:
        return power.new_zeros(n_fft // 2)
    size = 0.5 * (power + FLOOR * power.mean(1, keepdim=True)).clamp_min(1e-30).log()
    frames = irfft(size.mT, n_fft)[:, : n_fft // 2].sort(0).values
    n_cut = int(CUT * len(frames))
    return frames[n_cut : len(frames) - n_cut].mean(0)


def peaks(cepstrum: Tensor, rate_hz: int, first_s: float, last_s: float, threshold: float) -> Tensor:
    """What stands out of a cepstrum between two quefrencies, `[K, Q] -> [K, Q]`, elsewhere 0.

    Deviations from the median of the surroundings count in full from 1.25 times the threshold on, not at all
    up to 0.75 times, and in part between: firm thresholding, which is continuous. Their unit is the standard
    deviation of the surroundings, by the median magnitude.
    """
    k = max(round(SURROUNDINGS_S * rate_hz), 1)
    around = F.pad(cepstrum[:, None], (k, k), mode="reflect")[:, 0].unfold(-1, 2 * k + 1, 1)
    middle = around.median(-1, keepdim=True).values
    spread = SIGMA_OF_MEDIAN * (around - middle).abs().median(-1).values
    out = cepstrum - middle[..., 0]
    size = out.abs() / spread.clamp_min(1e-9)
    kept = out * ((size / threshold - 0.75) / 0.5).clamp(0, 1)
    lag_s = torch.arange(cepstrum.shape[-1], device=cepstrum.device) / rate_hz
    return torch.where((lag_s >= first_s) & (lag_s < last_s), kept, 0.0)


def filtered(x: Tensor, cepstrum: Tensor, inverse: bool = False) -> Tensor:
    """Signals through the filters of minimum phase with a cepstrum, or their inverses, `[K, T], [K, Q]`.

    The filters ring for as long as 2 Q samples. Rows without any come back bit by bit.
    """
    if len(x) == 0:
        return x
    n_fft = fast_length(x.shape[-1] + 2 * cepstrum.shape[-1])
    folded = torch.cat([cepstrum[..., :1], 2.0 * cepstrum[..., 1:]], dim=-1)
    gain = rfft(-folded if inverse else folded, n_fft).exp()
    out = irfft(rfft(x, n_fft) * gain, n_fft)[..., : x.shape[-1]]
    return torch.where(cepstrum.any(-1, keepdim=True), out, x)
