"""Early reflections: taken away before a recording is restored, and part of the room that is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import diffsr
from diffsr import Restorer
from diffsr.degradations import Clipping, LatePrediction, Room
from diffsr.diffusion import WindowedPrior
from diffsr.errors import ConfigError
from diffsr.io.audio import read_audio
from diffsr.likelihoods import LateReverberation, WhiteNoise
from diffsr.recipes import TASKS, Recipe, make_recipe
from diffsr.restoration.refining import refined
from diffsr.restoration.whole_room import of_the_recording
from diffsr.samplers import (
    AnnealedSampler,
    EachTalker,
    EarlyReflections,
    FromWPE,
    MeasureDecay,
    Proximal,
    SecondPass,
    UpdatePrediction,
)
from diffsr.signal.filtering import convolve
from diffsr.signal.stft import STFT

RATE_HZ = 16000
LAG = round(0.006 * RATE_HZ)
SPEECH = Path(diffsr.__file__).parent / "assets" / "starter" / "audio" / "de-f2-1.ogg"


class Overhears(Proximal):
    """Remembers what it was asked to explain."""

    def __init__(self) -> None:
        super().__init__()
        self.y = torch.empty(0)

    def correct(self, z, x0, sigma, problem):
        self.y = problem.y.clone()
        return super().correct(z, x0, sigma, problem)


def loop(guidance=None, n_steps: int = 2) -> AnnealedSampler:
    return AnnealedSampler(
        guidance,
        estimators=[UpdatePrediction(), MeasureDecay()],
        n_steps=n_steps,
        initialiser=FromWPE(10, 3, 3),
    )


def in_a_room(guidance=None, early=None, second=None) -> Recipe:
    return Recipe(
        loop(guidance),
        LateReverberation(WhiteNoise(1e-3, 512, 128)),
        LatePrediction(taps=4, response_taps=0),
        early_reflections=early,
        second_pass=second,
    )


@pytest.fixture(scope="module")
def dry() -> torch.Tensor:
    return read_audio(SPEECH, 0.0, 3.0)[0][:1]


@pytest.fixture(scope="module")
def wet(dry) -> torch.Tensor:
    response = torch.zeros(LAG + 1)
    response[0], response[LAG] = 1.0, 0.6
    return convolve(dry[0], response[None], dry.shape[-1])


def alike(a: torch.Tensor, b: torch.Tensor) -> float:
    """Cosine of two signals."""
    return float((a.flatten() @ b.flatten()) / (a.norm() * b.norm()))


def test_what_is_restored_is_the_recording_without_them(tiny_prior, dry, wet):
    with_them, without = Overhears(), Overhears()
    Restorer(tiny_prior, recipe=in_a_room(with_them)).restore(wet, RATE_HZ)
    Restorer(tiny_prior, recipe=in_a_room(without, EarlyReflections())).restore(wet, RATE_HZ)
    assert alike(with_them.y, wet) > 0.9999
    assert alike(without.y, dry) > alike(wet, dry) + 0.05


def test_they_are_part_of_the_response_that_is_reported(tiny_prior, wet):
    found = [
        Restorer(tiny_prior, recipe=in_a_room(early=early)).restore(wet, RATE_HZ).physics.room_response[0]
        for early in (None, EarlyReflections())
    ]
    assert float(found[1][0]) == pytest.approx(1.0, abs=1e-3)
    added = found[1][LAG - 2 : LAG + 3].max() - found[0][LAG - 2 : LAG + 3].max()
    assert 0.3 < float(added) < 0.8


def test_their_energy_is_told_and_none_is_null(tiny_prior, dry, wet):
    def told(wave, early):
        done = Restorer(tiny_prior, recipe=in_a_room(early=early)).restore(wave, RATE_HZ)
        return done.physics.summary()[0]["room"]

    expected = 10 * torch.tensor(0.6**2).log10()
    assert told(wet, EarlyReflections())["early_reflections_db"] == pytest.approx(float(expected), abs=2.0)
    assert told(dry[:, 16_000:20_000], EarlyReflections())["early_reflections_db"] is None
    assert "early_reflections_db" not in told(wet, None)


def test_a_second_pass_looks_for_those_of_the_first_restoration(tiny_prior, wet):
    class Notes(EarlyReflections):
        heard_in: list[torch.Tensor] = []

        def heard(self, x, rate_hz):
            self.heard_in.append(x.clone())
            return super().heard(x, rate_hz)

    again = SecondPass(AnnealedSampler(estimators=[], n_steps=2, sigma_max=0.1))
    recipe = in_a_room(early=Notes(), second=again)
    first = Restorer(tiny_prior, recipe=replace(recipe, second_pass=None)).restore(wet, RATE_HZ).wave
    Notes.heard_in.clear()
    Restorer(tiny_prior, recipe=recipe).restore(wet, RATE_HZ)
    assert len(Notes.heard_in) == 2
    assert alike(Notes.heard_in[1], first) > 0.9999


def test_channels_are_alone_and_silent_ones_stay_silent(tiny_prior, dry, wet):
    both = torch.cat([wet, torch.zeros_like(wet), dry])
    recipe = in_a_room(early=EarlyReflections())
    done = Restorer(tiny_prior, recipe=recipe).restore(both, RATE_HZ)
    alone = Restorer(tiny_prior, recipe=recipe).restore(wet, RATE_HZ)
    torch.testing.assert_close(done.wave[:1], alone.wave, atol=1e-5, rtol=0)
    assert not bool(done.wave[1].any())


def test_what_is_too_short_to_hear_them_is_restored_all_the_same(tiny_prior, wet):
    short = wet[:, 16000:18000]
    recipe = in_a_room(early=EarlyReflections())
    found, other = (
        Restorer(tiny_prior, recipe=one).restore(short, RATE_HZ).wave
        for one in (recipe, replace(recipe, early_reflections=None))
    )
    assert torch.equal(found, other)


@pytest.mark.parametrize(
    "options",
    [{"first_ms": 0.0}, {"first_ms": 28.0}, {"last_ms": float("nan")}, {"last_ms": 61.0}, {"threshold": 0.0}],
)
def test_limits_that_leave_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="EarlyReflections has"):
        EarlyReflections(**options)


def test_each_track_of_talkers_loses_its_own(tiny_prior, dry, wet):
    guidance = Overhears()
    each = EachTalker(
        AnnealedSampler(guidance, estimators=[], n_steps=2),
        WhiteNoise(1e-3, 512, 128),
        early_reflections=EarlyReflections(),
    )
    tracks = torch.stack([wet[0], torch.zeros_like(wet[0])])[None]
    result = refined(tracks, ["mixture"], WindowedPrior(tiny_prior, 4.0, 0.5), each, 0).tracks
    assert alike(guidance.y, dry) > alike(wet, dry) + 0.05
    assert not bool(result[0, 1].any())


def test_a_silent_channel_before_a_reverberant_one_leaves_it_its_room(tiny_prior, wet):
    recipe = in_a_room(early=EarlyReflections())
    behind = torch.cat([torch.zeros_like(wet), wet])
    found = Restorer(tiny_prior, recipe=recipe).restore(behind, RATE_HZ).physics.room_response
    alone = Restorer(tiny_prior, recipe=recipe).restore(wet, RATE_HZ).physics.room_response
    assert found.shape == alone.shape
    assert float(found[0, LAG - 2 : LAG + 3].max()) == pytest.approx(
        float(alone[0, LAG - 2 : LAG + 3].max()), abs=0.05
    )


class Stays(STFT):
    """Remembers where it was moved to."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.moves: list[tuple] = []

    def to(self, *where):
        self.moves.append(where)
        return super().to(*where)


