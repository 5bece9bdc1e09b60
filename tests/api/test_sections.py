"""Long recordings: where they are cut, how they are put together, and what a run that is stopped leaves."""

from __future__ import annotations

import errno
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diffsr import Restorer
from diffsr.cli import main
from diffsr.commands.restore import DEFAULT_SECTION_S
from diffsr.degradations import Clipping
from diffsr.errors import AudioError, ConfigError
from diffsr.files import restore_path
from diffsr.io.audio import write_audio
from diffsr.likelihoods import DriftingNoise, WhiteNoise
from diffsr.recipes import Recipe, make_recipe
from diffsr.restoration import Physics, Restoration, UnfinishedError
from diffsr.restoration import sections as sections_module
from diffsr.restoration.kept_sections import KeptSections
from diffsr.restoration.posing import pose
from diffsr.restoration.recording import Posed
from diffsr.restoration.section_physics import over_sections
from diffsr.restoration.section_plan import OVERLAP_S, SECTION_S, SectionPlan
from diffsr.restoration.sections import FADE_S, as_one
from diffsr.samplers import AnnealedSampler
from diffsr.signal.stft import STFT

RATE_HZ = 16000


def restorer(prior, section_s: float | None = 10.0, n_steps: int = 2, **settings) -> Restorer:
    recipe = Recipe(AnnealedSampler(n_steps=n_steps), DriftingNoise())
    return Restorer(prior, recipe=recipe, section_s=section_s, device="cpu", **settings)


def posed(wave: torch.Tensor, rate_hz: int, section_s: float, prior) -> list[Posed]:
    return pose(wave, rate_hz, "a", "each", prior, Recipe(), torch.device("cpu"), section_s)


# Where it is cut -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 11127])
@pytest.mark.parametrize("duration_s", [10.01, 119.0, 600.0, 3600.123])
@pytest.mark.parametrize("section_s", [10.0, 30.0, 120.0])
def test_sections_cover_a_recording_and_overlap_at_both_rates(rate_hz, duration_s, section_s):
    plan = SectionPlan.of(duration_s, (rate_hz, RATE_HZ), section_s)
    for hz in (rate_hz, RATE_HZ):
        length = round(duration_s * hz)
        found = plan.ranges(hz, length)
        assert found[0].start == 0
        assert found[-1].stop == length
        assert max(map(len, found)) <= section_s * hz + 1
        for before, after, start_s in zip(found, found[1:], plan.starts_s[1:], strict=False):
            assert before.start < after.start
            assert before.stop - after.start >= OVERLAP_S * hz
            assert after.start == pytest.approx(start_s * hz, abs=1e-6)  # a whole number of samples
    of_one_length = {len(part) for part in plan.ranges(RATE_HZ, round(duration_s * RATE_HZ))[:-1]}
    assert len(of_one_length) <= 1  # they fill batches


@pytest.mark.parametrize("section_s", [None, 10.0])
def test_what_is_no_longer_than_a_section_is_not_cut(section_s):
    assert SectionPlan.of(10.0, (44100, RATE_HZ), section_s).ranges(44100, 441000) == [range(441000)]


@pytest.mark.parametrize("section_s", [0.0, 9.9, -1.0, math.nan, "120"])
def test_sections_that_are_too_short_are_refused(tiny_prior, section_s):
    with pytest.raises(ConfigError, match="section_s is"):
        Restorer(tiny_prior, section_s=section_s)


def test_sections_have_the_level_of_the_whole(tiny_prior, make_speech):
    """What is quiet is not made loud, and sections without speech lower the level as little as pauses do."""
    loud = torch.from_numpy(make_speech(8.0, seed=1))
    wave = torch.cat([loud, 0.3 * loud, *[1e-3 * loud] * 4], -1)
    parts = posed(wave, RATE_HZ, 10.0, tiny_prior)
    [whole] = posed(wave, RATE_HZ, 100.0, tiny_prior)
    assert len(parts) == 6
    assert len({float(one.scale) for one in parts}) == 1
    assert float(parts[0].scale / whole.scale) == pytest.approx(1, rel=0.25)  # 2 dB


def test_a_channel_that_is_silent_in_a_section_is_silent_in_its_result(tiny_prior, make_speech):
    wave = torch.from_numpy(make_speech(24.0, channels=2))
    wave[1, : 13 * RATE_HZ] = 0
    done = restorer(tiny_prior).restore(wave, RATE_HZ)
    assert [one.physics.places for one in done.sections] == [[0], [0, 1], [0, 1]]
    assert done.physics.places == [0, 1]
    assert len(done.physics.summary()) == 2
    assert not done.wave[1, : 5 * RATE_HZ].any()
    assert done.wave[1, 14 * RATE_HZ :].any()


