"""Who is who from moment to moment: tracks put in order by a voice tracker, in a search and at its end.

A prior does not see the exchanges of its own making, least of all in pauses, and an encoder needs a second to
hear a voice. A tracker hears both tracks at once, and was taught on clean voices alone. Nothing here sees a
reference.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.samplers.exchange import check_every, in_pairs, is_due
from diffsr.samplers.joining import Consensus, Joiner
from diffsr.samplers.problem import Problem
from diffsr.samplers.voices import FADE_S, check_rate, crossfaded
from diffsr.speakers import VoiceTracker
from diffsr.speakers.following import changed_places
from diffsr.typing import Sources

TRACKER, COST = "tracker-16k", 0.5


class ExchangeTracks:
    """Puts the tracks in order as soon as voices can be heard in the estimates: `samplers.exchange.Exchange`.

    The sum stays, so the observation has no say, and the noise of the levels that follow heals the seams.
    For each pair of tracks by itself.

    Args:
        tracker: What `VoiceTracker.from_pretrained` takes.
        sigma_high: The level below which it begins.
        sigma_low: The level where it ends.
        every: Levels from one exchange to the next.
        cost: What a change of places takes, in times of 48 ms that are beyond doubt.

    Raises:
        ConfigError: `every` below 1, or a cost below 0.
        CheckpointError: The tracker cannot be loaded.
    """

    def __init__(
        self,
        tracker: str | Path = TRACKER,
        sigma_high: float = 0.2,
        sigma_low: float = 0.009,
        every: int = 4,
        cost: float = COST,
    ) -> None:
        check_every(type(self).__name__, every)
        check_cost(type(self).__name__, cost)
        self.tracker = VoiceTracker.from_pretrained(tracker)
        self.sigma_high, self.sigma_low, self.every, self.cost = sigma_high, sigma_low, every, cost

    def order(self, x0: Sources, sigma: Tensor, level: int, problem: Problem) -> Tensor | None:
        """See `samplers.exchange.Exchange`.

        Raises:
            ConfigError: The tracker is for another rate than the prior.
        """
        check_rate(self.tracker, problem.prior.rate_hz)
        due = is_due(level, sigma, self.every, self.sigma_low, self.sigma_high)
        if not due or x0.shape[1] == 1:
            return None
        tracker = self.tracker.rounded() if problem.in_bfloat16 else self.tracker
        return tracked_order(tracker, x0, self.cost)


class TracksInOrder(Joiner):
    """Puts what a joiner makes of the restarts in order: where votes go wrong the tracker often does not.

    Args:
        joiner: What joins the restarts; None is `Consensus`.
        tracker: What `VoiceTracker.from_pretrained` takes.
        cost: What a change of places takes, in times of 48 ms that are beyond doubt.

    Raises:
        ConfigError: A cost below 0.
        CheckpointError: The tracker cannot be loaded.
    """

    def __init__(
        self, joiner: Joiner | None = None, tracker: str | Path = TRACKER, cost: float = COST
    ) -> None:
        check_cost(type(self).__name__, cost)
        self.joiner = joiner or Consensus()
        self.tracker = VoiceTracker.from_pretrained(tracker)
        self.cost = cost

    def __call__(self, restarts: Sources, scores: Tensor, rate_hz: int) -> Tensor:
        """See `Joiner`.

        Raises:
            ConfigError: The tracker is for another rate.
        """
        check_rate(self.tracker, rate_hz)
        joined = self.joiner(restarts, scores, rate_hz)[None]
        return crossfaded(joined, tracked_order(self.tracker, joined, self.cost), round(FADE_S * rate_hz))[0]


def tracked_order(tracker: VoiceTracker, x: Sources, cost: float) -> Tensor:
    """The track that each voice is in, long `[rows, S, T]`: `changed_places` for each pair of tracks."""
    tracker = tracker.to(x.device)
    return in_pairs(x.shape, x.device, lambda pair: changed_places(tracker, x.gather(1, pair), cost))


def check_cost(name: str, cost: float) -> None:
    """Refuse a cost below 0.

    Raises:
        ConfigError: It is.
    """
    if not cost >= 0:
        raise ConfigError(f"{name} has a cost of {cost:g}; expected 0 or more.")
