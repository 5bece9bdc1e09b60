"""Details that one wrong sign, factor or frame would change, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from diffsr.io.manifest import Utterance
from diffsr.signal.levels import rms
from diffsr.simulation.draw import SceneMaker, SceneSettings
from diffsr.simulation.image_source import _images
from diffsr.simulation.noise import CROSS_FADE_S, excerpt
from diffsr.simulation.scene import _faded

RATE_HZ = 16000


# Noise -----------------------------------------------------------------------------------------------


def test_an_excerpt_up_to_the_last_sample_is_the_recording():
    recording = torch.arange(20.0).reshape(1, 20)
    assert excerpt(recording, 10, 10, 4).tolist() == [list(range(10, 20))]


# Rooms -----------------------------------------------------------------------------------------------


def test_no_image_within_reach_is_missing():
    size, source, microphone, reach, order = (3.0, 4.0, 2.5), (1.0, 1.5, 0.4), (2.9, 0.2, 2.4), 11.0, 40
    found, _ = _images(size, source, microphone, order, reach)
    cells = np.arange(-8, 9)
    axes = [
        (cells * length + np.where(cells % 2 == 1, length - s, s) - m) ** 2
        for length, s, m in zip(size, source, microphone, strict=True)
    ]
    squares = axes[0][:, None, None] + axes[1][:, None] + axes[2]
    expected = np.sqrt(squares[squares < reach**2])
    np.testing.assert_allclose(np.sort(found), np.sort(expected))


# Scenes ----------------------------------------------------------------------------------------------


def test_both_ends_are_faded_towards_the_outside():
    ones = torch.ones(1000)
    both = _faded(ones, True, True, RATE_HZ)
    torch.testing.assert_close(both, both.flip(0))
    assert both[0] == both[-1] == 0
    assert torch.equal(both[80:-80], ones[80:-80])
    assert torch.equal(_faded(ones, False, False, RATE_HZ), ones)


def test_a_talker_up_to_the_end_of_the_scene_is_not_faded(corpora):
    [talker] = (scene := SceneMaker(SceneSettings(n_talkers=1), corpora.speech).scene(0)).plan.talkers
    wave, _ = soundfile.read(talker.path, dtype="float32")
    given = torch.from_numpy(wave)[: scene.plan.n_samples]
    ratio = float((scene.dry[0] * given).sum() / given.square().sum())
    torch.testing.assert_close(scene.dry[0], ratio * given, atol=1e-5, rtol=1e-3)


def test_the_peak_guard_looks_at_every_part(corpora, rooms, monkeypatch):
    """A direct path that a reflection takes away again is louder than all that is heard."""

    def responses(room, rate_hz):
        found = type(rooms).responses(rooms, room, rate_hz)
        found.direct[:, 1] *= 3.0
        found.full[..., :300] = found.direct - found.direct.roll(1, -1)
        found.full[..., 300:] = 0.0
        return found

    monkeypatch.setattr(rooms, "responses", responses)
    settings = SceneSettings(n_talkers=1, n_microphones=2, level=0.2)
    scene = SceneMaker(settings, corpora.speech, None, rooms).scene(0)
    assert float(scene.observation.abs().max()) < 0.9
    assert float(scene.direct.abs().max()) == pytest.approx(0.95, abs=1e-5)


def test_microphones_of_a_diffuse_field_are_equally_loud(corpora, tmp_path):
    level = np.where(np.arange(40_000) < 20_000, 0.01, 0.1)
    rng = np.random.default_rng(8)
    soundfile.write(tmp_path / "n.wav", level * rng.standard_normal(40_000), 16000, subtype="FLOAT")
    settings = SceneSettings(n_talkers=1, n_microphones=2, crop_s=1.0)
    maker = SceneMaker(settings, corpora.speech, [Utterance("n", tmp_path / "n.wav")])
    for index in range(6):
        one, other = rms(maker.scene(index).noise).tolist()
        assert other == pytest.approx(one, rel=0.25)


# Draws -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length_s", [2.0, 4.0])
def test_a_loop_starts_before_its_join(length_s):
    speech = [
        Utterance(f"t{t}", f"/nowhere/t{t}.wav", f"t{t}", rate_hz=16000, n_samples=128_000) for t in range(4)
    ]
    noise = [Utterance("n", "n.wav", duration_s=length_s)]
    maker = SceneMaker(SceneSettings(n_microphones=3, crop_s=4.5), speech, noise)
    starts_s = [start_s for index in range(100) for start_s in maker.draw(index).noise.start_s]
    assert max(starts_s) < length_s - 2 * CROSS_FADE_S
