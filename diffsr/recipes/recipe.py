"""What a restoration needs but the prior and the recording."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from diffsr.degradations import Degradation, Mixing, Room
from diffsr.errors import ConfigError
from diffsr.likelihoods import Likelihood, NMFNoise, WhiteNoise
from diffsr.samplers import (
    AnnealedSampler,
    EachTalker,
    EarlyReflections,
    LittleNoise,
    PowerCeiling,
    SecondPass,
    SecondSearch,
    Telling,
)
from diffsr.samplers.joining import Joiner
from diffsr.samplers.ranking import Agreement, Ranker

FOR_ONE_TALKER = ("little_noise", "second_pass", "early_reflections", "ceiling")
FOR_TALKERS = ("voices", "each_talker", "second_search")
"""Parts of a recipe that do nothing for another number of talkers."""


@dataclass
class Recipe:
    """Everything a restoration needs but the prior and the recording.

    Attributes:
        sampler: The loop with its schedule, guidance, solver and M-steps.
        likelihood: Noise model.
        degradation: From sources to observation.
        n_samples: Posterior samples R, of which the result is made; of several talkers, restarts.
        n_sources: Talkers S.
        ranker: Tells how good a restart is, where there are several talkers.
        joiner: Makes the result of the samples; None takes their mean, of several talkers the one that ranks
            first.
        voices: Tells later restarts the voices that the first ones found, where the prior takes them.
        little_noise: How recordings of one talker that turn out to have little noise are restored once more;
            None restores all alike.
        each_talker: How each of several talkers is restored once more by itself, when they have been told
            apart; None leaves them as they are.
        second_pass: How one talker is restored once more, from halfway between the recording and what the
            samples give; None restores once.
        second_search: How several talkers are searched for once more, from the joined restarts; None searches
            once.
        early_reflections: How those of the room of one talker are found and taken away before the recording
            is restored; None leaves them.
        ceiling: Keeps one talker from being louder than the recording; None does not.

    Raises:
        ConfigError: A part that does nothing for so many talkers, early reflections beside a known response
            or damage whose other samples are kept, or a noise model for little noise with
            another STFT than that of the recipe.
    """

    sampler: AnnealedSampler = field(default_factory=AnnealedSampler)
    likelihood: Likelihood = field(default_factory=NMFNoise)
    degradation: Degradation = field(default_factory=Mixing)
    n_samples: int = 1
    n_sources: int = 1
    ranker: Ranker = field(default_factory=Agreement)
    joiner: Joiner | None = None
    voices: Telling | None = None
    little_noise: LittleNoise | None = None
    each_talker: EachTalker | None = None
    second_pass: SecondPass | None = None
    second_search: SecondSearch | None = None
    early_reflections: EarlyReflections | None = None
    ceiling: PowerCeiling | None = None

    def __post_init__(self) -> None:
        """Check that every part does something, and that what is found of all recordings has one shape."""
        useless = FOR_ONE_TALKER if self.n_sources > 1 else FOR_TALKERS
        for name in useless:
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"{name} does nothing for {self.n_sources} talker{'s' * (self.n_sources > 1)}. Leave it "
                    "out, or correct the number of talkers (model.init_args.talkers of an experiment)."
                )
        if self.early_reflections is not None and (
            self.degradation.keeps_samples or any(isinstance(one, Room) for one in self.degradation.modules())
        ):
            raise ConfigError(
                "early_reflections filters the recording before it is explained, and "
                f"{type(self.degradation).__name__} explains it only as it was recorded: with the "
                "reflections, or sample by sample. Leave out one of them."
            )
        if self.little_noise is None:
            return
        own, other = self.likelihood.stft, self.little_noise.likelihood.stft
        if (own.n_fft, own.hop_samples) != (other.n_fft, other.hop_samples):
            raise ConfigError(
                f"little_noise has a noise model with n_fft {other.n_fft}, hop_samples {other.hop_samples}; "
                f"expected those of the likelihood, {own.n_fft} and {own.hop_samples}."
            )

    @property
    def sure_above(self) -> float | None:
        """See `Ranker.sure_above`."""
        is_known = self.n_sources == 2 and type(self.degradation) is Mixing
        is_known = is_known and isinstance(self.likelihood, WhiteNoise)
        return self.ranker.sure_above if is_known else None

    @property
    def can_be_cut(self) -> bool:
        """Whether sections of a recording can be restored one by one.

        Tracks of several talkers would have to be joined, and what is damaged, or is known of each recording,
        is told of the whole.
        """
        parts = [part for part in self.degradation.modules() if isinstance(part, Degradation)]
        is_of_each = any(part.known is not None and len(part.known) > 1 for part in parts)
        is_repair = self.degradation.keeps_samples or self.degradation.extends_band
        return self.n_sources == 1 and not is_repair and not is_of_each

    def modules(self) -> list[nn.Module]:
        """Its models of the recording, which live on a device."""
        little = [] if self.little_noise is None else [self.little_noise.likelihood]
        each = [] if self.each_talker is None else [self.each_talker.likelihood, self.each_talker.degradation]
        return [self.likelihood, self.degradation, *little, *each]
