"""How the talkers of a recording were told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diffsr.samplers.ranking import best_restart, confidence, in_order_of, nearness_db
from diffsr.signal.damage import without_offset
from diffsr.signal.levels import active_rms, db


@dataclass(frozen=True)
class Talkers:
    """What is known of several talkers beside their speech.

    Attributes:
        residual: The recording less the sum of the talkers `[T]`, of the kind of the recording: noise, room,
            and what lies above the band of the prior.
        scores: Of each restart by the ranker of the recipe; larger is better, None where there is none.
        nearness_db: SI-SDR in dB of each restart with the result, where that is made of all of them; None for
            a restart that was lost.
        chosen: Place of the best restart: the nearest to what was made of all, else that of the best score.
        joined: Whether the result is made of all restarts; else it is the chosen one.
        confidence: How much the restarts agree on who is who, 0 to 1, see `samplers.ranking.confidence`;
            None for a single one.
        levels_db: Active RMS of each talker in dB re full scale; None for silence.
        gains_db: The same over that of the recording.
        sure_above: The score above which talkers are known to be told apart; None where none is known.
    """

    residual: Any
    scores: Sequence[float | None]
    nearness_db: Sequence[float | None] | None
    chosen: int
    joined: bool
    confidence: float | None
    levels_db: Sequence[float | None]
    gains_db: Sequence[float | None]
    sure_above: float | None = None

    @property
    def best_score(self) -> float | None:
        """Of all restarts; None where there is none."""
        return max((score for score in self.scores if score is not None), default=None)

    @property
    def told_apart(self) -> bool | None:
        """Whether the talkers are told apart for sure, by the best score; None where no score says so."""
        if self.sure_above is None or self.best_score is None:
            return None
        return self.best_score > self.sure_above

    @classmethod
    def of(
        cls,
        restarts: Tensor,
        scores: Sequence[float],
        wave: Tensor,
        rate_hz: int,
        made: Tensor | None = None,
        is_joined: bool = False,
    ) -> tuple[Talkers, Tensor, Tensor]:
        """Choose among restarts `[R, S, T]` of the recording `wave [T]`.

        Args:
            restarts: At rate and level of the recording.
            scores: Of each restart.
            wave: The recording.
            rate_hz: Its rate.
            made: What was made of the restarts `[S, T]`; None takes the one of the best score.
            is_joined: Whether it was made of all of them.

        Returns:
            What is known, the result `[S, T]`, and the restarts; all with the talkers in the order of the
            chosen one.
        """
        near = None
        if made is not None and is_joined:
            is_lost = torch.tensor(scores) == -math.inf
            near = nearness_db(restarts, made).cpu().masked_fill(is_lost, -math.inf).tolist()
        chosen = best_restart(scores if near is None else near)
        ordered = in_order_of(restarts, chosen)
        result = ordered[chosen]
        if made is not None:
            result = in_order_of(torch.stack([result, made]), 0)[1]
        levels = db(active_rms(result, rate_hz))
        recorded = db(active_rms(without_offset(wave[None], rate_hz)[0], rate_hz))
        found = cls(
            residual=wave - result.sum(0),
            scores=[_number(score) for score in scores],
            nearness_db=None if near is None else [_number(value) for value in near],
            chosen=chosen,
            joined=is_joined,
            confidence=_number(_confidence(ordered, scores, chosen)),
            levels_db=[_number(float(level)) for level in levels],
            gains_db=[_number(float(level - recorded)) for level in levels],
        )
        return found, result, ordered

    def converted(self, convert: Callable[[Tensor], Any]) -> Talkers:
        """With the residual as `convert` makes it."""
        return replace(self, residual=convert(self.residual))

    def summary(self) -> dict[str, Any]:
        """For JSON; restarts count from 1, as their files do."""
        return {
            "talkers": len(self.levels_db),
            "confidence": self.confidence,
            "told_apart": self.told_apart,
            "chosen_restart": self.chosen + 1,
            "joined": self.joined,
            "scores": list(self.scores),
            "nearness_db": None if self.nearness_db is None else list(self.nearness_db),
            "level_db": list(self.levels_db),
            "gain_db": list(self.gains_db),
        }


def _confidence(restarts: Tensor, scores: Sequence[float], chosen: int) -> float | None:
    """That of the restarts that were not lost; see `samplers.ranking.confidence`."""
    kept = [k for k, score in enumerate(scores) if score != -math.inf or k == chosen]
    return confidence(restarts[kept], kept.index(chosen))


def _number(value: float | None) -> float | None:
    """Four digits; None for what is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
