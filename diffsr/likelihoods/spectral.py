"""Compressed spectra compared: the data loss of samplers that were published without a noise model."""

from __future__ import annotations

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.likelihoods.base import Likelihood
from diffsr.signal.compression import compress, power, relative_floor


class SpectralCompression(Likelihood):
    """`C(Y) - C(A X) ~ CN(0, level^2)` in every bin, with `C(Y) = factor |Y|^exponent exp(j arg Y)`.

    A quiet bin counts almost as much as a loud one, as for listeners. BUDDy compares with exponent 2/3 and
    factor 1 (arXiv 2405.04272), UDiffSE and its successors have their state in exponent 1/2 and factor 0.15
    (arXiv 2309.10450). `log_prob` is differentiable everywhere, so `DPS` can use it. Scaling y
    and A x by c scales it by `c^(2 exponent)`, and its gradient's direction not at all.

    It has no noise power of a bin: compressed speech and noise do not add up. `Proximal`, `NoisePerturbed`,
    the likelihood rule of `DPS` and the sampled solvers need one and refuse it.

    Args:
        exponent: Of the magnitudes; 1 is white noise.
        factor: Of the compressed spectrum.
        level: Standard deviation of a compressed bin; does not matter to steps of fixed length.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.

    Raises:
        ConfigError: Exponent, factor or level is not above 0, or the exponent is above 1.
    """

    def __init__(
        self,
        exponent: float = 2.0 / 3.0,
        factor: float = 1.0,
        level: float = 1.0,
        n_fft: int = 512,
        hop_samples: int = 128,
    ) -> None:
        super().__init__(n_fft, hop_samples)
        if not (0 < exponent <= 1 and factor > 0 and level > 0):
            raise ConfigError(
                f"SpectralCompression has the exponent {exponent:g}, the factor {factor:g} and the level "
                f"{level:g}; expected an exponent above 0 and up to 1, the others above 0."
            )
        self.exponent, self.factor, self.level = exponent, factor, level

    def reset(self, y: Tensor, item_of_row: Tensor) -> None:
        """Nothing to start."""

    @property
    def variance(self) -> Tensor:
        """There is none.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "SpectralCompression has no noise power of a bin: compressed speech and noise do not add up. "
            "Choose the guidance DPS with rule: normalised and the solver Euler, Heun or Ancestral, or "
            "another likelihood, such as NMFNoise."
        )

    def update(self, residual: Tensor, extra_variance: Tensor) -> None:
        """Nothing to estimate."""

    def describe(self) -> dict[str, Tensor]:
        """Nothing that is known of the noise."""
        return {}

    def log_prob(self, y: Tensor, y_hat: Tensor, extra_variance: Tensor | float = 0.0) -> Tensor:
        """`-sum |C(Y) - C(Y_hat)|^2 / level^2`, `[rows]`; a variance of `y_hat` is not taken into account."""
        target, estimate = self.stft(y[:, 0]), self.stft(y_hat[:, 0])
        floor = relative_floor(target)
        difference = compress(target, self.exponent, floor) - compress(estimate, self.exponent, floor)
        return -((self.factor / self.level) ** 2) * power(difference).sum((-2, -1))
