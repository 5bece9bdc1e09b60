"""From a recording to a restored recording: the one pipeline behind Python, command line and tasks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffsr.diffusion import Prior, WindowedPrior
from diffsr.diffusion.devices import move_to
from diffsr.diffusion.prior import DEFAULT
from diffsr.errors import AudioError, ConfigError, DataError, DiffsrError
from diffsr.io.audio import can_hold, read_audio, write_audio
from diffsr.io.run_layout import exported_prior, last_checkpoint
from diffsr.recipes import Recipe, check_choice, make_recipe
from diffsr.samplers import Problem, RowNoise
from diffsr.samplers.initialise import speech_level
from diffsr.signal.levels import active_rms
from diffsr.signal.resampling import resample

OnStep = Callable[[int, int], None]

SHORTEST_S = 0.1
CLIPPED_SHARE = 0.5
OVERLAP_S = 0.512


@dataclass(frozen=True)
class Restoration:
    """A restored recording and what it took.

    Attributes:
        wave: Restored speech: of the kind, shape and level of the input; `[C, T]` for a file.
        rate_hz: Sampling rate, that of the input; for a wider band at least that of the prior.
        n_calls: Calls of the prior.
        seconds: Wall time.
        raises_peaks: Whether peaks above full scale are part of the repair and must not be cut off.
    """

    wave: Any
    rate_hz: int
    n_calls: int
    seconds: float
    raises_peaks: bool = False

    def save(self, path: str | Path, subtype: str | None = None) -> Path:
        """Write the audio; the suffix decides the format, `subtype` its bit depth (`PCM_24`).

        Repaired peaks above full scale are written as 32-bit floating point instead.

        Raises:
            AudioError: The file cannot be written, or its format cannot hold the repaired peaks.
        """
        wave = torch.as_tensor(self.wave)
        if self.raises_peaks and float(wave.abs().max()) > 1.0:
            if not can_hold(path, "FLOAT"):
                raise AudioError(
                    f"Cannot write {path}: the repaired peaks reach {float(wave.abs().max()):.2f} times full "
                    f"scale, which {Path(path).suffix} cannot hold. Convert the recording to .wav first."
                )
            subtype = "FLOAT"
        write_audio(path, wave.reshape(-1, wave.shape[-1]), self.rate_hz, subtype)
        return Path(path)


class Restorer:
    """Restores recordings of any rate, length and number of channels with one prior and one recipe.

    Args:
        prior: A loaded prior, or what `load_prior` takes.
        task: What is wrong with the recordings: `enhance` (noise), `declip` (peaks cut off), `packet_loss`
            (gaps of zeros), `bandwidth` (no frequencies above a cut-off).
        preset: `fast` (30 network calls), `default` (60) or `quality` (200).
        seed: Seed of the posterior sample; a recording gets the same result in any company.
        device: `cpu`, `cuda`, `mps`, or `auto`: CUDA if there is one.
        channels: `each` restores every channel, `mean` their average, a number that channel alone.
        recipe: Own sampler and models in place of task and preset.
        cutoff_hz: Where the frequencies of the recordings end; of `bandwidth` alone, which needs it.
    """

    def __init__(
        self,
        prior: Prior | str | Path = DEFAULT,
        task: str = "enhance",
        preset: str = "default",
        seed: int = 0,
        device: str = "auto",
        channels: str | int = "each",
        recipe: Recipe | None = None,
        cutoff_hz: float | None = None,
    ) -> None:
        if recipe is None:
            check_choice(task, preset, cutoff_hz)  # before the prior, which takes longer
        self.prior = prior if isinstance(prior, Prior) else load_prior(prior)
        self.recipe = recipe or make_recipe(task, preset, self.prior.rate_hz, cutoff_hz)
        self.seed, self.channels = seed, str(channels)
        self.to(device)

    def to(self, device: str | torch.device) -> Restorer:
        """Move the prior and the models."""
        parts = (self.prior, self.recipe.likelihood, self.recipe.degradation)
        self.device = move_to(device, *(part for part in parts if isinstance(part, torch.nn.Module)))
        return self

    def restore(
        self, wave: Tensor, rate_hz: int, item_id: str = "recording", on_step: OnStep | None = None
    ) -> Restoration:
        """Restore one recording. Channels without the damage that is to be repaired stay as they are.

        Args:
            wave: `[C, T]`.
            rate_hz: Its sampling rate.
            item_id: Name that its random numbers depend on, beside the seed.
            on_step: Called with (finished, total) steps.

        Raises:
            AudioError: It is silent, too short, not finite, or clipped throughout.
            ConfigError: It has no such channel, or a sampling rate of 0.
            DataError: It does not show the damage that is to be repaired.
        """
        started = time.perf_counter()
        degradation = self.recipe.degradation
        _check_shape(wave, rate_hz)
        degradation.check_rates(rate_hz, self.prior.rate_hz)
        wave, numbers = _choose_channels(wave.float(), self.channels)
        _check_content(wave, rate_hz)
        y = resample(wave, rate_hz, self.prior.rate_hz).to(self.device)
        restored, n_calls = self._restore_channels(y, [f"{item_id}/{n}" for n in numbers], on_step)
        out_hz = max(rate_hz, self.prior.rate_hz) if degradation.extends_band else rate_hz
        n_samples = wave.shape[-1] if out_hz == rate_hz else None
        out = resample(restored.cpu(), self.prior.rate_hz, out_hz, n_samples)
        return Restoration(out, out_hz, n_calls, time.perf_counter() - started, degradation.raises_peaks)

    def _restore_channels(self, y: Tensor, ids: Sequence[str], on_step: OnStep | None) -> tuple[Tensor, int]:
        """`y [C, T]` at the prior's rate -> the same restored; silent channels stay silent."""
        reference = self.recipe.sampler.initialiser.reference(y, self.prior.rate_hz)
        level = speech_level(reference, self.prior.rate_hz)
        sounding = level > 0
        rows = sounding.nonzero()[:, 0]
        if len(rows) == 0:  # the little that was there lies above the prior's band
            return torch.zeros_like(y), 0
        scale = self.prior.sigma_data / level[rows, None]
        rows, scale = self._damaged(rows, y[rows] * scale, scale)
        posed = y[rows] * scale
        prior = WindowedPrior(
            self.prior, self.prior.window_s, overlap_s=min(OVERLAP_S, self.prior.window_s / 4)
        )
        recipe = self.recipe
        problem = Problem.pose(
            posed[:, None],
            prior,
            recipe.degradation,
            recipe.likelihood,
            RowNoise(self.seed, [ids[row] for row in rows.tolist()]),
        )
        sampler = recipe.sampler
        samples = sampler.sample(problem, sampler.start(problem), on_step)
        found = samples.x[:, 0]
        restored = torch.where(sounding[:, None], y, 0.0)
        # What was kept comes back bit by bit: scaling there and back would round.
        restored[rows] = torch.where(found == posed, y[rows], found / scale)
        return restored, samples.n_calls

    def _damaged(self, rows: Tensor, posed: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that are to be restored, and their scales."""
        damaged = self.recipe.degradation.damaged(posed[:, None])
        if not bool(damaged.any()):
            raise DataError(
                f"The recording {self.recipe.degradation.nothing_found}. There is nothing to repair; it is "
                "left as it is. Copy it, or choose another task."
            )
        return rows[damaged], scale[damaged]

    def restore_file(
        self, path: str | Path, item_id: str | None = None, on_step: OnStep | None = None
    ) -> Restoration:
        """Restore a file; its name without suffix is its identity unless `item_id` is given.

        Raises:
            DiffsrError: As `restore`, or the file cannot be read; the message names the file.
        """
        wave, info = read_audio(path)
        try:
            return self.restore(wave, info.rate_hz, item_id or Path(path).stem, on_step)
        except DiffsrError as error:
            raise type(error)(f"{path}: {error}") from error


def load_prior(source: str | Path) -> Prior:
    """Load a prior that ships by its name, a prior folder, a checkpoint, or what a run folder holds of them.

    Raises:
        CheckpointError: Nothing there, parts missing, or weights that do not fit.
    """
    path = Path(source).expanduser()
    parts = (exported_prior(path), last_checkpoint(path))
    # os.path: unlike Path.exists, false where a folder above may not be entered
    return Prior.from_pretrained(next((part for part in parts if os.path.exists(part)), path))


def restore(
    audio: str | Path | Tensor | np.ndarray,
    prior: Prior | str | Path = DEFAULT,
    rate_hz: int | None = None,
    task: str = "enhance",
    preset: str = "default",
    seed: int = 0,
    cutoff_hz: float | None = None,
) -> Restoration:
    """Restore a file or an array.

    Args:
        audio: A file, or samples `[T]` or `[C, T]`.
        prior: A loaded prior, or what `load_prior` takes.
        rate_hz: Sampling rate of an array.
        task: What is wrong with it, see `Restorer`.
        preset: `fast`, `default` or `quality`.
        seed: Seed of the posterior sample.
        cutoff_hz: Where its frequencies end; of the task `bandwidth` alone, which needs it.

    Returns:
        The restoration, with `.wave` of the kind and shape of `audio` and `.save(path)`.

    Example:
        >>> restore("noisy.wav", prior="runs/prior/starter/1a2b3c4d").save("out.wav")  # doctest: +SKIP
    """
    restorer = Restorer(prior, task=task, preset=preset, seed=seed, cutoff_hz=cutoff_hz)
    if isinstance(audio, (str, Path)):
        return restorer.restore_file(audio)
    if rate_hz is None:
        raise ConfigError(
            "The audio is an array without a sampling rate; give rate_hz, for example rate_hz=16000."
        )
    # copied: PyTorch takes neither NumPy's reversed views nor its read-only arrays
    wave = audio.detach() if isinstance(audio, Tensor) else torch.from_numpy(np.array(audio))
    if wave.ndim not in (1, 2):
        raise AudioError(f"The array has shape {tuple(wave.shape)}; expected [T] or [channels, T].")
    result = restorer.restore(torch.atleast_2d(wave), rate_hz)
    out = result.wave.reshape(*wave.shape[:-1], -1).to(wave if wave.is_floating_point() else torch.float32)
    kind = out if isinstance(audio, Tensor) else out.numpy()
    return replace(result, wave=kind)


def _check_shape(wave: Tensor, rate_hz: int) -> None:
    """Refuse what is no recording."""
    if rate_hz <= 0:
        raise ConfigError(f"The sampling rate is {rate_hz} Hz; expected a number above 0, such as 16000.")
    if wave.ndim != 2 or wave.shape[0] == 0:
        raise AudioError(f"The audio has shape {tuple(wave.shape)}; expected [channels, T].")
    n_channels, n_samples = wave.shape
    if n_channels > max(n_samples, 1):
        raise AudioError(
            f"The audio has {n_channels} channels of {n_samples} samples; expected [channels, T]. "
            "Transpose it."
        )
    if n_samples < SHORTEST_S * rate_hz:
        raise AudioError(
            f"The recording lasts {n_samples / rate_hz:.4f} s (samples: {n_samples}, {rate_hz} Hz); "
            f"expected at least {SHORTEST_S} s. Leave it out or record more."
        )


def _check_content(wave: Tensor, rate_hz: int) -> None:
    """Refuse what cannot be restored, saying why."""
    if not bool(torch.isfinite(wave).all()):
        raise AudioError("The recording holds NaN or infinite samples; expected numbers. Export it again.")
    if not bool(active_rms(wave - wave.mean(-1, keepdim=True), rate_hz).any()):
        raise AudioError("The recording is silent; expected speech. Leave it out or record it again.")
    share = float((wave.abs() >= 0.999 * wave.abs().max()).float().mean())
    if share > CLIPPED_SHARE:
        raise AudioError(
            f"The recording is clipped in {share:.0%} of its samples; expected less than "
            f"{CLIPPED_SHARE:.0%}. Record it again at a lower level."
        )


def _choose_channels(wave: Tensor, channels: str) -> tuple[Tensor, Sequence[int]]:
    """The channels to restore and their numbers in the recording; the mean counts as channel 0."""
    if channels == "each":
        return wave, range(wave.shape[0])
    if channels == "mean":
        return wave.mean(0, keepdim=True), [0]
    if channels.isdecimal() and int(channels) < wave.shape[0]:
        return wave[[int(channels)]], [int(channels)]
    raise ConfigError(
        f"channel {channels!r} was asked for and the recording has {wave.shape[0]}; "
        f"expected each, mean or a number from 0 to {wave.shape[0] - 1}."
    )
