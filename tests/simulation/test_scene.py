"""Rendered scenes: levels, alignment, purity, and files that cannot be used."""

from __future__ import annotations

import math
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

import diffsr.simulation.scene as scene_module
from diffsr.errors import AudioError, DataError
from diffsr.io.manifest import Utterance
from diffsr.signal.levels import active_rms, db, rms
from diffsr.simulation.draw import SceneMaker, SceneSettings
from diffsr.simulation.levels import snr_db
from diffsr.simulation.scene import Scene, render

PARTS = ("observation", "dry", "direct", "reverberant", "noise")


def parts(scene: Scene) -> list[torch.Tensor]:
    return [getattr(scene, name) for name in PARTS]


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("snr_by", ["loudness", "rms"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_levels_are_what_the_plan_says(corpora, rooms, rate_hz, snr_by, mode):
    settings = SceneSettings(rate_hz=rate_hz, snr_by=snr_by, mode=mode, n_microphones=2)
    maker = SceneMaker(settings, corpora.speech, corpora.noise, rooms)
    for index in range(6):
        scene = maker.scene(index)
        assert scene.plan.noise is not None
        found_db = snr_db(scene.dry[0], scene.noise[0], rate_hz, snr_by)
        assert found_db == pytest.approx(scene.plan.noise.snr_db, abs=0.01)
        for talker, dry, direct in zip(scene.plan.talkers, scene.dry, scene.direct, strict=True):
            start = round(talker.offset_s * rate_hz)
            spoken = dry[start : start + round(talker.duration_s * rate_hz)]
            level_db = float(db(active_rms(spoken, rate_hz) / (0.05 * scene.gain)))
            assert level_db == pytest.approx(talker.gain_db, abs=0.01)
            assert float(db(rms(direct[0]) / rms(dry))) == pytest.approx(0.0, abs=0.01)
        assert torch.equal(scene.observation, scene.reverberant.sum(0) + scene.noise)


def test_the_parts_have_their_shapes_and_the_direct_path_lies_on_the_dry_talker(corpora, rooms):
    scene = SceneMaker(SceneSettings(n_talkers=3, n_microphones=2), corpora.speech, None, rooms).scene(0)
    n = scene.plan.n_samples
    shapes = [tuple(part.shape) for part in parts(scene)]
    assert shapes == [(2, n), (3, n), (3, 2, n), (3, 2, n), (2, n)]
    assert not scene.noise.any()
    torch.testing.assert_close(scene.direct[:, 0], scene.dry, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scene.direct[:, 1, 1:], scene.dry[:, :-1], rtol=2e-2, atol=1e-4)


def test_reverberation_is_the_response_applied_to_the_dry_talker(corpora, rooms):
    scene = SceneMaker(SceneSettings(), corpora.speech, corpora.noise, rooms).scene(1)
    assert scene.responses is not None
    for k, dry in enumerate(scene.dry):
        onset, gain = scene.responses.onset_samples[k], scene.room_gains[k]
        full = np.convolve(dry.double().numpy(), scene.responses.full[k, 0].double().numpy())
        expected = gain * full[onset : onset + scene.plan.n_samples]
        np.testing.assert_allclose(scene.reverberant[k, 0].numpy(), expected, atol=2e-6)


def test_without_a_room_every_microphone_hears_the_dry_talkers(corpora):
    scene = SceneMaker(SceneSettings(n_microphones=2), corpora.speech).scene(0)
    assert torch.equal(scene.observation[0], scene.dry.sum(0))
    assert torch.equal(scene.observation[0], scene.observation[1])
    assert scene.responses is None


def test_the_peak_guard_scales_all_parts_alike(corpora, rooms):
    quiet = SceneMaker(SceneSettings(level=0.02), corpora.speech, corpora.noise, rooms).scene(2)
    loud = SceneMaker(SceneSettings(level=0.9), corpora.speech, corpora.noise, rooms).scene(2)
    assert quiet.gain == 1.0
    assert loud.gain < 1.0
    assert max(float(part.abs().max()) for part in parts(loud)) == pytest.approx(0.95, abs=1e-5)
    assert all(float(part.abs().max()) <= 0.95 for part in parts(loud))
    for one, other in zip(parts(quiet), parts(loud), strict=True):
        torch.testing.assert_close(other, one * (0.9 / 0.02 * loud.gain), rtol=1e-3, atol=1e-4)


def test_short_noise_is_looped_and_long_noise_is_not(corpora):
    settings = SceneSettings(n_talkers=1, crop_s=2.0)
    looped = SceneMaker(settings, corpora.speech, corpora.noise[1:]).scene(0)
    windows = looped.noise[0].unflatten(0, (8, -1)).square().mean(-1)
    assert float(windows.min() / windows.max()) > 0.6
    scene = SceneMaker(settings, corpora.speech, corpora.noise[:1]).scene(0)
    assert scene.plan.noise is not None
    whole, _ = soundfile.read(corpora.noise[0].path, dtype="float32")
    start = round(scene.plan.noise.start_s[0] * 16000)
    excerpt = torch.from_numpy(whole[start : start + 32000])
    cosine = torch.nn.functional.cosine_similarity(excerpt, scene.noise[0], dim=0)
    assert float(cosine) == pytest.approx(1.0, abs=1e-5)


def test_noise_as_long_as_the_scene_gives_a_diffuse_field(corpora, tmp_path):
    from scipy.signal import coherence

    rng = np.random.default_rng(8)
    soundfile.write(tmp_path / "n.wav", 0.05 * rng.standard_normal(32000), 16000, subtype="FLOAT")
    settings = SceneSettings(n_talkers=1, n_microphones=2, crop_s=2.0)
    scene = SceneMaker(settings, corpora.speech, [Utterance("n", tmp_path / "n.wav")]).scene(0)
    frequency_hz, found = coherence(*scene.noise.numpy(), 16000, nperseg=128)
    assert float(found[frequency_hz > 2000].mean()) < 0.05
    assert float(found[(frequency_hz > 100) & (frequency_hz < 400)].mean()) > 0.5


def test_a_recording_with_enough_channels_keeps_them(corpora, tmp_path):
    rng = np.random.default_rng(5)
    stereo = 0.05 * rng.standard_normal((64000, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    soundfile.write(tmp_path / "stereo.wav", stereo, 16000, subtype="FLOAT")
    noise = [Utterance("stereo", tmp_path / "stereo.wav")]
    scene = SceneMaker(SceneSettings(n_talkers=1, n_microphones=2), corpora.speech, noise).scene(0)
    assert scene.plan.noise is not None
    start = round(scene.plan.noise.start_s[0] * 16000)
    expected = torch.from_numpy(stereo[start : start + scene.plan.n_samples].T).float()
    ratio = (scene.noise * expected).sum() / expected.square().sum()
    torch.testing.assert_close(scene.noise, ratio * expected, rtol=1e-3, atol=1e-5)


def test_other_rates_are_converted(corpora, make_voice):
    high = corpora.add("high", make_voice(2.5, 130, 3, 44100), 44100, speaker="high")
    scene = SceneMaker(SceneSettings(n_talkers=1, rate_hz=8000), [high]).scene(0)
    assert scene.dry.shape == (1, 20000)
    spectrum = torch.fft.rfft(scene.dry[0]).abs()
    pitch_hz = float(spectrum[: 8000 // 8].argmax()) * 8000 / 20000
    assert pitch_hz == pytest.approx(130, abs=3)


def test_edges_inside_a_scene_do_not_click(corpora):
    scene = SceneMaker(SceneSettings(mode="max", n_talkers=1), corpora.speech, corpora.noise).scene(0)
    start = round(scene.plan.talkers[0].offset_s * 16000)
    assert start > 0
    assert not scene.dry[0, :start].any()
    assert float(scene.dry[0, start : start + 8].abs().max()) < 0.1 * float(scene.dry.abs().max())


def _digest(job: tuple[SceneMaker, int]) -> list[float]:
    maker, index = job
    return [float(part.double().abs().sum()) for part in parts(maker.scene(index))]


def test_scenes_do_not_depend_on_process_order_or_what_came_before(corpora, rooms):
    make = lambda: SceneMaker(SceneSettings(n_microphones=2), corpora.speech, corpora.noise, rooms, seed=4)  # noqa: E731
    maker = make()
    forward = [parts(maker.scene(index)) for index in range(3)]
    backward = [parts(make().scene(index)) for index in (2, 1, 0)][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    torch.rand(3), np.random.rand(3)  # noqa: NPY002
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_digest, [(make(), 1)]) == [_digest((maker, 1))]


def test_scenes_do_not_depend_on_the_number_of_threads(corpora, rooms):
    """Loaders render in processes of one thread, `num_workers=0` in one of many."""
    settings = SceneSettings(mode="max", n_microphones=2, snr_by="rms")
    maker = SceneMaker(settings, corpora.speech, corpora.noise, rooms)
    plans = [plan for plan in map(maker.draw, range(12)) if plan.n_samples > 2**16][:4]  # sums are split
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 4):
            torch.set_num_threads(n_threads)
            found.append([part for plan in plans for part in parts(render(plan, rooms))])
    finally:
        torch.set_num_threads(before)
    assert len(plans) == 4
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_noise_that_ends_a_little_before_its_header_says_is_looped(corpora, monkeypatch):
    """As decoders of lossy formats do; one that ends much earlier is an error of its own."""
    real = scene_module.read_part
    monkeypatch.setattr(scene_module, "read_part", lambda *known: real(*known)[:, :-100])
    scene = SceneMaker(SceneSettings(n_talkers=1), corpora.speech, corpora.noise[:1]).scene(0)
    assert scene.noise.shape == scene.observation.shape
    assert float(rms(scene.noise[:, -90:])) == pytest.approx(float(rms(scene.noise)), rel=0.3)


def test_a_plan_renders_the_scene_it_came_from(corpora, rooms):
    maker = SceneMaker(SceneSettings(), corpora.speech, corpora.noise, rooms)
    again = render(maker.draw(5), rooms)
    assert all(torch.equal(a, b) for a, b in zip(parts(maker.scene(5)), parts(again), strict=True))


def broken_files(folder):
    """A file of each kind that cannot be used, with a word of the message that says why."""
    lost = folder / "lost.wav"
    empty, text, silent, short = (folder / f"{name}.wav" for name in ("empty", "text", "silent", "short"))
    empty.touch()
    text.write_text("no audio")
    soundfile.write(silent, np.zeros(40000), 16000)
    soundfile.write(short, 0.1 * np.ones(8000), 16000)
    return {lost: "does not exist", empty: "empty", text: "not audio", silent: "silence", short: "ends"}


def test_bad_files_are_skipped_counted_and_told(corpora, tmp_path, caplog):
    bad = broken_files(tmp_path)
    rows = [Utterance(p.stem, p, f"bad {p.stem}", rate_hz=16000, n_samples=40000) for p in bad]
    maker = SceneMaker(SceneSettings(), [*corpora.speech, *rows], corpora.noise)
    scenes = [maker.scene(index) for index in range(40)]
    assert all(not t.speaker.startswith("bad") for s in scenes for t in s.plan.talkers if t.speaker)
    told = {text for scene in scenes for text in scene.plan.skipped}
    assert len(told) >= 5
    for path, why in bad.items():
        assert any(str(path) in text and why in text for text in told), (path, told)
    assert any(scene.plan.attempt > 0 for scene in scenes)
    assert caplog.text.count("does not exist") == 1, "each file is warned of once"
    clean = [s for s in scenes if s.plan.attempt == 0]
    assert clean[0].plan.skipped == ()


def test_silent_noise_is_skipped(corpora, tmp_path):
    soundfile.write(tmp_path / "z.wav", np.zeros(90000), 16000)
    noise = [corpora.noise[0], Utterance("z", tmp_path / "z.wav")]
    for microphones in (1, 2):
        maker = SceneMaker(SceneSettings(n_talkers=1, n_microphones=microphones), corpora.speech, noise)
        scenes = [maker.scene(index) for index in range(12)]
        assert {s.plan.noise.id for s in scenes if s.plan.noise} == {"noise/long"}
        assert any("z.wav" in text for s in scenes for text in s.plan.skipped)


def test_a_corpus_that_is_all_broken_is_given_up(corpora, tmp_path):
    row = Utterance("lost", tmp_path / "lost.wav", "a", rate_hz=16000, n_samples=40000)
    with pytest.raises(DataError, match=r"20 draws in a row .*lost\.wav does not exist.*diffsr prepare"):
        SceneMaker(SceneSettings(n_talkers=1), [row]).scene(0)


def test_a_plan_whose_file_has_too_low_a_rate_is_refused(corpora, make_voice):
    low = corpora.add("low", make_voice(2.0, 130, 3, 8000), 8000, speaker="low")
    plan = SceneMaker(SceneSettings(n_talkers=1), [replace(low, rate_hz=16000)]).draw(0)
    with pytest.raises(AudioError, match="has 8000 Hz, expected at least the 16000 Hz"):
        render(plan)


def test_a_room_needs_its_source(corpora, rooms):
    plan = SceneMaker(SceneSettings(), corpora.speech, None, rooms).draw(0)
    with pytest.raises(ValueError, match="source that drew it"):
        render(plan)


def test_nothing_is_not_a_number(corpora, rooms):
    scene = SceneMaker(SceneSettings(n_talkers=3, mode="max"), corpora.speech, corpora.noise, rooms).scene(9)
    assert all(bool(part.isfinite().all()) for part in parts(scene))
    assert all(math.isfinite(gain) for gain in (*scene.room_gains, scene.gain))
