"""From the numbers of a scene to its sound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsr.errors import AudioError
from diffsr.io.audio import probe, read_audio
from diffsr.signal.filtering import convolve
from diffsr.signal.levels import from_db, loudest_channel, rms
from diffsr.signal.resampling import resample
from diffsr.simulation.candidates import bandwidth_problem
from diffsr.simulation.levels import PEAK, snr_db, to_level, with_energy_of
from diffsr.simulation.noise import CROSS_FADE_S, diffuse, excerpt
from diffsr.simulation.plan import NoisePlan, Room, ScenePlan, TalkerPlan
from diffsr.simulation.responses import Responses, RoomSource

SILENCE_RMS = 1e-4
"""Parts below -80 dBFS are taken for silence: 16-bit files hold nothing but rounding there."""
SPACING_M = 0.16
"""Between neighbouring microphones where no room tells it; the middle of the range of the recipe."""
_FADE_S = 0.005


@dataclass(frozen=True)
class Scene:
    """A rendered scene. `observation` is exactly the sum of `reverberant` over talkers plus `noise`.

    Attributes:
        plan: The numbers it was made from.
        observation: What the microphones hear, float32 [C, T].
        dry: Talkers without the room, [S, T], in time with the direct path at the first microphone.
        direct: Direct path of each talker at each microphone, [S, C, T]; at the first microphone with
            the energy of the dry talker.
        reverberant: Direct path and reflections, [S, C, T].
        noise: [C, T]; zeros without noise.
        responses: Room responses that `dry` was convolved with, None without a room. Talker k was filtered
            with `responses.full[k]`, scaled by `room_gains[k]` and moved forward by its onset.
        room_gains: Gain of each talker's responses.
        gain: Of the peak guard, already applied to all parts alike.
    """

    plan: ScenePlan
    observation: Tensor
    dry: Tensor
    direct: Tensor
    reverberant: Tensor
    noise: Tensor
    responses: Responses | None
    room_gains: tuple[float, ...]
    gain: float


def render(plan: ScenePlan, rooms: RoomSource | None = None) -> Scene:
    """Read the files of a plan and mix them.

    Args:
        plan: The scene as numbers.
        rooms: Knows the responses of the plan's room; not needed without a room.

    Raises:
        AudioError: A file is missing, broken, silent, too short or has too low a rate.
        DataError: The room cannot be had.
    """
    dry = torch.stack([_dry(talker, plan) for talker in plan.talkers])
    direct, reverberant, responses, room_gains = _through_room(dry, plan, rooms)
    noise = torch.zeros(plan.n_microphones, plan.n_samples)
    if plan.noise is not None:
        noise = _noise(plan.noise, plan, dry[0])
    observation = reverberant.sum(0) + noise
    peak = max(float(part.abs().max()) for part in (observation, dry, direct, reverberant, noise))
    gain = min(1.0, PEAK * (1 - 1e-6) / peak)  # a little less, for the rounding of float32
    dry, direct, reverberant, noise = (part * gain for part in (dry, direct, reverberant, noise))
    # Summed again, so that the observation is the sum of its parts to the last bit.
    observation = reverberant.sum(0) + noise
    return Scene(plan, observation, dry, direct, reverberant, noise, responses, room_gains, gain)


def read_part(path: str, start_s: float, duration_s: float, rate_hz: int) -> Tensor:
    """Part of a recording at the rate of the scene, [C, T]; T may be one sample off.

    Raises:
        AudioError: The file is missing or broken, ends too early, or has too low a rate.
    """
    wave, info = read_audio(path, start_s, start_s + duration_s)
    if info.rate_hz < rate_hz:
        raise AudioError(bandwidth_problem(path, info.rate_hz, rate_hz))
    found_s = wave.shape[-1] / info.rate_hz
    if found_s < duration_s - 0.01:
        raise AudioError(
            f"{path} ends {duration_s - found_s:.2f} s before the manifest says. List the corpus again with "
            "`diffsr prepare`."
        )
    return resample(wave, info.rate_hz, rate_hz)


def _dry(talker: TalkerPlan, plan: ScenePlan) -> Tensor:
    """The talker at its level and place, [T]."""
    wave = loudest_channel(read_part(talker.path, talker.start_s, talker.duration_s, plan.rate_hz))
    offset = round(talker.offset_s * plan.rate_hz)
    size = min(round(talker.duration_s * plan.rate_hz), len(wave), plan.n_samples - offset)
    wave = wave[:size]
    if float(rms(wave)) < SILENCE_RMS:
        raise AudioError(
            f"{talker.path} holds silence from {talker.start_s:.2f} to "
            f"{talker.start_s + talker.duration_s:.2f} s, expected speech. Remove it from the manifest."
        )
    faded = _faded(wave, offset > 0, offset + size < plan.n_samples - 2, plan.rate_hz)
    placed = torch.zeros(plan.n_samples)
    # Before it is placed: silence around it would change which frames count as active.
    placed[offset : offset + size] = to_level(faded, plan.rate_hz, plan.level, talker.gain_db)
    return placed


def _faded(wave: Tensor, at_start: bool, at_end: bool, rate_hz: int) -> Tensor:
    """Ends that lie inside the scene get a fade of 5 ms, so that they do not click."""
    size = min(round(_FADE_S * rate_hz), len(wave) // 2)
    ramp = torch.sin(torch.linspace(0, math.pi / 2, size)).square()
    wave = wave.clone()
    if at_start:
        wave[:size] *= ramp
    if at_end:
        wave[len(wave) - size :] *= ramp.flip(0)
    return wave


def _through_room(
    dry: Tensor, plan: ScenePlan, rooms: RoomSource | None
) -> tuple[Tensor, Tensor, Responses | None, tuple[float, ...]]:
    """Direct and reverberant talkers, [S, C, T], the responses, and their gains.

    The direct path at the first microphone gets the energy of the dry talker, the rest the same factor:
    the rule of WHAMR!.
    """
    if plan.room is None:
        copies = dry[:, None].expand(-1, plan.n_microphones, -1)
        return copies, copies, None, (1.0,) * len(dry)
    if rooms is None:
        raise ValueError("The plan has a room: render it with the source that drew it.")
    responses = rooms.responses(plan.room, plan.rate_hz)
    direct, reverberant, gains = [], [], []
    for k, onset in enumerate(responses.onset_samples):
        paths = [
            convolve(dry[k], response[k], plan.n_samples, onset)
            for response in (responses.direct, responses.full)
        ]
        gains.append(with_energy_of(paths[0][0], dry[k]))
        direct.append(paths[0] * gains[-1])
        reverberant.append(paths[1] * gains[-1])
    return torch.stack(direct), torch.stack(reverberant), responses, tuple(gains)


def _noise(noise: NoisePlan, plan: ScenePlan, talker: Tensor) -> Tensor:
    """The noise at every microphone, [C, T], at its SNR to `talker` [T]."""
    channels = _noise_channels(noise, plan)
    found_db = snr_db(talker, channels[0], plan.rate_hz, plan.snr_by)
    if math.isnan(found_db):
        raise AudioError(
            f"{noise.path} has no level from {noise.start_s[0]:.2f} s on (silence?), expected noise. "
            "Remove it from the manifest."
        )
    return channels * from_db(found_db - noise.snr_db)


def _noise_channels(noise: NoisePlan, plan: ScenePlan) -> Tensor:
    """Channels of the recording where it has enough, else a diffuse field made from its loudest one."""
    length_s = probe(noise.path).duration_s
    first = _excerpt(noise, 0, plan, length_s)
    if first.shape[0] >= plan.n_microphones:
        return first[: plan.n_microphones]
    others = [_excerpt(noise, number, plan, length_s) for number in range(1, plan.n_microphones)]
    waves = torch.stack([loudest_channel(wave) for wave in (first, *others)])
    levels = rms(waves)
    if float(levels.min()) < SILENCE_RMS:
        raise AudioError(f"{noise.path} holds silence in one of its excerpts, expected noise.")
    return diffuse(waves * (levels[0] / levels)[:, None], _distances_m(plan), plan.rate_hz)


def _excerpt(noise: NoisePlan, number: int, plan: ScenePlan, length_s: float) -> Tensor:
    """The excerpt of one microphone, all channels of the file, [C', T]."""
    start_s, n_samples = noise.start_s[number], plan.n_samples
    wanted_s = (n_samples + 1) / plan.rate_hz  # one more for the rounding of the rates
    fits = start_s + wanted_s <= length_s
    first_s, part_s = (start_s, wanted_s) if fits else (0.0, length_s)
    recording = read_part(noise.path, first_s, part_s, plan.rate_hz)
    # Exactly n_samples in both cases: the decoder may give a few samples less than the header says.
    start, fade = round((start_s - first_s) * plan.rate_hz), round(CROSS_FADE_S * plan.rate_hz)
    return excerpt(recording, start, n_samples, fade)


def _distances_m(plan: ScenePlan) -> Tensor:
    """Between the microphones, [C, C]."""
    if isinstance(plan.room, Room):
        places = torch.tensor(plan.room.microphones_m[: plan.n_microphones])
    else:
        places = SPACING_M * torch.arange(plan.n_microphones).float()[:, None]
    return (places[:, None] - places[None]).square().sum(-1).sqrt()
