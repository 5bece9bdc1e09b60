"""Oracles: what the model could do if it knew noise, room or voices of an item, never the speech.

Upper bounds that tell which part of a method holds it back. They run under names of their own and never stand
in default rows.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from diffsr.benchmark.scenes import Rendered
from diffsr.benchmark.tracks import Track
from diffsr.degradations import Chain, Degradation, Room
from diffsr.diffusion import Prior
from diffsr.errors import ConfigError
from diffsr.likelihoods import KnownNoise, Likelihood
from diffsr.likelihoods.late_reverberation import LateReverberation
from diffsr.recipes import Recipe
from diffsr.samplers import AnnealedSampler, EMPasses, KnownVoices, SecondSearch, TellVoices
from diffsr.samplers.prediction_estimation import MeasureDecay, UpdateLateReverberation, UpdatePrediction
from diffsr.samplers.room_estimation import UpdateRoom
from diffsr.signal.resampling import resample

ORACLES = ("noise", "room", "identity")
_LACK = {"noise": "no noise", "room": "no room", "identity": "one talker"}
_OF_THE_ROOM = (UpdateRoom, UpdatePrediction, UpdateLateReverberation, MeasureDecay)


@dataclass(frozen=True)
class Known:
    """What a system is told of an item beside the observation; the clean speech is not among it.

    Attributes:
        noise: What was added to the talkers, [C, T].
        responses: Of the room from each talker, [S, C, L], at any scale: its direct path becomes 1.
        voices: What the shipped speaker encoder says of each talker's own speech, [S, E].
    """

    noise: Tensor | None = None
    responses: Tensor | None = None
    voices: Tensor | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether the observation is all there is."""
        return self.noise is None and self.responses is None and self.voices is None


NOTHING = Known()


def parse_oracle(text: str | None) -> tuple[str, ...]:
    """Some of `ORACLES` with commas in between, in their order.

    Raises:
        ConfigError: Anything else.
    """
    names = [] if text is None else [name.strip() for name in text.split(",")]
    wrong = [name for name in names if name not in ORACLES]
    if wrong:
        raise ConfigError(
            f"--oracle {text}: found {wrong[0]!r}, expected {', '.join(ORACLES)}, or several: noise,room."
        )
    return tuple(name for name in ORACLES if name in names)


def check_oracle(oracle: Sequence[str], track: Track) -> None:
    """Refuse to tell what the items of a track do not have.

    Raises:
        ConfigError: Names what is missing.
    """
    there = {
        "noise": track.snr_db is not None,
        "room": bool(track.responses),
        "identity": track.n_talkers > 1,
    }
    missing = [name for name in oracle if not there[name]]
    if missing:
        raise ConfigError(
            f"--oracle {','.join(oracle)}: the items of {track.name} have {_LACK[missing[0]]}. Leave it out."
        )


def check_prior(oracle: Sequence[str], prior: Prior) -> None:
    """Refuse to tell voices to a prior that takes none: the row would be that of nothing told.

    Raises:
        ConfigError: It takes none, or those of another encoder.
    """
    encoder = TellVoices().encoder if "identity" in oracle else None
    if encoder and (prior.rate_hz, prior.speaker_width) != (encoder.rate_hz, encoder.embedding_dim):
        raise ConfigError(
            f"--oracle identity: the prior ({prior.rate_hz} Hz, speaker_width {prior.speaker_width}) takes "
            f"no voices of the speaker encoder ({encoder.rate_hz} Hz, {encoder.embedding_dim} wide). Choose "
            "a prior that was trained with it, such as speech-16k-fast, or leave identity out."
        )


def known_of(rendered: Rendered, oracle: Sequence[str]) -> Known:
    """What of an item is told; copies, so that nobody can change what is scored."""
    noise = rendered.noise.clone() if "noise" in oracle else None
    responses = rendered.responses if "room" in oracle else None
    responses = None if responses is None else responses.clone()
    return Known(noise, responses, _voices(rendered) if "identity" in oracle else None)