# How it is put together ------------------------------------------------------------------------------


def cut_up(wave: torch.Tensor, rate_hz: int, prior, change=lambda one, number: one) -> Restoration:
    """Sections that come back as `change` makes them, as one."""
    parts = posed(wave, rate_hz, 10.0, prior)
    made = [Restoration(change(one.wave, number), rate_hz, 1, 1.0) for number, one in enumerate(parts)]
    return as_one(parts, made)


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_sections_that_did_not_change_give_the_recording(tiny_prior, make_speech, rate_hz):
    wave = torch.from_numpy(make_speech(31.7, channels=2, rate_hz=rate_hz))
    torch.testing.assert_close(cut_up(wave, rate_hz, tiny_prior).wave, wave, rtol=0, atol=1e-7)


def test_one_section_takes_over_from_another_in_a_pause(tiny_prior, make_speech):
    """Every section has a constant of its own: there are as many values as sections, and short ramps."""
    wave = torch.from_numpy(make_speech(24.0))
    places = [int(one.start_s * RATE_HZ) for one in posed(wave, RATE_HZ, 10.0, tiny_prior)[1:]]
    pauses = [slice(place + 9000, place + 13000) for place in places]
    for pause in pauses:
        wave[:, pause] = 0
    done = cut_up(wave, RATE_HZ, tiny_prior, lambda one, number: one + 10 * number * (one != 0)).wave
    assert not torch.cat([done[:, pause] for pause in pauses], -1).any()
    number = (done / 10).round()[0]
    steps = number.diff().nonzero()[:, 0]
    edges = {edge for pause in pauses for edge in (pause.start - 1, pause.stop - 1)}
    assert set(steps.tolist()) <= edges


@pytest.mark.parametrize("quiet", ["begin", "end"])
def test_no_section_takes_over_at_its_edge(tiny_prior, make_speech, quiet):
    """There it lacks what was said before; so it does even where it is quiet there alone."""
    wave = torch.from_numpy(make_speech(12.0))
    first, second = posed(wave, RATE_HZ, 10.0, tiny_prior)
    start, stop = int(second.start_s * RATE_HZ), int(first.end_s * RATE_HZ)
    wave[:, slice(start, start + 4000) if quiet == "begin" else slice(stop - 4000, stop)] = 0
    done = cut_up(wave, RATE_HZ, tiny_prior, lambda one, number: (1 + number) * one).wave
    edge = 3 * RATE_HZ // 10
    torch.testing.assert_close(done[:, : start + edge], wave[:, : start + edge])
    torch.testing.assert_close(done[:, stop - edge :], 2 * wave[:, stop - edge :])


def test_ramps_are_short_and_sum_to_one(tiny_prior, make_speech):
    wave = torch.ones_like(torch.from_numpy(make_speech(24.0))) + torch.from_numpy(make_speech(24.0))
    done = cut_up(wave, RATE_HZ, tiny_prior, lambda one, number: torch.full_like(one, float(number))).wave[0]
    assert float(done.diff().min()) >= 0
    assert float(done.diff().max()) < 2 / (FADE_S * RATE_HZ)
    between = (done != done.round()).sum()
    assert 0 < int(between) <= 2 * FADE_S * RATE_HZ


def test_a_long_recording_is_restored_like_its_sections(tiny_prior, make_speech):
    """Only the level is told of the whole; with a recording of one level it is that of each."""
    wave = torch.from_numpy(make_speech(17.0, rate_hz=44100))
    whole = restorer(tiny_prior).restore(wave, 44100, "a")
    assert whole.wave.shape == wave.shape
    assert len(whole.sections) == 2
    assert whole.sections[0].start_s == 0
    assert whole.sections[1].end_s == pytest.approx(17.0)
    stop = round(whole.sections[0].end_s * 44100)
    alone = restorer(tiny_prior).restore(wave[:, :stop], 44100, "a")
    sure = round((whole.sections[1].start_s - 0.1) * 44100)
    error = whole.wave[:, :sure] - alone.wave[:, :sure]
    assert float(error.square().mean()) < 1e-9 * float(alone.wave[:, :sure].square().mean())


def test_samples_are_joined_as_the_result_is(tiny_prior, make_speech):
    wave = torch.from_numpy(make_speech(12.0))
    done = restorer(tiny_prior, n_samples=2).restore(wave, RATE_HZ)
    assert done.samples.shape == (2, *wave.shape)
    assert done.std.shape == wave.shape
    torch.testing.assert_close(done.samples.mean(0), done.wave, rtol=0, atol=1e-6)  # of no joiner


