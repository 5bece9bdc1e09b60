"""Who is who over time: tracks put in order, within a state or at the end, and restarts ranked, by voices.

In one channel every order of the pieces explains the recording, and what a prior says of two pieces is lost
over a pause. A speaker encoder remembers. Nothing here sees a reference: tracks are compared with each other.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.io.network import SmallNetwork
from diffsr.samplers.exchange import check_every, in_pairs, is_due
from diffsr.samplers.joining import Consensus, Joiner
from diffsr.samplers.problem import Problem
from diffsr.samplers.ranking import Ranker
from diffsr.speakers import SpeakerEncoder
from diffsr.speakers.consistency import Segments, consistency, exchanged
from diffsr.typing import Sources

SHORTEST_S = 0.5
"""Of what the encoder takes."""
FADE_S = 0.016


class ExchangeVoices:
    """Exchanges pieces of two tracks where the voices have changed places, at some noise levels.

    An exchange leaves the sum unchanged, so the observation has no say; the noise that follows heals the
    seams. Decided on the prior's estimate by `speakers.consistency.exchanged`, for each pair of tracks by
    itself.

    Args:
        encoder: What `SpeakerEncoder.from_pretrained` takes.
        sigma_high: The level below which it begins: above, estimates hold no voice.
        sigma_low: The level where it ends: below, seams stay.
        every: Levels from one exchange to the next, which have time to heal.
        segment_s: Length of a segment, at least the 0.5 s of the encoder.
        hop_s: Distance of segments, and length of the smallest piece.

    Raises:
        ConfigError: Segments that are too short, a hop that is not above 0, or `every` below 1.
        CheckpointError: The encoder cannot be loaded.
    """

    def __init__(
        self,
        encoder: str | Path = "speaker-16k",
        sigma_high: float = 0.5,
        sigma_low: float = 0.08,
        every: int = 2,
        segment_s: float = 1.0,
        hop_s: float = 0.25,
    ) -> None:
        check_segments(type(self).__name__, segment_s, hop_s)
        check_every(type(self).__name__, every)
        self.encoder = SpeakerEncoder.from_pretrained(encoder)
        self.sigma_high, self.sigma_low, self.every = sigma_high, sigma_low, every
        self.segment_s, self.hop_s = segment_s, hop_s

    def order(self, x0: Sources, sigma: Tensor, level: int, problem: Problem) -> Tensor | None:
        """See `samplers.exchange.Exchange`.

        Raises:
            ConfigError: The encoder is for another rate than the prior.
        """
        check_rate(self.encoder, problem.prior.rate_hz)
        if not is_due(level, sigma, self.every, self.sigma_low, self.sigma_high):
            return None
        if x0.shape[1] < 2 or x0.shape[-1] < round(SHORTEST_S * self.encoder.rate_hz):
            return None
        heard = torch.where(x0.isfinite(), x0, 0.0)  # rows that are lost have no voice, the others do
        segments = Segments.of(self.encoder.to(x0.device), heard, self.segment_s, self.hop_s)
        return voice_order(segments, x0.shape[-1])


class VoicesInOrder(Joiner):
    """Lets the voices of the joined restarts keep their tracks where votes cannot say who goes on in which.

    After a long pause, and beyond what one window of the prior sees, all restarts may have changed places.
    Decided as in `speakers.consistency.exchanged`, for each pair of tracks by itself.

    Args:
        joiner: What joins the restarts; None is `Consensus`.
        encoder: What `SpeakerEncoder.from_pretrained` takes.
        segment_s: Length of a segment, at least the 0.5 s of the encoder.
        hop_s: Distance of segments, and length of the smallest piece.
        cost: What a change takes, in segments that are beyond doubt.

    Raises:
        ConfigError: Segments that are too short, a hop that is not above 0, or a cost below 0.
        CheckpointError: The encoder cannot be loaded.
    """

    def __init__(
        self,
        joiner: Joiner | None = None,
        encoder: str | Path = "speaker-16k",
        segment_s: float = 1.5,
        hop_s: float = 0.25,
        cost: float = 3.0,
    ) -> None:
        check_segments(type(self).__name__, segment_s, hop_s)
        if not cost >= 0:
            raise ConfigError(f"VoicesInOrder has a cost of {cost:g}; expected 0 or more.")
        self.joiner = joiner or Consensus()
        self.encoder = SpeakerEncoder.from_pretrained(encoder)
        self.segment_s, self.hop_s, self.cost = segment_s, hop_s, cost

    def __call__(self, restarts: Sources, scores: Tensor, rate_hz: int) -> Tensor:
        """See `Joiner`.

        Raises:
            ConfigError: The encoder is for another rate.
        """
        check_rate(self.encoder, rate_hz)
        joined = self.joiner(restarts, scores, rate_hz)[None]
        if joined.shape[-1] < round(SHORTEST_S * rate_hz):
            return joined[0]
        segments = Segments.of(self.encoder.to(joined.device), joined, self.segment_s, self.hop_s)
        order = voice_order(segments, joined.shape[-1], self.cost)
        return crossfaded(joined, order, round(FADE_S * rate_hz))[0]


class OneVoice(Ranker):
    """The restart whose tracks are one voice each, and not the same one: `speakers.consistency.consistency`.

    Args:
        encoder: What `SpeakerEncoder.from_pretrained` takes.
        segment_s: Length of the segments that are compared, at least 0.5 s.
        hop_s: Their distance.

    Raises:
        ConfigError: Segments that are too short, or a hop that is not above 0.
        CheckpointError: The encoder cannot be loaded.
    """

    sure_above = 0.25  # docs/separation.md, "The score tells"

    def __init__(
        self, encoder: str | Path = "speaker-16k", segment_s: float = 1.5, hop_s: float = 0.25
    ) -> None:
        check_segments(type(self).__name__, segment_s, hop_s)
        self.encoder = SpeakerEncoder.from_pretrained(encoder)
        self.segment_s, self.hop_s = segment_s, hop_s

    def __call__(self, problem: Problem, x: Sources) -> Tensor:
        """See `Ranker`; NaN for recordings that are too short to be compared with themselves.

        Raises:
            ConfigError: The encoder is for another rate than the prior.
        """
        check_rate(self.encoder, problem.prior.rate_hz)
        return self.scores(x)

    def scores(self, x: Sources) -> Tensor:
        """Of tracks `[R, S, T]` at the rate of the encoder, `[R]`; what is not finite counts as silence."""
        if x.shape[-1] < round(SHORTEST_S * self.encoder.rate_hz):
            return x.new_full((len(x),), math.nan)
        finite = torch.where(x.isfinite(), x, 0.0)
        return consistency(Segments.of(self.encoder.to(x.device), finite, self.segment_s, self.hop_s))


def voice_order(segments: Segments, n_samples: int, cost: float = 0.0) -> Tensor:
    """The track that each voice is in, long `[rows, S, T]`: `exchanged` for each pair as the last left it."""
    weight = segments.weight
    order = in_pairs(weight.shape, weight.device, lambda pair: exchanged(segments.in_order(pair), cost))
    return spread(order, segments, n_samples)


def crossfaded(x: Sources, order: Tensor, n_fade: int) -> Sources:
    """The tracks in an order `[rows, S, T]`, faded over `n_fade` samples where it changes; the sum stays."""
    taken = torch.zeros_like(x)
    padded = (n_fade // 2, n_fade - 1 - n_fade // 2)
    for track in range(x.shape[1]):
        is_here = torch.nn.functional.pad((order == track).to(x.dtype), padded, mode="replicate")
        taken += torch.nn.functional.avg_pool1d(is_here, n_fade, 1) * x[:, [track]]
    return taken


def spread(of_segments: Tensor, segments: Segments, n_samples: int) -> Tensor:
    """What holds at segments, `[..., N]`, at the samples around their centres, `[..., T]`."""
    last = of_segments.shape[-1] - 1
    at = (
        torch.arange(n_samples, device=of_segments.device)
        - (segments.size_samples - segments.hop_samples) // 2
    )
    return of_segments[..., (at // segments.hop_samples).clamp(0, last)]


def check_segments(name: str, segment_s: float, hop_s: float) -> None:
    """Refuse segments that the encoder does not take.

    Raises:
        ConfigError: They are too short, or their distance is not above 0.
    """
    if not (segment_s >= SHORTEST_S and hop_s > 0):
        raise ConfigError(
            f"{name} has segments of {segment_s:g} s every {hop_s:g} s; expected at least {SHORTEST_S:g} s, "
            "and a hop above 0."
        )


def check_rate(network: SmallNetwork, rate_hz: int) -> None:
    """Refuse an encoder, a tracker or a listener for another rate than the prior's.

    Raises:
        ConfigError: It is for another one.
    """
    if rate_hz != network.rate_hz:
        raise ConfigError(
            f"The {network.kind.name} is for {network.rate_hz} Hz, the prior for {rate_hz} Hz. Give one of "
            "the prior's rate (docs/speakers.md), or another prior."
        )
