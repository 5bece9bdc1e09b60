"""A prior that is told whose voice to expect."""

from __future__ import annotations

from torch import Tensor

from diffsr.diffusion.windowed import WindowedPrior
from diffsr.signal.stft import STFT


class ToldPrior:
    """A prior with a talker for each signal, by classifier-free guidance (arXiv 2207.12598, Eq. 6).

        D(z) + weight (D(z | voice) - D(z))     above sigma_low, D(z) below

    Who is who is decided at large noise; at small noise the network follows the signal, and being told would
    only add errors. Second calls count in `n_told`.

    Args:
        prior: Takes talkers (`speaker_width` above 0).
        voices: Embedding of the talker of each signal `[rows, S, E]`.
        weight: 0 tells nothing, 1 is the conditional prior, which takes no second call, more exaggerates it
            (1 + w of the paper).
        sigma_low: Noise level below which nobody is told.
    """

    def __init__(
        self, prior: WindowedPrior, voices: Tensor, weight: float = 1.0, sigma_low: float = 0.0
    ) -> None:
        self.prior, self.voices = prior, voices
        self.weight, self.sigma_low = weight, sigma_low
        self.rate_hz, self.sigma_data = prior.rate_hz, prior.sigma_data
        self.n_told = 0

    def of(self, items: list[int], n_restarts: int) -> ToldPrior:
        """The same for some of the items, of `n_restarts` rows each."""
        voices = self.voices.unflatten(0, (-1, n_restarts))[items].flatten(0, 1)
        return ToldPrior(self.prior, voices, self.weight, self.sigma_low)

    def denoise(self, z: Tensor, sigma: Tensor) -> Tensor:
        """`[rows, S, T]` and `[rows, S]` -> `[rows, S, T]`, as `Prior.denoise`."""
        if self.weight == 0 or float(sigma.max()) <= self.sigma_low:
            return self.prior.denoise(z, sigma)
        if self.weight == 1:
            return self.prior.denoise(z, sigma, self.voices)
        x0 = self.prior.denoise(z, sigma)
        self.n_told += 1
        return x0 + self.weight * (self.prior.denoise(z, sigma, self.voices) - x0)

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """As the prior's."""
        return self.prior.uncertainty(x0, sigma, stft)
