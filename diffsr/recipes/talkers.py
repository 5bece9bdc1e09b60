"""Several talkers: `separate`, and `joint` with noise and a room besides."""

from __future__ import annotations

from dataclasses import replace

from diffsr.degradations import LatePrediction, Mixing
from diffsr.likelihoods import LateReverberation, WhiteNoise
from diffsr.recipes.budget import RESTART_LEVELS, restarts
from diffsr.recipes.one_talker import ENCODER_HZ, denoise_dereverb, drifting
from diffsr.recipes.recipe import Recipe
from diffsr.samplers import (
    AnnealedSampler,
    BalancedRenoise,
    Consensus,
    EachTalker,
    ExchangeTracks,
    FromNoise,
    LearnVoices,
    MeasureDecay,
    OneVoice,
    Projection,
    Proximal,
    Telling,
    TellVoices,
    TracksInOrder,
    UpdateLateReverberation,
    UpdateNoise,
    UpdatePrediction,
    VoicesInOrder,
)
from diffsr.samplers.initialise import FromWPE
from diffsr.samplers.joining import Joiner
from diffsr.samplers.ranking import Agreement, Ranker

MIXTURE_NOISE = 1e-4
"""Of mixtures without noise, 54 dB below active speech."""
HISS_SIGMAS = (4e-3, 1.5e-3)
"""Two more levels of several talkers, after those that decide who is who: without them pauses hiss."""


def separate(n_calls: int, rate_hz: int = 16000, n_talkers: int = 2) -> Recipe:
    """Several talkers, no room and no noise but a little: see docs/separation.md.

    The calls are those of each of 4 restarts; beyond 60 there are more restarts instead. With fewer than 60
    the prior is adapted to the talkers, with 60 it is told their voices. At rates that the shipped speaker
    encoder is not for, restarts are judged by their agreement.
    """
    n_steps, n_restarts = restarts(n_calls)
    sampler = AnnealedSampler(
        Projection(),
        _opposite_noise(),
        [],
        n_steps=n_steps,
        sigma_max=2.4,
        sigma_min=0.01,
        rho=100.0,  # nearly equal steps of the logarithm
        churn=0.0,
        initialiser=FromNoise(),
        exchange=_tracked(rate_hz),
        last_sigmas=HISS_SIGMAS,
    )
    ranker, joiner, voices = _judged(rate_hz)
    if voices is not None and n_steps < RESTART_LEVELS:  # with as many levels it gains nothing more
        voices = LearnVoices()
    return Recipe(sampler, WhiteNoise(MIXTURE_NOISE), Mixing(), n_restarts, n_talkers, ranker, joiner, voices)


def joint(n_calls: int, rate_hz: int = 16000, n_talkers: int = 2) -> Recipe:
    """Several talkers in noise and an unknown room, all at once; calls as in `separate`.

    The search of `separate` with the M-steps of one talker in a room, but for the response of each talker,
    which cannot be found from such estimates. The residual is split evenly: by the prior's own
    uncertainties, late reverberation and noise take over the speech. When they have been told apart, each
    talker is restored by himself, by the recipe for one in noise and a room.
    """
    n_steps, n_restarts = restarts(n_calls)
    sampler = AnnealedSampler(
        Proximal(uncertainty=4.0),
        _opposite_noise(),
        [
            UpdatePrediction(),
            UpdateNoise(sigma_start=0.1, n_updates=2),
            UpdateLateReverberation(),
            MeasureDecay(sigma_start=0.01),
        ],
        n_steps=n_steps,
        sigma_max=2.4,
        sigma_min=5e-3,
        rho=100.0,
        churn=0.0,
        initialiser=FromWPE(10, 3, 3),
        exchange=_tracked(rate_hz),
    )
    likelihood = LateReverberation(drifting(rate_hz), rate_hz=rate_hz)
    degradation = LatePrediction(rate_hz=rate_hz, response_taps=0)
    recipe = Recipe(sampler, likelihood, degradation, n_restarts, n_talkers, *_judged(rate_hz))
    one = denoise_dereverb(n_calls, rate_hz)
    room = LatePrediction(rate_hz=rate_hz)
    each = EachTalker(one.sampler, one.likelihood, room, one.n_samples, one.joiner, 1)
    return replace(recipe, each_talker=each)


def _opposite_noise() -> BalancedRenoise:
    """Of a search for several talkers: half of it is the opposite of that of the level before."""
    return BalancedRenoise(share_low=1.0, kept=-0.5)


def _judged(rate_hz: int) -> tuple[Ranker, Joiner, Telling | None]:
    """How restarts are judged, joined and told: by voices at the rate of the encoder, else by agreement."""
    if rate_hz == ENCODER_HZ:
        return OneVoice(), VoicesInOrder(TracksInOrder()), TellVoices()
    return Agreement(), Consensus(floor=3.0), None  # dB


def _tracked(rate_hz: int) -> ExchangeTracks | None:
    """The tracks of each restart are put in order, at the rate of the tracker."""
    return ExchangeTracks() if rate_hz == ENCODER_HZ else None
