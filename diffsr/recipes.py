"""Tasks and presets: which parts of the physics are switched on, and how many calls are spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from diffsr.degradations import (
    BlindLowPass,
    Clipping,
    Degradation,
    LatePrediction,
    LowPass,
    Mixing,
    PacketLoss,
    Room,
)
from diffsr.errors import ConfigError
from diffsr.likelihoods import DriftingNoise, LateReverberation, Likelihood, NMFNoise, WhiteNoise
from diffsr.samplers import (
    AnnealedSampler,
    BalancedRenoise,
    Consensus,
    EachTalker,
    EarlyReflections,
    Euler,
    ExchangeTracks,
    FromNoise,
    LearnVoices,
    LittleNoise,
    LogSpectralMean,
    MeasureDecay,
    NoisePerturbed,
    OneVoice,
    Projection,
    Proximal,
    Renoise,
    SecondPass,
    SecondSearch,
    Telling,
    TellVoices,
    TracksInOrder,
    UpdateLateReverberation,
    UpdateLowPass,
    UpdateNoise,
    UpdatePrediction,
    UpdateVoice,
    VoicesInOrder,
)
from diffsr.samplers.estimation import Estimator
from diffsr.samplers.initialise import FromWiener, FromWPE
from diffsr.samplers.joining import Joiner
from diffsr.samplers.ranking import Agreement, Ranker
from diffsr.signal.room_frames import room_frames
from diffsr.typing import is_whole

PRESETS = {"fast": 30, "default": 60, "quality": 200}
"""Name of a preset -> calls of the network for each recording."""

LEVELS = 30
"""Noise levels of a sample, beyond which calls are better spent on a second one (docs/enhancement.md)."""
REPAIR_LEVELS = 60
"""Of clipping and of a lost band, beyond which calls are better spent on more samples (docs/repair.md)."""
AGAIN_LEVELS = 15
"""Of a second pass, from little noise down; with 8 PESQ and ESTOI gain nothing (docs/rooms.md)."""
MOST_SAMPLES = 6
"""Beyond which they are level, and calls go into more levels."""
ROOM_NOISE = 1e-3
"""Of recordings that are only reverberant, 34 dB below active speech."""
ENCODER_HZ = 16000
"""Rate of the speaker encoder and the voice tracker that ship."""
MIXTURE_NOISE = 1e-4
"""Of mixtures without noise, 54 dB below active speech."""
HISS_SIGMAS = (4e-3, 1.5e-3)
"""Two more levels of several talkers, after those that decide who is who: without them pauses hiss."""
RESTARTS, RESTART_LEVELS = 4, 60
"""Of several talkers, and the noise levels of one beyond which calls are better spent on more restarts."""

FOR_ONE_TALKER = ("little_noise", "second_pass", "early_reflections")
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
                f"early_reflections changes what {type(self.degradation).__name__} explains as it is. Leave "
                "one of them out."
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

    def modules(self) -> list[nn.Module]:
        """Its models of the recording, which live on a device."""
        little = [] if self.little_noise is None else [self.little_noise.likelihood]
        each = [] if self.each_talker is None else [self.each_talker.likelihood, self.each_talker.degradation]
        return [self.likelihood, self.degradation, *little, *each]


def enhance(n_calls: int, rate_hz: int = 16000) -> Recipe:
    """One talker in noise, no room. Everything chosen in docs/enhancement.md."""
    n_steps, n_samples = split(n_calls)
    estimators = [UpdateNoise(sigma_start=0.2, n_updates=2), *_voice(rate_hz)]
    sampler = AnnealedSampler(
        NoisePerturbed(),
        estimators=estimators,
        n_steps=n_steps,
        churn=churn(n_steps),
        initialiser=FromWiener(),
    )
    little_noise = LittleNoise(
        DriftingNoise(quantile=0.1, bias=1.5, clicks=False),
        [UpdateNoise(sigma_start=0.05, n_updates=2), *_voice(rate_hz)],
    )
    return Recipe(
        sampler, DriftingNoise(), n_samples=n_samples, joiner=LogSpectralMean(), little_noise=little_noise
    )


def split(n_calls: int, n_levels: int = LEVELS) -> tuple[int, int]:
    """Calls -> noise levels, from `n_levels` on where there are as many calls, and posterior samples."""
    n_samples = min(max(n_calls // n_levels, 1), MOST_SAMPLES)
    return n_calls // n_samples, n_samples


def churn(n_steps: int) -> float:
    """Fresh noise at each level: so that one forgets the same share of the state, however many there are."""
    return max(n_steps / 10 - 1, 0.0)


def declip(n_calls: int, degradation: Degradation | None = None) -> Recipe:
    """Clipped peaks, no noise: the other samples are kept, the prior raises them. See docs/repair.md."""
    n_steps, n_samples = split(n_calls, REPAIR_LEVELS)
    # Opposite noise from level to level, and more of it than the prior is told, the less the more levels.
    solver = Renoise(sampled=False, share=1 + 6 / n_steps, kept=-0.9)
    sampler = AnnealedSampler(
        Projection(), solver, [], n_steps, sigma_max=0.2, sigma_min=1e-3, rho=5.0, churn=0.0
    )
    return Recipe(sampler, WhiteNoise(level=1e-5), degradation or Clipping(), n_samples)


def fill_gaps(n_steps: int, rate_hz: int = 16000) -> Recipe:
    """Lost packets, no noise: what was received is kept, the prior fills in the rest. See docs/repair.md."""
    solver = Renoise(sampled=False)
    sampler = AnnealedSampler(
        Projection(), solver, [], n_steps, sigma_max=0.2, sigma_min=1e-4, rho=7.0, churn=0.0
    )
    return Recipe(sampler, WhiteNoise(level=1e-5), PacketLoss(rate_hz=rate_hz))


def widen(degradation: Degradation, n_calls: int, estimators: Sequence[Estimator] = ()) -> Recipe:
    """A lost band, no noise: the other is kept, the prior fills in the rest. See docs/repair.md."""
    n_steps, n_samples = split(n_calls, REPAIR_LEVELS)
    sampler = AnnealedSampler(
        Projection(),
        Euler(),
        estimators,
        n_steps,
        sigma_max=0.5,
        sigma_min=5e-4,
        rho=8.0,
        churn=2.0,
        churn_above=0.01,  # further down fresh noise takes the upper band of speech away
    )
    return Recipe(sampler, WhiteNoise(level=1e-5), degradation, n_samples, joiner=LogSpectralMean())


def dereverb(n_calls: int, rate_hz: int = 16000) -> Recipe:
    """One talker in an unknown room, no noise but the room's own: see docs/rooms.md."""
    noise = WhiteNoise(ROOM_NOISE, *room_frames(rate_hz))
    return _in_a_room(n_calls, rate_hz, 1.75, noise, [], EarlyReflections(), 2)


