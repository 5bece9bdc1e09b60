"""A recording as the prior sees it: checked, resampled, its channels chosen and brought to one level."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diffsr.degradations import Degradation
from diffsr.diffusion import Prior
from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.recipes import Recipe
from diffsr.restoration.section_plan import SectionPlan
from diffsr.samplers.early_reflections import prepared
from diffsr.signal.damage import without_offset
from diffsr.signal.levels import active_rms, from_db
from diffsr.signal.resampling import resample

SHORTEST_S = 0.1
CLIPPED_SHARE, CLIPPED_SHARE_TO_REPAIR = 0.5, 0.9
"""Of samples at the peak, at most. Repair still gains 3 dB SI-SDR where it is 0.55, and 2 dB at 0.85."""
CANCELLED_DB = 40.0
"""The mean of channels is that much below the loudest: one of them has the opposite polarity."""
LOWEST_RATE_HZ = 1000
"""Below it there is no speech. A wrong header: at the prior's rate such a file could fill the memory."""
PAUSE_DB = 20.0
"""A section whose speech is that much below that of the loudest one has none."""
HIGHEST_PEAK = 1e9
"""Of samples as floating point: far above integers that were not scaled, far below where squares overflow."""


@dataclass(frozen=True)
class Posed:
    """A recording, or a section of a long one, ready to be explained.

    Attributes:
        id: Its identity, which the random numbers depend on.
        rate_hz: Its sampling rate.
        prior_hz: That of the prior.
        n_samples: Its length at its own rate.
        wave: The chosen channels as they were recorded `[C, T]`.
        y: The chosen channels at the rate of the prior `[C, T]`, without the early reflections that were
            found; silent ones are zero.
        channels: Their numbers in the recording, or `mean`.
        rows: Those of them that are to be restored, K of C.
        scale: What they are multiplied by to be at the level that the prior expects, `[K, 1]`.
        start_s: Where it begins, of a section of a longer recording.
        seconds: Wall time of getting ready.
        early: Cepstrum of the early reflections that `y` is without, of each of the K `[K, Q]`; None where
            none were looked for.
        like: The first channel that each one is the same as, itself where there is none before.
    """

    id: str
    rate_hz: int
    prior_hz: int
    n_samples: int
    wave: Tensor
    y: Tensor
    channels: Sequence[int | str]
    rows: Tensor
    scale: Tensor
    start_s: float = 0.0
    seconds: float = 0.0
    early: Tensor | None = None
    like: Sequence[int] = ()

    @classmethod
    def of(
        cls,
        wave: Tensor,
        rate_hz: int,
        item_id: str,
        channels: str,
        prior: Prior,
        recipe: Recipe,
        device: torch.device,
        section_s: float | None = None,
    ) -> list[Posed]:
        """Check `wave [C, T]`, bring it to the prior's rate and level, and cut it where it is long.

        All sections have the scale of the whole, so that what is quiet in one of them stays so.

        Args:
            wave: The recording.
            rate_hz: Its sampling rate.
            item_id: Its identity.
            channels: `each`, `mean` or a number.
            prior: Of clean speech.
            recipe: What the recording is explained by.
            device: Where it is restored.
            section_s: Longest section, see `SectionPlan`; None cuts nothing, as do recipes that
                cannot (`Recipe.can_be_cut`).

        Returns:
            The sections.

        Raises:
            AudioError: It is silent, too short, not finite, or clipped throughout.
            ConfigError: It has no such channel, or a sampling rate of 0.
            DataError: It does not show the damage that is to be repaired.
        """
        started = time.perf_counter()
        _check_shape(wave, rate_hz)
        degradation, prior_hz = recipe.degradation, prior.rate_hz
        degradation.check_rates(rate_hz, prior_hz)
        wave, chosen = choose_channels(wave.float().cpu(), channels, recipe.n_sources)
        _check_content(wave, rate_hz, degradation.raises_peaks)
        # A constant would count as loud speech in the level, and as noise.
        heard = (lambda one: one) if degradation.keeps_samples else partial(without_offset, rate_hz=rate_hz)
        # One channel after the other, as what is needed on the way is larger than an hour itself.
        whole = torch.cat([resample(heard(one), rate_hz, prior_hz).to(device) for one in wave.split(1)])
        duration_s = wave.shape[-1] / rate_hz
        plan = SectionPlan.of(duration_s, (rate_hz, prior_hz), section_s if recipe.can_be_cut else None)
        initialiser, early_reflections = recipe.sampler.initialiser, recipe.early_reflections
        ready = [
            prepared(whole[:, part.start : part.stop], prior_hz, initialiser, early_reflections)
            for part in plan.ranges(prior_hz, whole.shape[-1])
        ]
        scale = recipe.n_sources**0.5 * prior.sigma_data / _of_all(torch.stack([one.level for one in ready]))
        like = first_alike(wave)
        is_first = torch.tensor([place == first for place, first in enumerate(like)], device=device)
        # Those that are heard: none where all of it lies above the band. What is heard twice stays one voice.
        rows = [((one.level > 0) & is_first).nonzero()[:, 0] for one in ready]
        parts = [torch.where(one.level[:, None] > 0, one.wave, 0.0) for one in ready]
        if any(map(len, rows)):
            rows = _damaged(degradation, rows, parts, scale)
        seconds = (time.perf_counter() - started) / len(ready)
        recorded = plan.ranges(rate_hz, wave.shape[-1])
        return [
            cls(
                item_id if number == 0 else f"{item_id}/section {number + 1}",
                rate_hz,
                prior_hz,
                len(recorded[number]),
                wave[:, recorded[number].start : recorded[number].stop],
                parts[number],
                chosen,
                rows[number],
                scale[rows[number], None],
                plan.starts_s[number],
                seconds,
                None if one.early is None else one.early[rows[number]],
                like,
            )
            for number, one in enumerate(ready)
        ]

    @property
    def waves(self) -> Tensor:
        """The channels to restore at the level that the prior expects, `[K, T]`."""
        return self.y[self.rows] * self.scale

    @property
    def end_s(self) -> float:
        """Where it ends, from the beginning of the recording that it is a section of."""
        return self.start_s + self.n_samples / self.rate_hz

    @property
    def row_ids(self) -> list[str]:
        """The identity of each channel to restore; the mean has that of channel 0."""
        chosen = [self.channels[row] for row in self.rows.tolist()]
        return [f"{self.id}/{0 if channel == 'mean' else channel}" for channel in chosen]

    def put_back(self, found: Tensor, extends_band: bool) -> tuple[Tensor, int]:
        """Posterior samples `[K, R, T]` at the prior's level -> `[R, C, T]` at that of the recording.

        Channels that were not restored come back as they were recorded, silent ones as zeros.

        Returns:
            The samples, and their sampling rate.
        """
        samples = self.y.repeat(found.shape[1], 1, 1)
        is_kept = self.y.any(-1).cpu()
        is_kept[self.rows.cpu()] = False
        # What was kept comes back bit by bit: scaling there and back would round.
        kept, scale = self.y[self.rows], self.scale[:, None]
        restored = torch.where(found == self.waves[:, None], kept[:, None], found / scale)
        samples[:, self.rows] = restored.swapaxes(0, 1)
        out_hz = max(self.rate_hz, self.prior_hz) if extends_band else self.rate_hz
        n_samples = self.n_samples if out_hz == self.rate_hz else None
        out = resample(samples.cpu(), self.prior_hz, out_hz, n_samples)
        if bool(is_kept.any()):  # also above the band of the prior
            out[:, is_kept] = resample(self.wave[is_kept], self.rate_hz, out_hz, out.shape[-1])
        return out[:, list(self.like)], out_hz

    def put_back_talkers(self, found: Tensor, n_sources: int) -> Tensor:
        """Restarts `[K, R, S, T]` at the prior's level -> `[R, S, T]` at level and rate of the recording.

        Where there was nothing to restore (K = 0) the talkers are silent.
        """
        if not len(self.rows):
            return torch.zeros(found.shape[1], n_sources, self.n_samples)
        restarts = found[0] / self.scale[0]
        return resample(restarts.cpu(), self.prior_hz, self.rate_hz, self.n_samples)


