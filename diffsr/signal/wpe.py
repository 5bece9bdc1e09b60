"""Weighted prediction error (WPE): late reverberation is predicted linearly from the past and subtracted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.signal.stft import STFT

SILENT_POWER = 1e-10
"""Frames below this part of the largest power are digital silence; powers are floored there, too."""
DIAGONAL_LOAD = 1e-12
"""Of the mean diagonal of the correlation matrix."""


def wpe(
    recording: Tensor, taps: int, delay: int, iterations: int, n_fft: int = 512, hop_samples: int = 128
) -> Tensor:
    """A recording without what its own past predicts, `[C, T] -> [C, T]`; all microphones predict.

    In each bin `d = y - G' y~` with `y~` the frames `delay` to `delay + taps - 1` before, and G the
    least-squares solution with every frame weighted by `1 / |d|^2`, mean over microphones. Two additions:

    * A stretch of digital silence (zero-padded recordings) would outweigh all speech by 100 dB, and the best
      filter would be the one that leaves the silence silent: none. Such frames are left out of the fit and
      stay as they are.
    * The correlation matrix gets a diagonal load of 1e-12 of its mean diagonal: without it, two microphones
      with the same signal give enormous filters of no meaning.

    A recording with no more frames of sound than the filter has unknowns passes unchanged. Computed in double
    precision, which the long filters need; without gradient.

    Args:
        recording: `[C, T]`.
        taps: Length of the prediction filter, in frames.
        delay: Frames between a frame and the newest that predicts it.
        iterations: Alternations between powers of the speech and filter.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.

    References:
        Yoshioka and Nakatani 2012, IEEE TASLP 20(10), the equations of `nara_wpe.wpe.wpe_v8` (Drude et al.
        2018, "NARA-WPE", ITG Speech Communication).
    """
    stft = STFT(n_fft, hop_samples).to(recording.device).double()
    with torch.no_grad():
        spec = stft(recording.double()).transpose(0, 1)  # [F, C, N]
        power = spec.abs().square().mean((0, 1))
        sound = (power > SILENT_POWER * power.max()).nonzero()[:, 0]
        if len(sound) <= delay + taps * recording.shape[0]:
            return recording.clone()
        dry = torch.cat(
            [_dereverberate(bins, sound, taps, delay, iterations) for bins in spec.split(_BINS_AT_ONCE)]
        )
        return stft.inverse(dry.transpose(0, 1), recording.shape[-1]).to(recording)


_BINS_AT_ONCE = 8
"""Memory follows bins times taps; so few stay in the cache of a core."""


def _dereverberate(spec: Tensor, sound: Tensor, taps: int, delay: int, iterations: int) -> Tensor:
    """Bins `[F, C, N]`, fitted on the frames `sound [M]` -> `[F, C, N]`."""
    heard, heard_past = spec[..., sound], stack_past(spec, taps, delay)[..., sound]
    dry = heard
    for _ in range(iterations):
        power = dry.abs().square().mean(1, keepdim=True)
        floor = (SILENT_POWER * power.amax(-1, keepdim=True)).clamp_min(torch.finfo(power.dtype).tiny)
        dry = heard - predict(heard, heard_past, power.maximum(floor))
    out = spec.clone()
    out[..., sound] = dry
    return out


def stack_past(spec: Tensor, taps: int, delay: int) -> Tensor:
    """The frames `delay` to `delay + taps - 1` before each, `[F, C, N] -> [F, taps C, N]`."""
    later = F.pad(spec, (delay + taps - 1, 0)).unfold(-1, spec.shape[-1], 1)[..., :taps, :]
    return later.transpose(1, 2).flip(1).flatten(1, 2)


def predict(target: Tensor, past: Tensor, power: Tensor, prior: Tensor | None = None) -> Tensor:
    """The weighted least-squares prediction of `target [F, C, N]` from `past [F, K, N]`, `[F, C, N]`.

    Correlations are summed in the precision given: single suffices where a prior bounds the filters. The
    filters are solved for in double precision.

    Args:
        target: What is to be predicted.
        past: What predicts it.
        power: Variance of what cannot be predicted `[F, 1, N]`.
        prior: Variance of the filters `[F, K]` around 0; None knows nothing about them.
    """
    weighed = (past * power.reciprocal()).mH  # a division of complex numbers takes twice as long
    correlation = (past @ weighed).to(torch.complex128)
    tiny = torch.finfo(torch.float64).tiny
    load = (DIAGONAL_LOAD * correlation.diagonal(dim1=-2, dim2=-1).real.mean(-1)).clamp_min(tiny)[:, None]
    if prior is not None:
        load = load + prior.reciprocal()
    # A bin without sound has a correlation of 0 and gets no filter.
    correlation = correlation + torch.diag_embed(load.expand(past.shape[:2]))
    filters = torch.linalg.solve(correlation, (target @ weighed).mH.to(correlation))
    return filters.mH.to(past) @ past
