"""The prior: a network that denoises, with its preconditioning, its units and its files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffsr.diffusion.calibration import (
    Calibration,
    load_calibration,
    local_uncertainty,
    save_calibration,
)
from diffsr.diffusion.precondition import precondition
from diffsr.errors import CheckpointError
from diffsr.io.model_folder import ModelKind, load_strictly, read_model, shipped_folder, write_model
from diffsr.networks import NETWORKS, Backbone
from diffsr.signal.stft import STFT

KIND = ModelKind(
    name="prior",
    format="diffsr-prior/2",
    shipped="priors",
    experiment="prior",
    checkpoint_key="diffsr_prior",
    prefix="prior.",
    noted=("rate_hz", "sigma_data"),
)
DEFAULT = "speech-16k-fast"
"""The shipped prior that restores when none is named."""


class Prior(nn.Module):
    """Clean speech as a diffusion model in waveform form: `E[x | z, sigma]` with `z = x + sigma * noise`.

    Args:
        network: Backbone, `(wave [B, T], c_noise [B]) -> [B, T]`, one of `diffsr.networks`.
        rate_hz: Sampling rate of the speech it knows.
        sigma_data: RMS of active speech it expects.
        window_s: Longest context it was trained on; longer signals are denoised in overlapping windows.

    Raises:
        ValueError: One of the numbers is none, or not above 0.
    """

    def __init__(
        self, network: Backbone, rate_hz: int = 16_000, sigma_data: float = 0.05, window_s: float = 4.096
    ) -> None:
        super().__init__()
        for name, value in {"rate_hz": rate_hz, "sigma_data": sigma_data, "window_s": window_s}.items():
            if not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}; expected a number above 0")
        self.network = network
        self.rate_hz, self.sigma_data, self.window_s = rate_hz, sigma_data, window_s
        self.calibration: Calibration | None = None  # of the uncertainty; comes with the files

    @property
    def speaker_width(self) -> int:
        """Width of the embedding of a talker that `denoise` takes; 0 where it takes none."""
        return self.network.speaker_width

    @property
    def adaptation_shape(self) -> tuple[int, ...] | None:
        """Shape of what adapts it to a signal; None where it cannot be adapted."""
        return self.network.adaptation_shape

    def denoise(
        self,
        z: Tensor,
        sigma: Tensor,
        speaker: Tensor | None = None,
        adaptation: Tensor | None = None,
    ) -> Tensor:
        """Posterior mean of clean speech (EDM, arXiv 2206.00364, Eq. 7).

        Args:
            z: Noisy state `[..., T]`.
            sigma: Noise level `[...]`, one for each signal.
            speaker: Embedding of each talker `[..., E]`, as `diffsr.speakers.SpeakerEncoder` gives it; zeros,
                like None, mean nobody in particular.
            adaptation: Of each signal `[..., *adaptation_shape]`, see `diffsr.diffusion.adaptation`.

        Returns:
            Estimate `[..., T]`.

        Raises:
            ValueError: A talker for a prior that was built without, or an adaptation for one that takes none.
        """
        scale = precondition(sigma.reshape(-1, 1), self.sigma_data)
        flat = z.reshape(-1, z.shape[-1])
        told = None if speaker is None else speaker.reshape(-1, speaker.shape[-1])
        output = self.output(scale.c_in * flat, scale.c_noise[:, 0], told, adaptation)
        return (scale.c_skip * flat + scale.c_out * output).reshape(z.shape)

    def output(
        self,
        wave: Tensor,
        c_noise: Tensor,
        speaker: Tensor | None = None,
        adaptation: Tensor | None = None,
    ) -> Tensor:
        """Of the raw network, see `Backbone`; one that cannot be adapted is asked without."""
        if adaptation is None:
            return self.network(wave, c_noise, speaker)
        if self.adaptation_shape is None:
            raise ValueError(f"{type(self.network).__name__} cannot be adapted, expected adaptation=None.")
        return self.network(wave, c_noise, speaker, adaptation.reshape(-1, *self.adaptation_shape))

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """Variance `E|X - X0|^2` of speech around the estimate `x0 [..., T]` in STFT bins, `[..., F, N]`.

        From the measured table of this prior, or from the local formula where it has none: see
        `diffsr.diffusion.calibration`. sigma is `[...]`, one for each signal.
        """
        if self.calibration is None:
            return local_uncertainty(x0, sigma, stft)
        return self.calibration(x0, sigma, stft)

    # Files ------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights, as plain values: the `config.yaml` of a prior folder."""
        names = {kind: name for name, kind in NETWORKS.items()}
        return {
            "format": KIND.format,
            "rate_hz": self.rate_hz,
            "sigma_data": self.sigma_data,
            "window_s": self.window_s,
            "network": {"name": names[type(self.network)], **self.network.config},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], origin: str = "config") -> Prior:
        """Build an untrained prior from `config`.

        Raises:
            CheckpointError: An unknown network, or arguments that do not fit it.
        """
        try:
            network = dict(config["network"])
            backbone = NETWORKS[network.pop("name")]
            return cls(backbone(**network), config["rate_hz"], config["sigma_data"], config["window_s"])
        except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise CheckpointError(
                f"{origin} does not describe a prior ({type(error).__name__}: {error}). "
                f"Known networks: {', '.join(sorted(NETWORKS))}."
            ) from error

    def save_pretrained(self, folder: str | Path, card: str = "", dtype: str | None = None) -> Path:
        """Write a prior folder: `model.safetensors`, the card `README.md` and, last, `config.yaml`.

        Each file is written completely or not at all, and a folder without `config.yaml` is no prior.

        Args:
            folder: Where.
            card: Text of the card.
            dtype: Store the weights in half the space as `bfloat16` or `float16`; None as they are. They are
                loaded in single precision.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        folder = Path(folder).expanduser()
        card = card or f"# Speech prior\n\n{self.rate_hz} Hz.\n"
        stored = None if dtype is None else getattr(torch, dtype)
        written = write_model(KIND, folder, self.config, self.state_dict(), card, stored)
        save_calibration(self.calibration, folder)  # a folder whose weights cannot be replaced keeps its own
        return written

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Prior:
        """Load a prior: CPU, eval mode, single precision.

        Args:
            source: A name that ships (`speech-16k-fast`), a prior folder (as `diffsr fit` exports it), or a
                Lightning checkpoint.

        Raises:
            CheckpointError: Nothing there, parts missing, or weights that do not fit.
        """
        config, weights = read_model(KIND, source)
        prior = cls.from_config(config, origin=str(source))
        load_strictly(prior, weights, str(source))
        folder = shipped_folder(KIND, str(source)) or Path(source).expanduser()
        prior.calibration = load_calibration(folder, prior.rate_hz, prior.sigma_data)
        return prior.eval().requires_grad_(False)
