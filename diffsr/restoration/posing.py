"""From a recording to what is explained: checked, at the prior's rate and level, cut where it is long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from diffsr.degradations import Degradation
from diffsr.diffusion import Prior
from diffsr.errors import DataError
from diffsr.recipes import Recipe
from diffsr.restoration.checks import check_content, check_shape, choose_channels
from diffsr.restoration.recording import Posed
from diffsr.restoration.section_plan import SectionPlan
from diffsr.samplers.early_reflections import Prepared, prepared
from diffsr.signal.damage import without_offset
from diffsr.signal.levels import from_db
from diffsr.signal.resampling import resample

PAUSE_DB = 20.0
"""A section whose speech is that much below that of the loudest one has none."""


def pose(
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
    check_shape(wave, rate_hz)
    recipe.degradation.check_rates(rate_hz, prior.rate_hz)
    wave, chosen = choose_channels(wave.float().cpu(), channels, recipe.n_sources)
    check_content(wave, rate_hz, recipe.degradation.raises_peaks)
    rates_hz = (rate_hz, prior.rate_hz)
    plan = SectionPlan.of(wave.shape[-1] / rate_hz, rates_hz, section_s if recipe.can_be_cut else None)
    ready = _prepared(wave, rates_hz, recipe, plan, device)
    scale = recipe.n_sources**0.5 * prior.sigma_data / _of_all(torch.stack([one.level for one in ready]))
    like = first_alike(wave)
    ys = [torch.where(one.level[:, None] > 0, one.wave, 0.0) for one in ready]
    rows = _rows(recipe.degradation, ready, ys, scale, like)
    seconds = (time.perf_counter() - started) / len(ready)
    return [
        Posed(
            item_id if number == 0 else f"{item_id}/section {number + 1}",
            *rates_hz,
            len(part),
            wave[:, part.start : part.stop],
            ys[number],
            chosen,
            rows[number],
            scale[rows[number], None],
            plan.starts_s[number],
            seconds,
            None if one.early is None else one.early[rows[number]],
            like,
        )
        for number, (part, one) in enumerate(zip(plan.ranges(rate_hz, wave.shape[-1]), ready, strict=True))
    ]


def _prepared(
    wave: Tensor, rates_hz: tuple[int, int], recipe: Recipe, plan: SectionPlan, device: torch.device
) -> list[Prepared]:
    """Sections at the rate of the prior, without early reflections, and the level of the speech in each."""
    keeps_samples = recipe.degradation.keeps_samples
    # A constant would count as loud speech in the level, and as noise.
    heard = (lambda one: one) if keeps_samples else partial(without_offset, rate_hz=rates_hz[0])
    # One channel after the other, as what is needed on the way is larger than an hour itself.
    whole = torch.cat([resample(heard(one), *rates_hz).to(device) for one in wave.split(1)])
    how = (rates_hz[1], recipe.sampler.initialiser, recipe.early_reflections)
    parts = plan.ranges(rates_hz[1], whole.shape[-1])
    return [prepared(whole[:, part.start : part.stop], *how) for part in parts]


def _rows(
    degradation: Degradation,
    ready: Sequence[Prepared],
    ys: Sequence[Tensor],
    scale: Tensor,
    like: Sequence[int],
) -> list[Tensor]:
    """The channels of each section that are to be restored: none where all of it lies above the band.

    Raises:
        DataError: None that is heard shows the damage.
    """
    is_first = torch.tensor([place == first for place, first in enumerate(like)], device=scale.device)
    # What is heard twice stays one voice.
    heard = [((one.level > 0) & is_first).nonzero()[:, 0] for one in ready]
    if not any(map(len, heard)):
        return heard
    found = []
    for rows, y in zip(heard, ys, strict=True):
        waves = y[rows, None] * scale[rows, None, None]
        found.append(rows[degradation.damaged(waves)] if len(rows) else rows)
    if not any(map(len, found)):
        raise DataError(
            f"The recording {degradation.nothing_found}. There is nothing to repair; it is left as it is. "
            "Copy it, or choose another task."
        )
    return found


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
