"""From a recording to a restored recording: the one pipeline behind Python, command line and tasks."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffsr import __version__
from diffsr.diffusion import Prior, WindowedPrior
from diffsr.diffusion.devices import check_precision, move_to, takes_bfloat16
from diffsr.diffusion.fingerprint import calibration_sha1, prior_sha1
from diffsr.diffusion.prior import DEFAULT
from diffsr.errors import AudioError, ConfigError, DiffsrError
from diffsr.io.audio import read_audio
from diffsr.io.digest import digest_of
from diffsr.io.model_folder import CONFIG
from diffsr.io.run_layout import exported_prior, last_checkpoint
from diffsr.recipes import Recipe
from diffsr.restoration import Posed, Restoration, UnfinishedError
from diffsr.restoration.arrays import as_rate, as_wave, full_scale_of
from diffsr.restoration.checks import check_channels
from diffsr.restoration.choice import check_choice, check_networks, choose_recipe, refuse_beside_recipe
from diffsr.restoration.kept_sections import KeptSections
from diffsr.restoration.posing import pose
from diffsr.restoration.result import at_scale_of
from diffsr.restoration.section_plan import SECTION_S, check_section
from diffsr.restoration.sections import as_one, restore_sections
from diffsr.samplers.annealed import OnStep
from diffsr.typing import is_whole

_log = logging.getLogger(__name__)

OVERLAP_S = 0.512
"""Of the windows in which a prior hears what is longer than it was trained on."""
CUDA_BATCH = 8
"""Recordings at once where nothing else is asked for."""


class Restorer:
    """Restores recordings of any rate, length and number of channels with one prior and one recipe.

    The models of a recipe learn from the recording at hand, so calls from several threads take turns.

    Args:
        prior: A loaded prior, or what `load_prior` takes.
        task: What is wrong with the recordings: `enhance` (noise), `dereverb` (a room), `denoise_dereverb`
            (both), `separate` (several talkers), `joint` (several talkers in a room with noise), `declip`
            (peaks cut off), `packet_loss` (gaps of zeros), `bandwidth` (no frequencies above a cut-off).
        preset: `fast` (30 network calls), `default` (60) or `quality` (about 200), in rooms half as many
            again but for `fast`; or the path of an experiment (`experiments/enhance/default.yaml`), whose
            sampler and models are taken in place of the task's.
        seed: Seed of the posterior samples; a recording gets the same result in any company.
        device: `cpu`, `cuda`, `mps` (never tried, and without the float64 that rooms take), or `auto`: CUDA
            if there is one.
        channels: `each` restores every channel, `mean` their average, a number that channel alone. Several
            talkers come out of one channel: of their average, where `each` is asked for.
        recipe: Own sampler and models in place of task and preset.
        cutoff_hz: Where the frequencies of the recordings end, of `bandwidth` alone; None to estimate it.
        n_samples: Posterior samples R of each recording, of several talkers the restarts, which the recipe
            joins to the result. None leaves their number to the recipe. The random numbers of the first are
            those of a single one.
        rir: File with the room response from talker to microphone, where it is known; of `dereverb` alone.
        batch: Recordings of equal length that are restored at once; None is 8 on CUDA and 1 elsewhere, where
            it makes nothing faster. Without enough memory for so many there are fewer.
        talkers: How many talkers there are, of `separate` and `joint` and their experiments, 2 to 8; None is
            two, or what the experiment says.
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 where the processor is made for it, which took
            half of the time on CPUs; its rounding is far below the error of an estimate. What needs a
            gradient through the network computes in float32. Of a prior that is changed afterwards call
            `to`, as the weights are rounded once.
        section_s: Recordings of one talker that are longer are restored in sections of at most so many
            seconds, in much less memory (not of `declip`, `packet_loss` and `bandwidth`); None restores all
            in one piece.

    Raises:
        ConfigError: No such task or preset, or an argument that does not fit.
        CheckpointError: The prior cannot be had.
    """

    def __init__(
        self,
        prior: Prior | str | Path = DEFAULT,
        task: str = "enhance",
        preset: str | Path = "default",
        seed: int = 0,
        device: str = "auto",
        channels: str | int = "each",
        recipe: Recipe | None = None,
        cutoff_hz: float | None = None,
        n_samples: int | None = None,
        rir: str | Path | None = None,
        batch: int | None = None,
        talkers: int | None = None,
        precision: str = "auto",
        section_s: float | None = SECTION_S,
    ) -> None:
        rir = None if rir is None else Path(rir).expanduser()
        for name, option, value in (("n_samples", "samples", n_samples), ("batch", "batch", batch)):
            if value is not None and not (is_whole(value) and value > 0):
                raise ConfigError(
                    f"{name} is {value!r}; expected a whole number from 1 on (--{option} on the command "
                    "line)."
                )
        if recipe is not None and talkers not in (None, recipe.n_sources):
            raise ConfigError(
                f"talkers is {talkers} and the recipe has n_sources {recipe.n_sources}. Leave talkers out."
            )
        if not is_whole(seed):
            raise ConfigError(f"seed is {seed!r}; expected a whole number.")
        check_channels(str(channels))
        check_section(section_s)
        check_precision(precision)  # all before the prior, which takes longer
        if recipe is None:
            check_choice(task, preset, cutoff_hz, rir, talkers)
        else:
            refuse_beside_recipe(cutoff_hz=cutoff_hz, rir=rir)
        self.prior = prior if isinstance(prior, Prior) else load_prior(prior)
        self.seed, self.channels, self.batch, self.precision = seed, str(channels), batch, precision
        self.rir, self.section_s = rir, section_s
        self.keeps_samples = n_samples is not None and n_samples > 1
        self._asked = n_samples
        self._at_work = threading.Lock()
        self.recipe = recipe or choose_recipe(task, preset, self.prior.rate_hz, cutoff_hz, rir, talkers)
        self._recipe_digest = digest_of(self.recipe)  # before its models learn of a recording
        check_networks(self.recipe, self.prior.rate_hz)
        if self.n_samples < 1:
            raise ConfigError(f"n_samples of the recipe is {self.n_samples}; expected 1 or more.")
        self.to(device)

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which belongs to this process."""
        return {name: value for name, value in self.__dict__.items() if name != "_at_work"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._at_work = threading.Lock()

    @property
    def n_samples(self) -> int:
        """Posterior samples of each recording."""
        return self._asked or self.recipe.n_samples

    def use(self, recipe: Recipe) -> Restorer:
        """Take another recipe from now on, on the device of the one before.

        Raises:
            ConfigError: It has a network for another rate.
        """
        check_networks(recipe, self.prior.rate_hz)
        self.recipe, self._recipe_digest = recipe, digest_of(recipe)
        move_to(self.device, *recipe.modules())
        return self

    def to(self, device: str | torch.device) -> Restorer:
        """Move the prior and the models; decide how precisely the prior computes there."""
        self.device = move_to(device, self.prior, *self.recipe.modules())
        self.in_bfloat16 = takes_bfloat16(self.precision, self.device)
        window_s = self.prior.window_s
        overlap_s = min(OVERLAP_S, window_s / 4)
        self._windowed = WindowedPrior(self.prior, window_s, overlap_s, in_bfloat16=self.in_bfloat16)
        return self

    def restore(
        self,
        wave: Tensor | np.ndarray,
        rate_hz: int,
        item_id: str = "recording",
        on_step: OnStep | None = None,
    ) -> Restoration:
        """Restore one recording. Channels without the damage that is to be repaired stay as they are.

        Args:
            wave: `[C, T]`, of any scale, but what is 120 dB below full scale is silence; the result is a
                tensor of float32 at the same. Full scale is 1, or of integers what
                `restoration.arrays.full_scale_of` says, such as 32768.
            rate_hz: Its sampling rate.
            item_id: Name that its random numbers depend on, beside the seed.
            on_step: Called with (finished, total) steps.

        Raises:
            AudioError: It is silent, too short, not finite, or clipped throughout.
            ConfigError: It has no such channel, or a sampling rate of 0.
            DataError: It does not show the damage that is to be repaired.
            UnfinishedError: The sampler diverged, twice; its attribute `best` is the best estimate.
        """
        [result] = self.restore_many([wave], [rate_hz], [item_id], on_step)
        if isinstance(result, DiffsrError):
            raise result
        return result

    def restore_many(
        self,
        waves: Sequence[Tensor | np.ndarray],
        rates_hz: Sequence[int],
        ids: Sequence[str],
        on_step: OnStep | None = None,
        keep_in: Sequence[Path] | None = None,
    ) -> list[Restoration | DiffsrError]:
        """Restore recordings; those of equal length at the prior's rate share batches.

        Each gets what `restore` gives it but for rounding: matrix products are summed in another order in
        batches. That is less than 1e-5 of full scale in float32, and no more than bfloat16 itself changes.

        Args:
            waves: `[C, T]` each.
            rates_hz: Their sampling rates.
            ids: Their names, see `restore`.
            on_step: Called with (finished, total) steps.
            keep_in: A folder for each, where sections of a long recording are kept as soon as they are
                finished, and taken from where recording and settings are the same (of a recipe, those that
                it had when it was handed over); `kept_sections.remove_sections` takes it away.

        Returns:
            For each the restoration, or what `restore` would have raised.
        """
        results: dict[int, Restoration | DiffsrError] = {}
        posed: dict[int, list[Posed]] = {}
        with self._at_work:
            for place, (wave, rate_hz, item_id) in enumerate(zip(waves, rates_hz, ids, strict=True)):
                try:
                    posed[place] = self._posed(wave, rate_hz, item_id)
                except DiffsrError as error:
                    results[place] = error
            sections = {
                (place, number): one for place, parts in posed.items() for number, one in enumerate(parts)
            }
            kept = {
                place: self._kept(keep_in[place], waves[place], rates_hz[place], ids[place])
                for place, parts in posed.items()
                if keep_in is not None and len(parts) > 1
            }
            how = (self._windowed, self.recipe, self.seed, self.n_samples)
            restored = restore_sections(sections, kept, self.batch_size, on_step, *how)
        for place, parts in posed.items():
            results[place] = as_one(parts, [restored[place, number] for number in range(len(parts))])
        return [at_scale_of(wave, results[place]) for place, wave in enumerate(waves)]

    def _kept(self, folder: Path, wave: Tensor | np.ndarray, rate_hz: int, item_id: str) -> KeptSections:
        """Finished sections of a recording that were made as this would make them."""
        recorded = (as_wave(wave), int(rate_hz), item_id, self.channels, self.section_s)
        prior = (prior_sha1(self.prior), calibration_sha1(self.prior))
        how = (
            __version__,
            self._recipe_digest,
            self.seed,
            self.n_samples,
            self.in_bfloat16,
            self.device.type,
        )
        return KeptSections(folder, digest_of(recorded, prior, how), self.recipe.likelihood.stft)

    def _posed(self, wave: Tensor | np.ndarray, rate_hz: int, item_id: str) -> list[Posed]:
        """The sections of a recording, ready to be explained, see `restoration.posing.pose`."""
        heard = as_wave(wave) / full_scale_of(wave)
        models = (self.prior, self.recipe, self.device)
        return pose(heard, as_rate(rate_hz), item_id, self.channels, *models, self.section_s)

    def cuts(self, duration_s: float) -> bool:
        """Whether a recording of this length is restored in sections."""
        return self.section_s is not None and duration_s > self.section_s and self.recipe.can_be_cut

    @property
    def batch_size(self) -> int:
        """Recordings that are restored at once."""
        return self.batch or (CUDA_BATCH if self.device.type == "cuda" else 1)

    def restore_file(
        self, path: str | Path, item_id: str | None = None, on_step: OnStep | None = None
    ) -> Restoration:
        """Restore a file; its name without suffix is its identity unless `item_id` is given.

        Raises:
            DiffsrError: As `restore`, or the file cannot be read; the message names the file.
        """
        wave, info = read_audio(Path(path).expanduser())
        try:
            done = self.restore(wave, info.rate_hz, item_id or Path(path).stem, on_step)
            return replace(done, subtype=info.subtype)
        except DiffsrError as error:
            error.args = (f"{path}: {error}",)  # whatever else the error holds stays
            if isinstance(error, UnfinishedError):
                error.best = replace(error.best, subtype=info.subtype)
            raise


def load_prior(source: str | Path) -> Prior:
    """Load a prior that ships by its name, a prior folder, a checkpoint, or what a run folder holds of them.

    Raises:
        CheckpointError: Nothing there, parts missing, or weights that do not fit.
        ConfigError: It is neither a name nor a path.
    """
    if not isinstance(source, (str, Path)):
        raise ConfigError(
            f"The prior is {source!r}; expected a Prior, a name or a path (of an array give rate_hz=...)."
        )
    path = Path(source).expanduser()
    # os.path: unlike Path.exists, false where a folder above may not be entered
    parts = [part for part in (exported_prior(path), last_checkpoint(path)) if os.path.exists(part)]
    if len(parts) == 2 and os.path.getmtime(parts[1]) > os.path.getmtime(parts[0] / CONFIG):
        _log.warning("%s has trained on since it wrote its prior: the newer checkpoint is taken.", path)
        parts = parts[1:]
    return Prior.from_pretrained(parts[0] if parts else path)


def restore(
    audio: str | Path | Tensor | np.ndarray,
    prior: Prior | str | Path = DEFAULT,
    rate_hz: int | None = None,
    task: str = "enhance",
    preset: str | Path = "default",
    seed: int = 0,
    cutoff_hz: float | None = None,
    n_samples: int | None = None,
    rir: str | Path | None = None,
    talkers: int | None = None,
    device: str = "auto",
    channels: str | int = "each",
    precision: str = "auto",
    section_s: float | None = SECTION_S,
) -> Restoration:
    """Restore a file or an array.

    Args:
        audio: A file, or samples `[T]` or `[C, T]`. Those of any scale come back at theirs: integers as
            float32 of the same values, not divided by full scale; files that are saved are. What is 120 dB
            below full scale (1, of integers such as 32768) is silence.
        prior: A loaded prior, or what `load_prior` takes.
        rate_hz: Sampling rate of an array.
        task: What is wrong with it, see `Restorer`.
        preset: `fast`, `default`, `quality`, or the path of an experiment.
        seed: Seed of the posterior samples.
        cutoff_hz: Where its frequencies end, of the task `bandwidth` alone; None to estimate it.
        n_samples: Posterior samples, of which the result is made, with their spread as `.std`; None leaves it
            to the task and the preset.
        rir: File with the room response, where it is known; of the task `dereverb` alone.
        talkers: How many there are, of the tasks `separate` and `joint` alone; None is two.
        device: `cpu`, `cuda`, `mps` or `auto`, see `Restorer`.
        channels: `each`, `mean` or a number, see `Restorer`.
        precision: `float32`, `bfloat16` or `auto`, see `Restorer`.
        section_s: Longest section of a long recording, see `Restorer`.

    Returns:
        The restoration, with `.wave` of the kind and shape of `audio` and `.save(path)`; of several talkers
        `.wave` is `[S, T]`, and `.talkers` has the residual, the ranking and a confidence.

    Example:
        >>> restore("noisy.wav", prior="runs/prior/starter/1a2b3c4d").save("out.wav")  # doctest: +SKIP
    """
    restorer = Restorer(
        prior,
        task=task,
        preset=preset,
        seed=seed,
        cutoff_hz=cutoff_hz,
        n_samples=n_samples,
        rir=rir,
        talkers=talkers,
        device=device,
        channels=channels,
        precision=precision,
        section_s=section_s,
    )
    if isinstance(audio, (str, Path)):
        if rate_hz is not None:
            raise ConfigError(f"rate_hz is {rate_hz} and the audio a file, which says it. Leave rate_hz out.")
        return restorer.restore_file(audio)
    if rate_hz is None:
        raise ConfigError(
            "The audio is an array without a sampling rate; give rate_hz, for example rate_hz=16000."
        )
    wave = as_wave(audio)
    if wave.ndim not in (1, 2):
        raise AudioError(f"The array has shape {tuple(wave.shape)}; expected [T] or [channels, T].")

    def as_given(result: Restoration) -> Restoration:
        is_plain = wave.ndim == 1 and result.talkers is None

        def convert(out: Tensor) -> Tensor | np.ndarray:
            shaped = (out.reshape(*out.shape[:-2], -1) if is_plain else out).to(wave)
            return shaped if isinstance(audio, Tensor) else shaped.numpy()

        return result.converted(convert)

    try:
        return as_given(restorer.restore(audio[None] if wave.ndim == 1 else audio, rate_hz))
    except UnfinishedError as error:
        error.best = as_given(error.best)
        raise