def test_noise_that_was_found_is_that_of_the_recording():
    early, stft = torch.zeros(1, 449), Stays(512, 128)
    early[0, LAG] = 0.3
    described = {"noise_power": torch.ones(1, 2, 257, 5), "t": torch.ones(1)}
    power = of_the_recording(described, early, stft)["noise_power"]
    assert power.shape == (1, 2, 257, 5)
    assert float(power.mean()) > 1.1
    assert of_the_recording(described, None, stft) is described
    assert stft.moves == []  # it is that of the sampler, which needs it where it is
    given = {"noise_power": torch.ones(1, 2, 1, 1)}
    assert torch.equal(of_the_recording(given, early, stft)["noise_power"], given["noise_power"])


def test_rooms_of_one_talker_have_them():
    assert all((make_recipe(task).early_reflections is not None) == (task != "enhance") for task in TASKS)
    with pytest.raises(ConfigError, match="early_reflections does nothing for 2 talkers"):
        replace(make_recipe("joint"), early_reflections=EarlyReflections())


@pytest.mark.parametrize("degradation", [Clipping(), Room(torch.ones(1, 1))])
def test_beside_a_known_room_or_kept_samples_they_are_refused(degradation):
    words = f"filters the recording .* {type(degradation).__name__} explains it only as it was recorded"
    with pytest.raises(ConfigError, match=words):
        Recipe(degradation=degradation, early_reflections=EarlyReflections())


def test_a_recording_without_sound_in_the_band_of_the_prior_leaves_its_batch(tiny_prior, wet):
    high = torch.hann_window(8820) * torch.sin(2 * torch.pi * 18000 / 44100 * torch.arange(8820))
    restorer = Restorer(tiny_prior, recipe=in_a_room(early=EarlyReflections()), batch=2)
    found = restorer.restore_many([wet, 1e-3 * high[None]], [RATE_HZ, 44100], ["a", "b"])
    alone = restorer.restore(wet, RATE_HZ, "a")
    torch.testing.assert_close(found[0].wave, alone.wave, atol=1e-5, rtol=0)
    assert found[1].wave.abs().max() < 1e-4  # nothing of it is speech
