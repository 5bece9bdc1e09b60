"""From plans to waveforms, many at once, on the device that the plans are on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from data_modules.corpus import Corpus
from data_modules.plans import Passages, Plans
from diffsr.signal.shaping import MARGIN, SPEEDS, change, changed_length, length_at

FADE_S = 0.005
"""Fades at the ends of joined utterances."""


class Renderer:
    """Renders plans from a corpus, which it moves to their device once.

    The number of operations does not depend on the number of crops or pieces, nothing waits for the device,
    and a row is the same in every batch.
    """

    def __init__(self, corpus: Corpus, rate_hz: int, level: float) -> None:
        """Render at an active-speech RMS of `level` times the gain of the plan."""
        self.rate_hz, self.level = rate_hz, level
        self._corpus = corpus
        self._tables = (corpus.samples, corpus.offsets, corpus.scales)

    def render(self, plans: Plans, n_samples: int, n_reference: int) -> dict[str, Tensor]:
        """The batch: `wave` [B, n_samples], `speaker` [B] and, if planned, `reference` [B, n_reference]."""
        batch = {"wave": self._waves(plans.crop, plans, n_samples), "speaker": plans.speaker}
        if plans.reference is not None:
            batch["reference"] = self._waves(plans.reference, plans, n_reference)
        return batch

    def _waves(self, passages: Passages, plans: Plans, n_samples: int) -> Tensor:
        wave = torch.empty(len(passages.gain), n_samples, device=passages.gain.device)
        for speed, rows in plans.groups:
            if speed is None:
                wave[rows] = self._read(passages[rows], 0, n_samples)
            else:
                wave[rows] = self._changed(passages[rows], SPEEDS[speed], n_samples)
        return wave

    def _changed(self, passages: Passages, speed: float, n_samples: int) -> Tensor:
        """Waveforms at another speed and with their equaliser, [B, n_samples]."""
        n_out = changed_length(n_samples)
        raw = self._read(passages, -length_at(speed, MARGIN), length_at(speed, n_out))
        return change(raw, n_out, passages.tilt, self.rate_hz)[:, MARGIN : MARGIN + n_samples]

    def _read(self, passages: Passages, start: int, n_samples: int) -> Tensor:
        """Samples `start` to `start + n_samples` of each passage, float32 [B, n_samples].

        Pieces and the gaps before, between and after them are runs of a constant distance between the
        sample of the passage and that of the corpus; all runs of the batch are laid out at once.
        """
        samples, offsets, scales = self._on(passages.gain.device)
        utterance, first, stop, position = passages.pieces.unbind(-1)
        begins = position - start
        edges = torch.stack([begins, begins + stop - first], -1).flatten(1).clamp_(0, n_samples)
        edges = pad(pad(edges, (1, 0)), (0, 1), value=n_samples)
        lengths = edges.diff()  # gap, piece, gap, ..., gap
        distance, factor = lengths.new_zeros(lengths.shape), passages.gain.new_zeros(lengths.shape)
        distance[:, 1::2] = offsets[utterance] + first - begins
        factor[:, 1::2] = scales[utterance] * (passages.gain * self.level)[:, None]
        run = torch.repeat_interleave(lengths.flatten(), output_size=len(edges) * n_samples)
        index = distance.flatten().index_select(0, run).view(-1, n_samples)
        index += torch.arange(n_samples, device=index.device)
        # Gaps read anything that is there, times 0.
        wave = samples.index_select(0, index.flatten().clamp_(0, len(samples) - 1)).float()
        wave = wave.mul_(factor.flatten().index_select(0, run)).view(-1, n_samples)
        return self._faded(wave, begins, stop - first, passages.fade)

    def _faded(self, wave: Tensor, begins: Tensor, lengths: Tensor, fade: Tensor) -> Tensor:
        """Fade the ends of pieces in place, 5 ms or half the piece."""
        size = (lengths // 2).clamp(max=round(FADE_S * self.rate_hz)) * fade[:, None]
        step = torch.arange(round(FADE_S * self.rate_hz), device=wave.device)
        ramp = torch.sin(math.pi / 2 * step / (size - 1).clamp(min=1)[..., None]).square()
        rising = begins[..., None] + step
        falling = (begins + lengths)[..., None] - 1 - step
        place = torch.stack([rising, falling], -1)  # [B, P, samples of a fade, 2]
        there = (step < size[..., None])[..., None] & (place >= 0) & (place < wave.shape[1])
        factor = torch.where(there, ramp[..., None], 1.0)
        # Those outside of the crop or the fade multiply some other sample by 1.
        place = place.remainder(wave.shape[1])
        return wave.scatter_reduce_(1, place.flatten(1), factor.flatten(1), "prod")

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Samples, offsets and scales of the corpus on a device; the last one stays in place."""
        if self._tables[0].device != device:
            corpus = self._corpus
            self._tables = (corpus.samples.to(device), corpus.offsets.to(device), corpus.scales.to(device))
        return self._tables