@pytest.mark.parametrize("batch", [1, 4])
def test_sections_share_batches(tiny_prior, make_speech, batch, monkeypatch):
    sizes = []
    real = sections_module.restore_batch
    monkeypatch.setattr(
        sections_module, "restore_batch", lambda posed, *rest: sizes.append(len(posed)) or real(posed, *rest)
    )
    wave = torch.from_numpy(make_speech(33.0))
    done = restorer(tiny_prior, batch=batch).restore(wave, RATE_HZ)
    assert len(done.sections) == 4
    assert max(sizes) == batch
    again = restorer(tiny_prior, batch=1).restore(wave, RATE_HZ)
    torch.testing.assert_close(done.wave, again.wave, rtol=0, atol=1e-5)


def test_talkers_and_single_samples_are_not_cut(tiny_prior, make_speech):
    clipped = Recipe(AnnealedSampler(n_steps=2), WhiteNoise(0.001), Clipping())
    assert not clipped.can_be_cut
    assert not make_recipe("bandwidth").can_be_cut
    assert not make_recipe("separate").can_be_cut
    assert make_recipe("enhance").can_be_cut
    assert make_recipe("dereverb").can_be_cut
    wave = torch.from_numpy(make_speech(11.0)).clamp(-0.06, 0.06)
    done = Restorer(tiny_prior, recipe=clipped, section_s=10.0, device="cpu").restore(wave, RATE_HZ)
    assert not done.sections


def test_the_section_that_fails_is_named(tiny_prior, make_speech):
    wave = torch.from_numpy(make_speech(24.0))
    parts = posed(wave, RATE_HZ, 10.0, tiny_prior)
    made = [Restoration(one.wave, RATE_HZ, 1, 1.0) for one in parts]
    failed = UnfinishedError("It diverged.", made[1])
    done = as_one(parts, [made[0], failed, made[2]])
    assert isinstance(done, UnfinishedError)
    assert "It diverged. It is the section from 7 to 17 s." in str(done)
    torch.testing.assert_close(done.best.wave, wave, rtol=0, atol=1e-7)


# What is found out -----------------------------------------------------------------------------------


def test_the_noise_of_each_section_and_their_mean(tiny_prior, make_speech):
    noise = 0.02 * torch.from_numpy(np.random.default_rng(3).standard_normal((1, 20 * RATE_HZ))).float()
    wave = torch.from_numpy(make_speech(20.0))
    wave[:, 10 * RATE_HZ :] += noise[:, 10 * RATE_HZ :]
    done = restorer(tiny_prior).restore(wave, RATE_HZ)
    levels_db = torch.cat([one.physics.noise_level_db for one in done.sections])
    assert len(levels_db) == 3
    assert float(levels_db[2] - levels_db[0]) == pytest.approx(3, abs=1)
    mean_db = 10 * (10 ** (levels_db / 10)).mean().log10()
    assert float(done.physics.noise_level_db) == pytest.approx(float(mean_db), abs=0.01)