def first_alike(wave: Tensor) -> list[int]:
    """The first channel of `wave [C, T]` that each one is the same as, its own number for most."""
    found: list[int] = []
    for row in range(len(wave)):
        same = (first for first in dict.fromkeys(found) if torch.equal(wave[first], wave[row]))
        found.append(next(same, row))
    return found


def _of_all(levels: Tensor) -> Tensor:
    """Level of the speech in a recording from those of its sections, `[N, C] -> [C]`; 0 for silence.

    Sections without speech lower it as little as pauses do (`signal.levels.active_rms`).
    """
    if len(levels) == 1:
        return levels[0]
    counts = levels > levels.amax(0) * from_db(-PAUSE_DB)
    return ((levels.square() * counts).sum(0) / counts.sum(0).clamp_min(1)).sqrt()


def _damaged(
    degradation: Degradation, rows: list[Tensor], parts: list[Tensor], scale: Tensor
) -> list[Tensor]:
    """The rows of each section that are to be restored, of those that are heard."""
    found = []
    for some, y in zip(rows, parts, strict=True):
        waves = y[some, None] * scale[some, None, None]
        found.append(some[degradation.damaged(waves)] if len(some) else some)
    if not any(map(len, found)):
        raise DataError(
            f"The recording {degradation.nothing_found}. There is nothing to repair; it is left as it is. "
            "Copy it, or choose another task."
        )
    return found


