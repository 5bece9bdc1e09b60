"""How far a denoised estimate is from clean speech in each bin: a measured table, or a formula."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsr.errors import CheckpointError
from diffsr.io.weights import load_tensors, read_notes, save_tensors
from diffsr.signal.stft import STFT

FORMAT = "diffsr-calibration/1"
FILE = "calibration.safetensors"
SIGMA_ENDS = (1e-4, 10.0)
LEVEL_ENDS_DB = (-60.0, 40.0)
"""The table covers these in even steps of log sigma and of dB, and frequency in even steps of mel from 0 to
half the rate; what lies beyond is clamped. A file has no axes of its own: others are another format."""


class Calibration(nn.Module):
    """Measured `E|X - X0|^2` as a function of noise level, frequency and the estimate's own local power.

    Everything is per sample, so that one table serves all STFTs: the power q of `X0` around a bin counts in
    units of the white Gaussian uncertainty `u = s^2 sd^2 / (s^2 + sd^2)`, and so does the error. Between
    its nodes the logarithm is interpolated linearly in log sigma, mel and dB.

    Args:
        log_ratio: `ln(E|X - X0|^2 / u)`, `[S, K, L]`: noise levels, frequencies, local powers.
        rate_hz: Sampling rate of the prior that was measured.
        sigma_data: Its RMS of active speech.
        source: What it was measured on, for people.

    Raises:
        ValueError: The table has another shape, or values that are not finite.
    """

    log_ratio: Tensor

    def __init__(self, log_ratio: Tensor, rate_hz: int, sigma_data: float, source: str = "") -> None:
        super().__init__()
        if log_ratio.ndim != 3 or min(log_ratio.shape) < 2 or not bool(log_ratio.isfinite().all()):
            raise ValueError(
                f"the table has shape {list(log_ratio.shape)}; expected [S, K, L] of finite values, "
                "each at least 2"
            )
        self.register_buffer("log_ratio", log_ratio.detach().float(), persistent=False)
        self.rate_hz, self.sigma_data, self.source = rate_hz, sigma_data, source

    def forward(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """Variance of speech around `x0 [..., T]` in STFT bins, `[..., F, N]`; sigma is `[...]`."""
        n_sigmas, n_bands, n_levels = self.log_ratio.shape
        white = stft.bin_variance(white_uncertainty(sigma, self.sigma_data)).reshape(-1, 1, 1)
        power = local_power(x0, stft)
        level = power.reshape(-1, *power.shape[-2:]) / white
        at, share = _locate(sigma_position(sigma.reshape(-1), n_sigmas), n_sigmas)
        table = torch.lerp(self.log_ratio[at], self.log_ratio[at + 1], share[:, None, None])
        at, share = _locate(band_position(stft, self.rate_hz, n_bands), n_bands)
        table = torch.lerp(table[:, at], table[:, at + 1], share[:, None])
        at, share = _locate(level_position(level, n_levels), n_levels)
        log_ratio = torch.lerp(table.gather(-1, at), table.gather(-1, at + 1), share)
        return (white * log_ratio.exp()).reshape(power.shape)


def local_uncertainty(x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
    """Variance of speech around `x0` in STFT bins, `[..., F, N]`, by a formula that knows no network.

    Speech is taken as locally Gaussian: of all variances P, the one whose Wiener estimate has the power
    q of `x0` around a bin solves `P^2 = q (P + s^2)`, with the state's noise `s^2`; the uncertainty is
    `s^2 P / (s^2 + P)`. Where the prior says silence it is small, so that guidance does not let the
    noise of the recording back in; averaged over white signals it is that of the white Gaussian prior.
    """
    q, s2 = local_power(x0, stft), stft.bin_variance(sigma.square())
    power = (q + (q.square() + 4 * q * s2).sqrt()) / 2
    return s2 * power / (s2 + power).clamp_min(torch.finfo(power.dtype).tiny)


def white_uncertainty(sigma: Tensor, sigma_data: float) -> Tensor:
    """`s^2 sd^2 / (s^2 + sd^2)` per sample, the unit of the table."""
    return sigma.square() * sigma_data**2 / (sigma.square() + sigma_data**2)


def local_power(x0: Tensor, stft: STFT, size: int = 3) -> Tensor:
    """`|X0|^2` as a mean over `size` bins and frames, `[..., T] -> [..., F, N]`."""
    power = stft(x0).abs().square()
    flat = power.reshape(-1, 1, *power.shape[-2:])
    mean = F.avg_pool2d(flat, size, stride=1, padding=size // 2, count_include_pad=False)
    return mean.reshape(power.shape)


# Axes: positions in units of nodes, not clamped ------------------------------------------------------


def sigma_position(sigma: Tensor, n_nodes: int) -> Tensor:
    """Where noise levels lie between the nodes."""
    low, high = (math.log(end) for end in SIGMA_ENDS)
    return (sigma.clamp_min(torch.finfo(sigma.dtype).tiny).log() - low) * ((n_nodes - 1) / (high - low))


def band_position(stft: STFT, rate_hz: int, n_nodes: int) -> Tensor:
    """Where the bins of an STFT lie between the nodes, `[F]`."""
    frequency_hz = torch.arange(stft.n_bins, device=stft.window.device) * (rate_hz / stft.n_fft)
    return (1 + frequency_hz / 700).log() * ((n_nodes - 1) / math.log(1 + rate_hz / 2 / 700))


def level_position(ratio: Tensor, n_nodes: int) -> Tensor:
    """Where local powers, in units of the white uncertainty, lie between the nodes."""
    low, high = (end / 10 * math.log(10) for end in LEVEL_ENDS_DB)
    return (ratio.clamp_min(torch.finfo(ratio.dtype).tiny).log() - low) * ((n_nodes - 1) / (high - low))


def _locate(position: Tensor, n_nodes: int) -> tuple[Tensor, Tensor]:
    """The node below, and how far it is from there to the next, 0 to 1.

    What is not a number stays so in the second, and spoils no other row.
    """
    position = position.clamp(0, n_nodes - 1)
    below = position.detach().long().clamp(0, n_nodes - 2)
    return below, position - below


# File -------------------------------------------------------------------------------------------


def save_calibration(calibration: Calibration | None, folder: str | Path) -> None:
    """Write the table into a prior folder; without one, remove what an earlier prior left there.

    Raises:
        CheckpointError: It cannot be written.
    """
    path = Path(folder) / FILE
    if calibration is None:
        with contextlib.suppress(OSError):
            path.unlink()
        return
    notes = {"format": FORMAT, "source": calibration.source, **_meaning(calibration)}
    try:
        save_tensors({"log_ratio": calibration.log_ratio}, path, notes)
    except OSError as error:
        raise CheckpointError(
            f"{path}: the calibration cannot be written ({error.strerror or error}). Free some disk space or "
            "choose another place."
        ) from error


def load_calibration(folder: str | Path, rate_hz: int, sigma_data: float) -> Calibration | None:
    """The table in a prior folder, None where there is none.

    Raises:
        CheckpointError: It is damaged, of another format, or of a prior of another rate or level.
    """
    path = Path(folder) / FILE
    if not os.path.lexists(path):
        return None
    way_out = "Remove it: the prior works without, and `diffsr prepare calibration` measures it again."
    try:
        tensors, notes = load_tensors(path), read_notes(path)
        if notes.get("format") != FORMAT:
            raise ValueError(f"found format {notes.get('format')!r}, expected {FORMAT!r}")
        if "log_ratio" not in tensors:
            raise ValueError(
                f"found no tensor named log_ratio (found: {', '.join(sorted(tensors)) or 'none'})"
            )
        found = Calibration(tensors["log_ratio"], rate_hz, sigma_data, notes.get("source", ""))
    except (CheckpointError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise CheckpointError(f"{path} is no calibration of a prior: {reason}. {way_out}") from error
    for name, value in _meaning(found).items():
        if notes.get(name) != value:
            raise CheckpointError(
                f"{path} was measured for {name} {notes.get(name)}; this prior has {value}. {way_out}"
            )
    return found


def _meaning(calibration: Calibration) -> dict[str, str]:
    return {"rate_hz": f"{calibration.rate_hz:.9g}", "sigma_data": f"{calibration.sigma_data:.9g}"}