def informed_dereverb(response: Tensor, n_steps: int, rate_hz: int = 16000) -> Recipe:
    """One talker in a room with a known response `[C, L]` or `[B, S, C, L]`, no noise."""
    sampler = AnnealedSampler(
        Proximal(), estimators=[], n_steps=n_steps, rho=10.0, churn=0.25, initialiser=FromWPE(10, 3, 3)
    )
    return Recipe(sampler, WhiteNoise(level=1e-3), Room(response, rate_hz))


def denoise_dereverb(n_calls: int, rate_hz: int = 16000) -> Recipe:
    """One talker in noise and an unknown room, both estimated at once: see docs/rooms.md."""
    steps = [UpdateNoise(sigma_start=0.1, n_updates=2)]
    early = EarlyReflections(threshold=3.0)  # noise hides many, and what is found wrongly matters less in it
    return _in_a_room(n_calls, rate_hz, 1.5, _drifting(rate_hz), steps, early, 3)


def _drifting(rate_hz: int) -> DriftingNoise:
    """Noise in a room."""
    n_fft, hop_samples = room_frames(rate_hz)
    return DriftingNoise(n_fft=n_fft, hop_samples=hop_samples)


def _in_a_room(
    n_calls: int,
    rate_hz: int,
    weight: float,
    noise: Likelihood,
    noise_steps: Sequence[Estimator],
    early_reflections: EarlyReflections,
    delay: int,
) -> Recipe:
    """Late reverberation that is predicted, and the rest of it as noise that follows the talker."""
    n_steps, n_samples = split(n_calls)
    room_steps, voice = [UpdatePrediction(), *noise_steps, UpdateLateReverberation()], _voice(rate_hz)
    sampler = AnnealedSampler(
        NoisePerturbed(weight),
        estimators=[*room_steps, MeasureDecay(), *voice],
        n_steps=n_steps,
        churn=churn(n_steps),
        initialiser=FromWPE(10, 3, 3),
    )
    again = AnnealedSampler(
        NoisePerturbed(), estimators=[*room_steps, *voice], n_steps=AGAIN_LEVELS, sigma_max=0.1
    )
    return Recipe(
        sampler,
        LateReverberation(noise, rate_hz=rate_hz),
        LatePrediction(delay=delay, rate_hz=rate_hz),
        n_samples,
        joiner=LogSpectralMean(),
        second_pass=SecondPass(again) if n_samples > 1 else None,
        early_reflections=early_reflections,
    )


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
    likelihood = LateReverberation(_drifting(rate_hz), rate_hz=rate_hz)
    degradation = LatePrediction(rate_hz=rate_hz, response_taps=0)
    recipe = Recipe(sampler, likelihood, degradation, n_restarts, n_talkers, *_judged(rate_hz))
    one = denoise_dereverb(n_calls, rate_hz)
    room = LatePrediction(rate_hz=rate_hz)
    each = EachTalker(one.sampler, one.likelihood, room, one.n_samples, one.joiner, 1)
    return replace(recipe, each_talker=each)


def restarts(n_calls: int) -> tuple[int, int]:
    """Calls -> noise levels and restarts of several talkers: 13 of 60 levels for 4 times 200 calls."""
    n_steps = min(n_calls, RESTART_LEVELS)
    return n_steps, RESTARTS * n_calls // n_steps