def _check_shape(wave: Tensor, rate_hz: int) -> None:
    """Refuse what is no recording."""
    if rate_hz <= 0:
        raise ConfigError(f"The sampling rate is {rate_hz} Hz; expected a number above 0, such as 16000.")
    if rate_hz < LOWEST_RATE_HZ:
        raise AudioError(
            f"The sampling rate is {rate_hz} Hz; expected at least {LOWEST_RATE_HZ} Hz. "
            "Correct the header of the file."
        )
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


def _check_content(wave: Tensor, rate_hz: int, raises_peaks: bool) -> None:
    """Refuse what cannot be restored, saying why; more may be clipped where it is repaired."""
    if not bool(torch.isfinite(wave).all()):
        raise AudioError("The recording holds NaN or infinite samples; expected numbers. Export it again.")
    peak = float(wave.abs().max())
    if peak > HIGHEST_PEAK:
        raise AudioError(
            f"The recording reaches {peak:.1e}; expected samples of about 1, at most {HIGHEST_PEAK:.0e}. "
            "Scale it down."
        )
    if not bool(active_rms(wave - wave.mean(-1, keepdim=True), rate_hz).any()):
        raise AudioError("The recording is silent; expected speech. Leave it out or record it again.")
    share = float((wave.abs() >= 0.999 * peak).float().mean())
    most = CLIPPED_SHARE_TO_REPAIR if raises_peaks else CLIPPED_SHARE
    if share > most:
        can_repair = share <= CLIPPED_SHARE_TO_REPAIR
        repair = ", or raise its peaks by the task declip (--task declip on the command line)"
        raise AudioError(
            f"The recording is clipped in {share:.0%} of its samples; expected at most {most:.0%}. Record it "
            f"again at a lower level{repair if can_repair else ''}."
        )


def check_channels(channels: str) -> None:
    """Refuse what names no channel of any recording.

    Raises:
        ConfigError: It is neither a word that is known nor a number.
    """
    if channels not in ("each", "mean") and not channels.isdecimal():
        raise ConfigError(f"channels is {channels!r}; expected each, mean or a number from 0 on.")


def choose_channels(wave: Tensor, channels: str, n_sources: int = 1) -> tuple[Tensor, Sequence[int | str]]:
    """The channels to restore and their numbers in the recording, or `mean` for that of several.

    Several talkers come out of one channel: where `each` was asked for, of their mean.

    Raises:
        AudioError: The mean was asked for, and channels cancel in it.
        ConfigError: There is no such channel.
    """
    if channels == "each" and n_sources == 1:
        return wave, range(wave.shape[0])
    if channels in ("each", "mean"):
        return _mean_of(wave), ["mean" if len(wave) > 1 else 0]
    if channels.isdecimal() and int(channels) < wave.shape[0]:
        return wave[[int(channels)]], [int(channels)]
    raise ConfigError(
        f"channel {channels!r} was asked for and the recording has {wave.shape[0]}; "
        f"expected each, mean or a number from 0 to {wave.shape[0] - 1}."
    )


def _loudest_power(wave: Tensor) -> Tensor:
    """Of the channels, but for constants."""
    return (wave - wave.mean(-1, keepdim=True)).square().mean(-1).max()


def _mean_of(wave: Tensor) -> Tensor:
    """Of the channels, `[1, T]`."""
    mean = wave.mean(0, keepdim=True)
    if bool(_loudest_power(mean) < 10 ** (-CANCELLED_DB / 10) * _loudest_power(wave) / len(wave) ** 2):
        raise AudioError(
            f"The {len(wave)} channels cancel in their mean: their polarity is opposite. Choose one of them, "
            f"a number from 0 to {len(wave) - 1} (--channels on the command line)."
        )
    return mean
