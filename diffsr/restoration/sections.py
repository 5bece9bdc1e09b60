"""Sections of a long recording that were restored one by one, as one restoration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffsr.diffusion import WindowedPrior
from diffsr.errors import DiffsrError
from diffsr.recipes import Recipe
from diffsr.restoration.batch import batches, restore_batch
from diffsr.restoration.kept_sections import KeptSections
from diffsr.restoration.progress import part_of
from diffsr.restoration.recording import Posed
from diffsr.restoration.result import Restoration, Section, UnfinishedError
from diffsr.restoration.section_physics import mean_noise, over_sections
from diffsr.samplers.annealed import OnStep

Key = tuple[int, int]
"""Place of a recording, and number of its section."""
FADE_S = 0.1
"""In which one section takes over from another: long enough to be no click, shorter than most pauses."""
EDGE_S = 0.4
"""At the edges of a section, which are worse: what was said before, and is still heard, is not in it."""


def restore_sections(
    sections: Mapping[Key, Posed],
    kept: Mapping[int, KeptSections],
    batch_size: int,
    on_step: OnStep | None,
    prior: WindowedPrior,
    recipe: Recipe,
    seed: int,
    n_samples: int,
) -> dict[Key, Restoration | DiffsrError]:
    """Restore sections of recordings in batches, those that are kept from before left out.

    Args:
        sections: Of all recordings; one that is short is its only section.
        kept: Where those of a recording are kept as soon as they are finished.
        batch_size: Sections of equal length that are restored at once.
        on_step: Called with (finished, total) steps.
        prior: See `restore_batch`, as the rest.
        recipe: The same.
        seed: The same.
        n_samples: The same.
    """
    found: dict[Key, Restoration | DiffsrError] = {}
    for key, one in sections.items():
        if key[0] in kept and (earlier := kept[key[0]].load(one)) is not None:
            found[key] = earlier
    groups = batches({key: one.y.shape[-1] for key, one in sections.items() if key not in found}, batch_size)
    for count, group in enumerate(groups):
        members = [sections[key] for key in group]
        steps = part_of(on_step, count, len(groups))
        done = restore_batch(members, prior, recipe, seed, n_samples, steps)
        for key, one, result in zip(group, members, done, strict=True):
            found[key] = result
            if isinstance(result, Restoration) and (key[0], 1) in sections:
                found[key] = result = of_section(result)
                if key[0] in kept:
                    kept[key[0]].save(one, result)
    return found


def as_one(posed: Sequence[Posed], results: Sequence[Restoration | DiffsrError]) -> Restoration | DiffsrError:
    """The sections of one recording as a whole; of one that failed, why.

    Args:
        posed: The sections, in order.
        results: What became of each.
    """
    if len(results) == 1:
        return results[0]
    parts: list[Restoration] = []
    unfinished = ""
    for one, result in zip(posed, results, strict=True):
        where = f"It is the section from {one.start_s:.0f} to {one.end_s:.0f} s."
        if isinstance(result, UnfinishedError):
            parts.append(of_section(result.best))
            unfinished = unfinished or f"{result} {where}"
        elif isinstance(result, DiffsrError):
            return type(result)(f"{result} {where}")
        else:
            parts.append(result)
    whole = _joined(posed, parts)
    return UnfinishedError(unfinished, whole) if unfinished else whole


def of_section(restoration: Restoration) -> Restoration:
    """What is kept of a section until all are finished."""
    physics = restoration.physics
    return replace(restoration, physics=None if physics is None else mean_noise(physics))


def _joined(posed: Sequence[Posed], parts: Sequence[Restoration]) -> Restoration:
    """One restoration; its calls are those of each section, as those of each window are."""
    rate_hz = parts[0].rate_hz
    starts = [round(one.start_s * rate_hz) for one in posed]
    cuts = [
        _quietest(torch.as_tensor(before.wave)[..., start - earlier :], torch.as_tensor(after.wave), rate_hz)
        for before, after, earlier, start in zip(parts, parts[1:], starts, starts[1:], strict=False)
    ]
    has_samples = parts[0].samples is not None
    sections = [Section(one.start_s, one.end_s, part.physics) for one, part in zip(posed, parts, strict=True)]
    return replace(
        parts[0],
        wave=_faded([part.wave for part in parts], starts, cuts, rate_hz),
        n_calls=max(part.n_calls for part in parts),
        seconds=sum(part.seconds for part in parts),
        samples=_faded([part.samples for part in parts], starts, cuts, rate_hz) if has_samples else None,
        physics=over_sections([one.physics for one in sections if one.physics is not None]),
        sections=sections,
    )


def _quietest(before: Tensor, after: Tensor, rate_hz: int) -> int:
    """Where two restorations of the same time are quietest together: first sample of a fade there.

    Args:
        before: From the beginning of what both have on, `[C, O]`.
        after: Of which the first `O` samples are the same time.
        rate_hz: Their sampling rate.
    """
    n_edge, n_fade = round(EDGE_S * rate_hz), round(FADE_S * rate_hz)
    inner = slice(n_edge, before.shape[-1] - n_edge)
    power = (before[..., inner].square() + after[..., inner].square()).sum(0).double()
    total = torch.nn.functional.pad(power.cumsum(0), (1, 0))
    return n_edge + int((total[n_fade:] - total[:-n_fade]).argmin())


def _faded(waves: Sequence[Tensor], starts: Sequence[int], cuts: Sequence[int], rate_hz: int) -> Tensor:
    """Waves `[..., T]` that begin at `starts`, each taking over from the last one at `cuts` of its own."""
    n_fade = round(FADE_S * rate_hz)
    rising = torch.linspace(0, 1, n_fade + 2)[1:-1]
    pieces, begin = [], 0
    for number, (wave, start) in enumerate(zip(waves, starts, strict=True)):
        if number + 1 == len(waves):
            pieces.append(wave[..., begin:])
            break
        end = starts[number + 1] - start + cuts[number]
        after = waves[number + 1][..., cuts[number] : cuts[number] + n_fade]
        faded = (1 - rising) * wave[..., end : end + n_fade] + rising * after
        pieces += [wave[..., begin:end], faded]
        begin = cuts[number] + n_fade
    return torch.cat(pieces, dim=-1)