def test_physics_over_sections():
    """The response of the median reverberation time, means of what can be told, votes on yes and no."""

    def found(rt60_s: float, at_limit: bool, places: list[int]) -> Physics:
        time_s = torch.arange(RATE_HZ // 2) / RATE_HZ
        response = torch.randn(len(time_s), generator=torch.Generator().manual_seed(0))
        response = (response * 10 ** (-3 * time_s / rt60_s)).expand(len(places), 1, 1, 1, -1)
        values = {
            "room_response": response,
            "rt60_s": torch.full((len(places), 1, 1), rt60_s),
            "rt60_at_limit": torch.full((len(places), 1, 1), at_limit),
        }
        return Physics(places, places, RATE_HZ, STFT(), values)

    parts = [found(0.3, True, [0]), found(0.5, False, [0, 1]), found(0.2, True, [0])]
    whole = over_sections(parts)
    assert whole.places == [0, 1]
    torch.testing.assert_close(whole.values["room_response"][0], parts[0].values["room_response"][0])
    torch.testing.assert_close(whole.values["room_response"][1], parts[1].values["room_response"][1])
    torch.testing.assert_close(whole.values["rt60_s"][:, 0, 0], torch.tensor([1.0 / 3, 0.5]))
    assert whole.values["rt60_at_limit"][:, 0, 0].tolist() == [True, False]
    assert over_sections([]) is None


@pytest.mark.parametrize(
    ("levels_db", "mean_db"),
    [([-5.0, -5.0, -math.inf], -6.76), ([-math.inf] * 3, -math.inf), ([math.nan, 3.0], 3)],
)
def test_levels_over_sections_are_those_of_the_mean_power(levels_db, mean_db):
    parts = [
        Physics([0], [0], RATE_HZ, STFT(), {"early_reflections_db": torch.tensor([[level_db]])})
        for level_db in levels_db
    ]
    found = over_sections(parts).values["early_reflections_db"]
    assert float(found) == pytest.approx(mean_db, abs=0.01)


# Files, and runs that are stopped --------------------------------------------------------------------


@pytest.fixture
def long_file(tmp_path, make_speech) -> Path:
    write_audio(tmp_path / "long.wav", torch.from_numpy(make_speech(24.0)), RATE_HZ)
    return tmp_path / "long.wav"


class Stop:
    """Ctrl-C after a share of the work."""

    def __init__(self, after: float) -> None:
        self.after, self.shares = after, []

    def __call__(self, n_finished: int, n_files: int, name: str, step: int, n_steps: int) -> None:
        self.shares.append(n_finished + step / n_steps)
        if self.shares[-1] >= self.after:
            raise KeyboardInterrupt


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("settings", [{}, {"n_samples": 2}])
def test_a_run_that_was_stopped_goes_on_after_its_last_section(tiny_prior, long_file, tmp_path, settings):
    restore_path(long_file, tmp_path / "whole.wav", restorer(tiny_prior, n_steps=4, **settings))
    first = restorer(tiny_prior, n_steps=4, **settings)
    with pytest.raises(KeyboardInterrupt):
        restore_path(long_file, tmp_path / "out.wav", first, on_progress=Stop(0.7))
    assert len(list((tmp_path / ".out.sections").iterdir())) == 2
    watched = Stop(math.inf)
    again = restorer(tiny_prior, n_steps=4, **settings)
    [report] = restore_path(long_file, tmp_path / "out.wav", again, on_progress=watched, physics=True)
    assert report.status == "restored"
    assert len(watched.shares) < 8
    found, expected = (soundfile.read(tmp_path / name)[0] for name in ("out.wav", "whole.wav"))
    np.testing.assert_array_equal(found, expected)
    assert not [name for name in files_in(tmp_path) if name.startswith(".")]
    told = json.loads((tmp_path / "out.json").read_text())
    assert [one["start_s"] for one in told["sections"]] == pytest.approx([0, 7.33, 14.67], abs=0.01)
    levels_db = [one["channels"][0]["noise"]["level_db"] for one in told["sections"]]
    assert told["channels"][0]["noise"]["level_db"] == pytest.approx(np.mean(levels_db), abs=0.3)


@pytest.mark.parametrize("change", ["seed", "steps", "samples", "sections", "recording", "damage"])
def test_sections_of_another_run_are_not_taken(tiny_prior, long_file, tmp_path, change):
    with pytest.raises(KeyboardInterrupt):
        restore_path(long_file, tmp_path / "out.wav", restorer(tiny_prior), on_progress=Stop(0.7))
    assert len(list((tmp_path / ".out.sections").iterdir())) == 2
    settings = {"seed": 1 if change == "seed" else 0, "n_samples": 2 if change == "samples" else None}
    settings |= {
        "n_steps": 3 if change == "steps" else 2,
        "section_s": 11.0 if change == "sections" else 10.0,
    }
    if change == "recording":
        wave, _ = soundfile.read(long_file)
        soundfile.write(long_file, 0.5 * wave[::-1], RATE_HZ)
    if change == "damage":
        for path in (tmp_path / ".out.sections").iterdir():
            path.write_bytes(path.read_bytes()[:100])
    for name in ("out.wav", "fresh.wav"):
        restore_path(long_file, tmp_path / name, restorer(tiny_prior, **settings))
    found, expected = (soundfile.read(tmp_path / name)[0] for name in ("out.wav", "fresh.wav"))
    np.testing.assert_array_equal(found, expected)


def failing(monkeypatch, at: int, error: BaseException) -> list[int]:
    """The sections that are restored from now on, of which one fails."""
    done: list[int] = []
    real = sections_module.restore_batch

    def restore_batch(members, *rest):
        done.append(round(members[0].start_s))
        return [error] if len(done) == at else real(members, *rest)

    monkeypatch.setattr(sections_module, "restore_batch", restore_batch)
    return done


def test_a_section_that_fails_leaves_the_others(tiny_prior, long_file, tmp_path, monkeypatch):
    done = failing(monkeypatch, 3, AudioError("Too long."))
    [report] = restore_path(long_file, tmp_path / "out.wav", restorer(tiny_prior))
    assert report.status == "failed"
    assert "Too long. It is the section from 15 to 24 s." in report.message
    [report] = restore_path(long_file, tmp_path / "out.wav", restorer(tiny_prior))
    assert (report.status, done) == ("restored", [0, 7, 15, 15])
    assert files_in(tmp_path) == ["long.wav", "out.wav"]


def test_sections_make_room_for_the_result_of_a_full_disk(tiny_prior, long_file, tmp_path, monkeypatch):
    folder, real = tmp_path / ".out.sections", Restoration.saving

    def saving(self, *rest):
        if folder.exists():
            raise AudioError("The disk is full.") from OSError(errno.ENOSPC, "No space left on device")
        return real(self, *rest)

    monkeypatch.setattr(Restoration, "saving", saving)
    [report] = restore_path(long_file, tmp_path / "out.wav", restorer(tiny_prior))
    assert report.status == "restored"
    assert files_in(tmp_path) == ["long.wav", "out.wav"]


def test_what_is_not_ours_stays_in_a_folder_of_sections(tiny_prior, long_file, tmp_path):
    folder = tmp_path / ".out.sections"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    (folder / f"{'a' * 40}.safetensors").write_bytes(b"of an earlier run")
    restore_path(long_file, tmp_path / "out.wav", restorer(tiny_prior))
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_sections_of_a_result_that_is_there_are_taken_away(tiny_prior, long_file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        restore_path(long_file, tmp_path / "out.wav", restorer(tiny_prior), on_progress=Stop(0.7))
    write_audio(tmp_path / "out.wav", torch.zeros(1, 1600), RATE_HZ)
    restore_path(long_file, tmp_path / "out.wav", restorer(tiny_prior))
    assert files_in(tmp_path) == ["long.wav", "out.wav"]


def test_a_kept_section_is_found_whatever_the_last_digits_on_the_way(tiny_prior, make_speech, tmp_path):
    """Sums of floating-point numbers depend on the number of threads."""
    [one, *_] = posed(torch.from_numpy(make_speech(12.0)), RATE_HZ, 10.0, tiny_prior)
    kept = KeptSections(tmp_path, "made from", STFT())
    kept.save(one, Restoration(one.wave, RATE_HZ, 7, 1.5))
    found = kept.load(replace(one, y=one.y * (1 + 1e-7), scale=one.scale * (1 + 1e-7)))
    torch.testing.assert_close(found.wave, one.wave, rtol=0, atol=0)
    assert (found.rate_hz, found.n_calls, found.seconds) == (RATE_HZ, 7, 1.5)
    assert KeptSections(tmp_path, "other", STFT()).load(one) is None


def test_a_folder_that_cannot_be_there_keeps_nothing(tiny_prior, make_speech, tmp_path):
    [one, *_] = posed(torch.from_numpy(make_speech(12.0)), RATE_HZ, 10.0, tiny_prior)
    kept = KeptSections(tmp_path / ("a" * 300), "made from", STFT())
    kept.save(one, Restoration(one.wave, RATE_HZ, 7, 1.5))
    assert kept.load(one) is None


def test_a_folder_of_long_files_keeps_each_by_itself(tiny_prior, tmp_path, make_speech):
    for seed, name in enumerate(("a.wav", "a.flac")):
        write_audio(tmp_path / "in" / name, torch.from_numpy(make_speech(12.0, seed=seed)), RATE_HZ)
    with pytest.raises(KeyboardInterrupt):
        restore_path(tmp_path / "in", tmp_path / "out", restorer(tiny_prior), on_progress=Stop(1.6))
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == [".a.wav.sections"]
    reports = restore_path(tmp_path / "in", tmp_path / "out", restorer(tiny_prior))
    assert {report.status for report in reports} == {"skipped", "restored"}
    assert files_in(tmp_path / "out") == ["a.flac", "a.wav"]


def test_the_command_line_has_the_default():
    assert DEFAULT_SECTION_S == SECTION_S


def test_the_command_line_takes_a_length(tiny_prior_folder, long_file, tmp_path):
    common = ["restore", str(long_file), "--prior", str(tiny_prior_folder), "--preset", "fast", "--physics"]
    for section_s, n_sections in (("10", 3), ("0", 0), ("120", 0)):
        out = tmp_path / f"{section_s}.wav"
        assert main([*common[:2], str(out), *common[2:], "--section_s", section_s]) == 0
        assert len(json.loads(out.with_suffix(".json").read_text()).get("sections", ())) == n_sections
