"""Speech that is nowhere louder than its recording."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffsr import Restorer
from diffsr.errors import ConfigError
from diffsr.recipes import make_recipe
from diffsr.samplers import PowerCeiling

RATE_HZ = 16_000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def level_db(wave: torch.Tensor) -> float:
    return float(10 * wave.square().mean().log10())


def test_the_recording_itself_stays_as_it_is():
    recording = noise(2, 1, RATE_HZ)
    torch.testing.assert_close(PowerCeiling()(recording, recording), recording, rtol=1e-4, atol=1e-4)


def test_what_is_weaker_stays_as_it_is():
    recording, speech = noise(1, RATE_HZ), 0.1 * noise(1, RATE_HZ, seed=1)
    torch.testing.assert_close(PowerCeiling()(speech, recording), speech, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gain", [1e-4, 1.0, 1e4])
def test_a_pause_that_is_louder_becomes_as_loud_as_the_recording(gain):
    recording = torch.cat([noise(RATE_HZ), 1e-3 * noise(RATE_HZ, seed=1)])
    hiss = 1e-2 * noise(RATE_HZ, seed=2)
    speech = torch.cat([recording[:RATE_HZ], hiss])
    held = PowerCeiling()(gain * speech[None], gain * recording[None])[0] / gain
    pause, talk = slice(RATE_HZ + 2000, None), slice(0, RATE_HZ - 2000)
    assert level_db(speech[pause]) > level_db(recording[pause]) + 19
    assert level_db(held[pause]) < level_db(recording[pause]) + 0.5
    torch.testing.assert_close(held[talk], speech[talk], rtol=1e-3, atol=1e-3)


def test_it_is_held_where_it_is_louder_and_nowhere_else():
    """A whistle in a band where the recording has nothing goes, what lies in another band stays."""
    time = torch.arange(RATE_HZ) / RATE_HZ
    low, high = (torch.sin(2 * torch.pi * hz * time) for hz in (500, 4000))
    held = PowerCeiling()((low + high)[None], low[None])[0]
    torch.testing.assert_close(held[1000:-1000], low[1000:-1000], rtol=0.02, atol=0.02)


def test_digital_silence_stays_silent():
    recording = torch.cat([noise(RATE_HZ), torch.zeros(RATE_HZ)])
    held = PowerCeiling()(noise(2 * RATE_HZ, seed=1)[None], recording[None])[0]
    assert torch.isfinite(held).all()
    assert held[RATE_HZ + 2000 :].abs().max() < 1e-6


@pytest.mark.parametrize("margin_db", [0.0, 6.0])
def test_a_margin_is_how_much_louder_it_may_be(margin_db):
    recording = noise(2 * RATE_HZ)
    loud = PowerCeiling(margin_db)(4 * noise(2 * RATE_HZ, seed=1)[None], recording[None])[0]
    assert float(level_db(loud) - level_db(recording)) == pytest.approx(margin_db, abs=1)
    louder = 10 ** (0.9 * margin_db / 20) * recording
    torch.testing.assert_close(PowerCeiling(margin_db)(louder[None], recording[None])[0], louder)


def test_a_margin_below_nothing_is_refused():
    with pytest.raises(ConfigError, match="margin_db = -1"):
        PowerCeiling(-1.0)


def test_every_task_for_one_talker_that_is_heard_has_one():
    ceilings = {task: make_recipe(task).ceiling for task in ("enhance", "dereverb", "denoise_dereverb")}
    margins_db = {task: ceiling.margin_db for task, ceiling in ceilings.items()}
    assert margins_db == {"enhance": 0.0, "dereverb": 6.0, "denoise_dereverb": 6.0}
    assert make_recipe("separate").ceiling is None


@pytest.mark.parametrize("n_samples", [1, 2])
def test_a_clean_recording_is_restored_without_hiss(n_samples):
    """What is made of the samples is held down, with a joiner and without; the samples stay."""
    time = torch.arange(RATE_HZ) / RATE_HZ
    syllable = torch.sin(2 * torch.pi * 200 * time) * (torch.sin(2 * torch.pi * 4 * time) > 0)
    recording = torch.cat([0.2 * syllable, torch.zeros(RATE_HZ)])
    recording = recording + 1e-6 * noise(2 * RATE_HZ)
    recipe = make_recipe("enhance", "fast")
    recipe = replace(recipe, n_samples=n_samples, joiner=recipe.joiner if n_samples > 1 else None)
    made = {}
    for ceiling in (None, PowerCeiling()):
        restored = Restorer(recipe=replace(recipe, ceiling=ceiling), device="cpu").restore(
            recording[None], RATE_HZ
        )
        made[ceiling is None] = torch.as_tensor(restored.wave)[0, RATE_HZ + 4000 :]
    assert level_db(made[False]) < level_db(made[True]) - 10
    assert level_db(made[False]) < level_db(recording[RATE_HZ + 4000 :]) + 1
