"""Priors that know who speaks: told by the embedding of a voice, or adapted to it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from diffsr.diffusion.windowed import WindowedPrior
from diffsr.signal.stft import STFT


class PersonalPrior(ABC):
    """A prior with a talker for each signal above a noise level, and nobody in particular below.

    Who is who is decided at large noise; at small noise the network follows the signal, and what is known of
    its talker would only add errors.

    Args:
        prior: Of speech.
        known: What is known of the talker of each signal, `[rows, S, ...]`.
        sigma_low: Noise level below which nothing is.

    Attributes:
        n_told: Further calls that it has taken.
    """

    def __init__(self, prior: WindowedPrior, known: Tensor, sigma_low: float = 0.0) -> None:
        self.prior, self.known, self.sigma_low = prior, known, sigma_low
        self.rate_hz, self.sigma_data = prior.rate_hz, prior.sigma_data
        self.n_told = 0

    @property
    def in_bfloat16(self) -> bool:
        """As the prior."""
        return self.prior.in_bfloat16

    def of(self, items: list[int], n_restarts: int) -> PersonalPrior:
        """The same for some of the items, of `n_restarts` rows each."""
        return self.knowing(self.known.unflatten(0, (-1, n_restarts))[items].flatten(0, 1))

    @abstractmethod
    def knowing(self, known: Tensor) -> PersonalPrior:
        """The same with other talkers."""

    @abstractmethod
    def informed(self, z: Tensor, sigma: Tensor) -> Tensor:
        """As `denoise`, above `sigma_low`."""

    def denoise(self, z: Tensor, sigma: Tensor) -> Tensor:
        """`[rows, S, T]` and `[rows, S]` -> `[rows, S, T]`, as `Prior.denoise`."""
        if float(sigma.max()) <= self.sigma_low:
            return self.prior.denoise(z, sigma)
        return self.informed(z, sigma)

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """As the prior's."""
        return self.prior.uncertainty(x0, sigma, stft)


class ToldPrior(PersonalPrior):
    """A prior that is told voices, by classifier-free guidance (arXiv 2207.12598, Eq. 6).

        D(z) + weight (D(z | voice) - D(z))     above sigma_low, D(z) below

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
        super().__init__(prior, voices, sigma_low)
        self.weight = weight

    def knowing(self, known: Tensor) -> ToldPrior:
        """See `PersonalPrior`."""
        return ToldPrior(self.prior, known, self.weight, self.sigma_low)

    def informed(self, z: Tensor, sigma: Tensor) -> Tensor:
        """See `PersonalPrior`."""
        if self.weight == 0:
            return self.prior.denoise(z, sigma)
        if self.weight == 1:
            return self.prior.denoise(z, sigma, self.known)
        x0 = self.prior.denoise(z, sigma)
        self.n_told += 1
        return x0 + self.weight * (self.prior.denoise(z, sigma, self.known) - x0)


class AdaptedPrior(PersonalPrior):
    """A prior that is adapted to talkers (`diffsr.diffusion.adaptation`), without further calls.

    Args:
        prior: Can be adapted.
        known: Adaptation of each signal `[rows, S, *adaptation_shape]`.
        sigma_low: Noise level below which it is as it was.
    """

    def knowing(self, known: Tensor) -> AdaptedPrior:
        """See `PersonalPrior`."""
        return AdaptedPrior(self.prior, known, self.sigma_low)

    def informed(self, z: Tensor, sigma: Tensor) -> Tensor:
        """See `PersonalPrior`."""
        return self.prior.denoise(z, sigma, adaptation=self.known)