def _voices(rendered: Rendered) -> Tensor:
    """Embeddings of the talkers, [S, E]."""
    encoder = TellVoices().encoder
    return encoder(resample(rendered.reference, rendered.item.plan.rate_hz, encoder.rate_hz))


def informed(recipe: Recipe, known: Known, observation: Tensor, from_hz: int, to_hz: int) -> Recipe:
    """A recipe with the known noise as its noise model and the known room in place of its own.

    No talker is restored once more where noise or room are told, as that has models of its own of them, and
    early reflections stay, with which both were recorded.

    Args:
        recipe: Left as it is.
        known: What is known, at the rate `from_hz`.
        observation: What was recorded, [C, T], at the rate `from_hz`.
        from_hz: Rate of the item.
        to_hz: Rate of the prior.

    Raises:
        ConfigError: Voices for a recipe of one talker.
    """
    if known.noise is not None:
        stft = recipe.likelihood.stft
        noise, recording = (resample(wave, from_hz, to_hz) for wave in (known.noise, observation))
        told = KnownNoise(noise, recording, n_fft=stft.n_fft, hop_samples=stft.hop_samples)
        noisy = _with_noise(recipe.likelihood, told)
        recipe = replace(_told_once(recipe), likelihood=noisy)
    if known.voices is not None:
        if recipe.n_sources < 2:
            raise ConfigError("--oracle identity: the system restores one talker. Leave it out.")
        recipe = replace(
            recipe,
            voices=KnownVoices.of(known.voices, recipe.voices),
            second_search=_told(recipe.second_search, known.voices),
        )
    if known.responses is not None:
        room = Room(resample(known.responses, from_hz, to_hz)[None], to_hz)
        recipe = replace(
            _told_once(recipe),
            degradation=_with_room(recipe.degradation, room),
            likelihood=_without_reverberation(recipe.likelihood),
            sampler=_without(recipe.sampler, _OF_THE_ROOM),
            second_search=None,
        )
    return recipe


def _told_once(recipe: Recipe) -> Recipe:
    """Without parts that have a model of their own, or change the recording that the truth is told of."""
    return replace(recipe, little_noise=None, each_talker=None, second_pass=None, early_reflections=None)


def _told(second: SecondSearch | None, voices: Tensor) -> SecondSearch | None:
    """A copy that knows the voices `[S, E]`, if there is one that tells any."""
    if second is None or second.voices is None:
        return second
    return SecondSearch(second.sampler, second.share, KnownVoices.of(voices, second.voices))


def _without(sampler: AnnealedSampler, kinds: tuple[type, ...]) -> AnnealedSampler:
    """A copy without M-steps on what is known now."""
    twin = copy.copy(sampler)
    twin.estimators = [one for one in sampler.estimators if not isinstance(one, kinds)]
    if isinstance(twin, EMPasses):
        twin.sampler = _without(twin.sampler, kinds)
    return twin


def _with_noise(likelihood: Likelihood, noise: KnownNoise) -> Likelihood:
    """The noise in place of a model of it; late reverberation, which is none, stays a model."""
    if not isinstance(likelihood, LateReverberation):
        return noise
    twin = copy.deepcopy(likelihood)
    twin.noise = noise
    return twin


def _without_reverberation(likelihood: Likelihood) -> Likelihood:
    """What is noise where the room is known."""
    return likelihood.noise if isinstance(likelihood, LateReverberation) else likelihood


def _with_room(degradation: Degradation, room: Room) -> Degradation:
    """The room where sources become microphones; what comes before and after stays."""
    if isinstance(degradation, Chain):
        parts = [part for part in degradation.parts if isinstance(part, Degradation)]
        places = [part.mixes for part in parts]
        if True in places:
            return Chain([room if part.mixes else part for part in parts])
        return Chain([room, *parts])
    return room if degradation.mixes else Chain([room, degradation])