def _opposite_noise() -> BalancedRenoise:
    """Of a search for several talkers: half of it is the opposite of that of the level before."""
    return BalancedRenoise(share_low=1.0, kept=-0.5)


def _voice(rate_hz: int) -> list[Estimator]:
    """The M-step of a talker's voice, at the rate of the encoder."""
    return [UpdateVoice()] if rate_hz == ENCODER_HZ else []


def _judged(rate_hz: int) -> tuple[Ranker, Joiner, Telling | None]:
    """How restarts are judged, joined and told: by voices at the rate of the encoder, else by agreement."""
    if rate_hz == ENCODER_HZ:
        return OneVoice(), VoicesInOrder(TracksInOrder()), TellVoices()
    return Agreement(), Consensus(floor=3.0), None  # dB


def _tracked(rate_hz: int) -> ExchangeTracks | None:
    """The tracks of each restart are put in order, at the rate of the tracker."""
    return ExchangeTracks() if rate_hz == ENCODER_HZ else None


TASKS: dict[str, Callable[[int, int], Recipe]] = {
    "enhance": enhance,
    "dereverb": dereverb,
    "denoise_dereverb": denoise_dereverb,
}
"""Name of a task -> its recipe for a number of calls and the rate of the prior."""
TALKER_TASKS: dict[str, Callable[[int, int, int], Recipe]] = {"separate": separate, "joint": joint}
"""Name of a task for several talkers -> its recipe for a number of calls, the rate of the prior, and S."""
MIN_TALKERS, MAX_TALKERS, DEFAULT_TALKERS = 2, 8, 2
REPAIRS = ("declip", "packet_loss", "bandwidth")
"""Tasks for recordings with one known kind of damage, which the benchmark's recordings do not have."""


def check_task(task: str) -> None:
    """Refuse a name that is no task's.

    Raises:
        ConfigError: It is none.
    """
    known = (*TASKS, *TALKER_TASKS, *REPAIRS)
    if task not in known:
        raise ConfigError(f"There is no task {task!r}; choose one of: {', '.join(known)}.")


def check_choice(task: str, preset: str, cutoff_hz: float | None = None, talkers: int | None = None) -> None:
    """Refuse what no recipe is there for.

    Raises:
        ConfigError: No such task or preset; a cut-off for another task than `bandwidth`; see `check_talkers`.
    """
    check_task(task)
    if preset not in PRESETS:
        raise ConfigError(
            f"There is no preset {preset!r}; choose one of: {', '.join(PRESETS)}, or give the .yaml file of "
            "an experiment."
        )
    if cutoff_hz is not None and task != "bandwidth":
        raise ConfigError(
            f"cutoff_hz: the task {task} has none, found {cutoff_hz:g} Hz. Leave it out (--cutoff_hz on the "
            "command line), or choose the task bandwidth."
        )
    check_talkers(task, talkers)


def check_talkers(task: str, talkers: int | None, of_experiment: bool = False) -> None:
    """Refuse numbers of talkers that cannot be restored; None is right for all tasks.

    Raises:
        ConfigError: The task is for one talker (unless an experiment is taken in its place), or the number
            is no whole one within the limits.
    """
    if talkers is None:
        return
    if task not in TALKER_TASKS and not of_experiment:
        raise ConfigError(
            f"talkers: the task {task} restores one talker, found talkers {talkers}. Leave it out (--talkers "
            f"on the command line), or choose the task {' or '.join(TALKER_TASKS)}."
        )
    if not is_whole(talkers) or not MIN_TALKERS <= talkers <= MAX_TALKERS:
        raise ConfigError(
            f"talkers is {talkers}; expected a whole number from {MIN_TALKERS} to {MAX_TALKERS} (--talkers "
            "on the command line). For one talker choose the task enhance, dereverb or denoise_dereverb."
        )


def make_recipe(
    task: str = "enhance",
    preset: str = "default",
    rate_hz: int = 16000,
    cutoff_hz: float | None = None,
    talkers: int | None = None,
) -> Recipe:
    """The recipe of a task at a preset.

    Args:
        task: One of `TASKS`, `TALKER_TASKS` or `REPAIRS`.
        preset: One of `PRESETS`.
        rate_hz: Rate of the prior.
        cutoff_hz: Where the recordings of `bandwidth` end; None to estimate it, and for all other tasks.
        talkers: How many there are, of `TALKER_TASKS`; None is two there, and right for all other tasks.

    Raises:
        ConfigError: See `check_choice`, or the cut-off does not fit the rate.
    """
    check_choice(task, preset, cutoff_hz, talkers)
    n_steps = PRESETS[preset]
    if task in TALKER_TASKS:
        return TALKER_TASKS[task](n_steps, rate_hz, talkers or DEFAULT_TALKERS)
    if task == "declip":
        return declip(n_steps)
    if task == "packet_loss":
        return fill_gaps(n_steps, rate_hz)
    if cutoff_hz is not None:
        return widen(LowPass(cutoff_hz, rate_hz), n_steps)
    if task == "bandwidth":
        return widen(BlindLowPass(rate_hz), n_steps, [UpdateLowPass()])
    return TASKS[task](n_steps, rate_hz)
