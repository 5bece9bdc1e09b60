"""The prior: a network that denoises, with its preconditioning, its units and its files."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from diffsr.diffusion.precondition import precondition
from diffsr.errors import CheckpointError
from diffsr.io.atomic import replacing
from diffsr.io.weights import load_checkpoint, load_tensors, read_notes, save_tensors
from diffsr.networks import NETWORKS, Backbone
from diffsr.signal.stft import STFT

FORMAT = "diffsr-prior/2"
NOTED = ("rate_hz", "sigma_data")
"""What the weights mean, noted in their own file too: no shape tells it."""


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

    @property
    def speaker_width(self) -> int:
        """Width of the embedding of a talker that `denoise` takes; 0 where it takes none."""
        return self.network.speaker_width

    def denoise(self, z: Tensor, sigma: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Posterior mean of clean speech (EDM, arXiv 2206.00364, Eq. 7).

        Args:
            z: Noisy state `[..., T]`.
            sigma: Noise level `[...]`, one for each signal.
            speaker: Embedding of each talker `[..., E]`, as `diffsr.speakers.SpeakerEncoder` gives it; zeros,
                like None, mean nobody in particular.

        Returns:
            Estimate `[..., T]`.

        Raises:
            ValueError: A talker for a prior that was built without.
        """
        scale = precondition(sigma.reshape(-1, 1), self.sigma_data)
        flat = z.reshape(-1, z.shape[-1])
        told = None if speaker is None else speaker.reshape(-1, speaker.shape[-1])
        output = self.network(scale.c_in * flat, scale.c_noise[:, 0], told)
        return (scale.c_skip * flat + scale.c_out * output).reshape(z.shape)

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """Variance of speech around `x0` in STFT bins, `[..., F, N]`, from the estimate's own local power.

        Speech is taken as locally Gaussian: of all variances P, the one whose Wiener estimate has the power
        q of `x0` around a bin solves `P^2 = q (P + s^2)`, with the state's noise `s^2`; the uncertainty is
        `s^2 P / (s^2 + P)`. Where the prior says silence it is small, so that guidance does not let the
        noise of the recording back in; averaged over white signals it is that of the white Gaussian prior.
        """
        q = _smooth(stft(x0).abs().square())
        s2 = stft.bin_variance(sigma.square())
        power = (q + (q.square() + 4 * q * s2).sqrt()) / 2
        return s2 * power / (s2 + power).clamp_min(torch.finfo(power.dtype).tiny)

    # Files ------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights, as plain values: the `config.yaml` of a prior folder."""
        names = {kind: name for name, kind in NETWORKS.items()}
        return {
            "format": FORMAT,
            "rate_hz": self.rate_hz,
            "sigma_data": self.sigma_data,
            "window_s": self.window_s,
            "network": {"name": names[type(self.network)], **self.network.config},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], origin: str = "config") -> Prior:
        """Build an untrained prior from `config`.

        Raises:
            CheckpointError: Another format, an unknown network, or arguments that do not fit it.
        """
        if config.get("format") != FORMAT:
            raise CheckpointError(
                f"{origin} has format {config.get('format')!r}; this version of diffsr reads {FORMAT!r}. "
                "Use the version of diffsr that exported it, or export the prior again."
            )
        try:
            network = dict(config["network"])
            backbone = NETWORKS[network.pop("name")]
            return cls(backbone(**network), config["rate_hz"], config["sigma_data"], config["window_s"])
        except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise CheckpointError(
                f"{origin} does not describe a prior ({type(error).__name__}: {error}). "
                f"Known networks: {', '.join(sorted(NETWORKS))}."
            ) from error

    def save_pretrained(self, folder: str | Path, card: str = "") -> Path:
        """Write a prior folder: `model.safetensors`, the card `README.md` and, last, `config.yaml`.

        Each file is written completely or not at all, and a folder without `config.yaml` is no prior.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        folder = Path(folder)
        texts = {
            "README.md": card or f"# Speech prior\n\n{self.rate_hz} Hz.\n",
            "config.yaml": yaml.safe_dump(self.config, sort_keys=False),
        }
        try:
            save_tensors(self.state_dict(), folder / "model.safetensors", _notes(self))
            for name, text in texts.items():
                with replacing(folder / name) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CheckpointError(
                f"{folder}: the prior cannot be written ({error}). Free some disk space or "
                "choose another place."
            ) from error
        return folder

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Prior:
        """Load a prior folder (as `diffsr fit` exports it) or a Lightning checkpoint: CPU, eval mode.

        Raises:
            CheckpointError: Nothing there, parts missing, or weights that do not fit.
        """
        path = Path(source).expanduser()
        if os.path.isdir(path):  # unlike Path.is_dir, false where a folder above may not be entered
            config, weights = _read_folder(path)
        elif os.path.isfile(path):
            config, weights = _read_checkpoint(path)
        else:
            raise CheckpointError(
                f"No prior at {path}, or this user may not enter its folder. Expected a folder with "
                "config.yaml and model.safetensors, or a .ckpt; `make train` writes one to "
                "runs/prior/starter/*/prior."
            )
        prior = cls.from_config(config, origin=str(path))
        _load_strictly(prior, weights, path)
        if os.path.isdir(path):
            _check_notes(prior, path)
        return prior.eval().requires_grad_(False)


def _smooth(power: Tensor, size: int = 3) -> Tensor:
    """Mean over `size` bins and frames, `[..., F, N]`."""
    flat = power.reshape(-1, 1, *power.shape[-2:])
    mean = F.avg_pool2d(flat, size, stride=1, padding=size // 2, count_include_pad=False)
    return mean.reshape(power.shape)


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    missing = [name for name in ("config.yaml", "model.safetensors") if not os.path.isfile(folder / name)]
    if missing:
        raise CheckpointError(
            f"{folder} is not a prior folder: {' and '.join(missing)} missing, or not for this user. "
            "Expected config.yaml and model.safetensors, as `diffsr fit` exports them."
        )
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{folder / 'config.yaml'} cannot be read ({error.strerror}). Change its permissions (chmod +r) "
            "or export the prior again."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder / 'config.yaml'} is not valid YAML ({reason}).") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / 'config.yaml'} is empty or not a mapping; export the prior again.")
    return config, load_tensors(folder / "model.safetensors")


def _notes(prior: Prior) -> dict[str, str]:
    return {name: f"{getattr(prior, name):.9g}" for name in NOTED}


def _check_notes(prior: Prior, folder: Path) -> None:
    """Refuse weights that were saved with another meaning than their configuration says."""
    noted = read_notes(folder / "model.safetensors")
    for name, value in _notes(prior).items():
        if noted.get(name, value) != value:
            raise CheckpointError(
                f"{folder}: config.yaml has {name} {value}, and the weights were saved for {noted[name]}. "
                "config.yaml and model.safetensors must come from one export."
            )


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    content = load_checkpoint(path)
    if "diffsr_prior" not in content or "state_dict" not in content:
        raise CheckpointError(
            f"{path} holds no diffsr prior. Expected a checkpoint of `diffsr fit` on an experiments/prior "
            "file, or a prior folder."
        )
    prefix = "prior."
    weights = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    return content["diffsr_prior"], weights


def _load_strictly(prior: Prior, weights: dict[str, Tensor], path: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in prior.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"The weights in {path} do not fit its configuration: {len(differing)} of {len(expected)} "
            f"tensors differ, first {name}: found {found.get(name, 'nothing')}, expected "
            f"{expected.get(name, 'nothing')}. config.yaml and model.safetensors must come from one export."
        )
    bad = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise CheckpointError(f"The weights in {path} hold NaN or infinite values, first in {bad[0]}.")
    prior.load_state_dict(weights)
