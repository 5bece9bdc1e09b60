"""A room as an unknown convolution of each talker in each STFT bin, in closed form.

    R_n = sum_s sum_k H_sk X_s,(n - delay - k) + CN(0, v_n),  H_sk ~ CN(0, p_sk),  p_sk = exp(a_sb - d_sb k)

Given the talkers X, their responses H are Gaussian: `H = r A^-1` with `A = P V^-1 P' + diag(1 / p)`,
`r = R V^-1 P'` and P the past of all X; the past of their uncertainty, weighed likewise, adds to the diagonal
of A. Level a and decay d of the prior, the same for the bins of a band, are refitted to `E|H_sk|^2`:
expectation maximisation. Without such a prior filters from estimated speech collapse. Talkers in one room
have different responses whose decays are alike, so a and d can be tied across them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffsr.signal.decays import BINS_PER_BAND, PART_VALUES, blocks, n_bands
from diffsr.signal.wpe import stack_past

N_ROUNDS = 3
"""Rounds of expectation and maximisation in each fit."""
N_SCORING_STEPS = 3
RT60_LIMITS_S = (0.1, 2.0)
_INITIAL_LOG_LEVEL, _INITIAL_RT60_S = math.log(0.1), 0.4
_LOG_LEVEL_LIMITS = (-30.0, 1.0)
_LEAST_PRIOR = 1e-9
_MOST_OF_PRIOR = 5.0
"""Energies count as no more than this multiple of their prior in a scoring step, which could overshoot."""


class SubbandRoom:
    """Responses of rows to talkers, each with the prior of its bands; without gradient.

    Args:
        n_rows: Rows.
        n_sources: Talkers S.
        n_bins: Bins F.
        taps: Length of a response in frames.
        delay: First frame of the response.
        frame_s: Time between frames.
        device: Of the rows.
        tied: Whether the talkers share level and decay of the prior.
    """

    def __init__(
        self,
        n_rows: int,
        n_sources: int,
        n_bins: int,
        taps: int,
        delay: int,
        frame_s: float,
        device: torch.device,
        tied: bool = True,
    ) -> None:
        self.delay = delay
        self.frame = torch.arange(taps, device=device, dtype=torch.float32)
        self._nepers = math.log(1e6) * frame_s
        self.n_sources, self.tied = n_sources, tied
        shape = (n_rows, n_sources, n_bands(n_bins))
        self.log_level = torch.full(shape, _INITIAL_LOG_LEVEL, device=device)
        self.decay = torch.full(shape, self._nepers / _INITIAL_RT60_S, device=device)

    def explain(self, row: int, dry: Tensor, heard: Tensor, variance: Tensor, uncertainty: Tensor) -> Tensor:
        """Refit the responses of a row; what they make of the talkers together, `[F, N]`.

        Args:
            row: Which one.
            dry: Estimated talkers X, complex `[S, F, N]`.
            heard: Sound R that the responses are to explain, complex `[F, N]`.
            variance: v, `[F, N]`, above 0.
            uncertainty: `E|X - X0|^2`, `[S, F, N]`: loud as it may be, it is no evidence of a response.
        """
        found = []
        taps = len(self.frame)
        for bins, bands in blocks(len(heard), PART_VALUES):  # one band at a time, which stays in the cache
            past = _past(dry[:, bins], taps, self.delay)
            weight = variance[bins, None].reciprocal()
            vague = _past(uncertainty[:, bins], taps, self.delay) @ weight.mT
            weighed = (past * weight).mH
            precision = (past @ weighed + torch.diag_embed(vague[..., 0])).to(torch.complex128)
            matched = (heard[bins, None] @ weighed).to(torch.complex128)
            response = self._response(row, bands, precision, matched)
            found.append((response.to(past) @ past)[:, 0])
        return torch.cat(found)

    def _response(self, row: int, bands: slice, precision: Tensor, matched: Tensor) -> Tensor:
        """Posterior mean in bands, `[bins, S taps, S taps], [bins, 1, S taps] -> [bins, 1, S taps]`."""
        for _ in range(N_ROUNDS):
            level, decay = self.log_level[row, :, bands, None], self.decay[row, :, bands, None]
            prior = (level - decay * self.frame).exp().clamp_min(_LEAST_PRIOR)
            of_bins = prior.transpose(0, 1).flatten(1).repeat_interleave(BINS_PER_BAND, 0)[: len(matched)]
            spread = _inverse(precision + torch.diag_embed(of_bins.reciprocal()).to(precision))
            response = matched @ spread
            energy = response[:, 0].abs().square() + spread.diagonal(dim1=-2, dim2=-1).real
            of_bands = torch.stack([band.mean(0) for band in energy.split(BINS_PER_BAND)])
            self._refit(row, bands, of_bands.unflatten(1, (self.n_sources, -1)).transpose(0, 1))
        return response

    def _refit(self, row: int, bands: slice, energy: Tensor) -> None:
        """The prior most probable given energies `[S, bands, taps]`: scoring steps of a gamma regression."""
        level, decay = self.log_level[row, :, bands], self.decay[row, :, bands]
        if self.tied:
            energy = energy.mean(0, keepdim=True).expand_as(energy)
        centred = self.frame - self.frame.mean()
        for _ in range(N_SCORING_STEPS):
            log_prior = level[..., None] - decay[..., None] * self.frame
            excess = (energy.to(log_prior) / log_prior.exp().clamp_min(1e-30)).clamp_max(_MOST_OF_PRIOR) - 1
            aim = log_prior + excess
            if len(self.frame) > 1:
                decay = -(aim * centred).sum(-1) / centred.square().sum()
                decay = decay.clamp(*(self._nepers / rt60_s for rt60_s in reversed(RT60_LIMITS_S)))
            level = (aim.mean(-1) + decay * self.frame.mean()).clamp(*_LOG_LEVEL_LIMITS)
        self.log_level[row, :, bands], self.decay[row, :, bands] = level, decay


def _inverse(matrix: Tensor) -> Tensor:
    """Of Hermitian matrices `[..., K, K]`, positive definite but for rounding."""
    factor, failure = torch.linalg.cholesky_ex(matrix)
    return torch.linalg.inv(matrix) if failure.any() else torch.cholesky_inverse(factor)


def _past(spec: Tensor, taps: int, delay: int) -> Tensor:
    """The frames `delay` to `delay + taps - 1` before each, of all talkers, `[S, F, N] -> [F, S taps, N]`."""
    return torch.cat([stack_past(one[:, None], taps, delay) for one in spec], dim=1)
