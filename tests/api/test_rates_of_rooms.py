"""Rooms, and talkers in them, with priors of other rates."""

from __future__ import annotations

import pytest
import torch

from diffsr import Restorer
from diffsr.diffusion import Prior
from diffsr.networks import TFTransformer


@pytest.mark.parametrize("rate_hz", [8000, 24000])
@pytest.mark.parametrize("task", ["dereverb", "denoise_dereverb", "joint"])
def test_room_and_noise_have_the_same_frames(task, rate_hz, make_speech):
    torch.manual_seed(0)
    network = TFTransformer(width=16, depth=1, heads=2)
    prior = Prior(network, rate_hz=rate_hz, window_s=0.5).eval().requires_grad_(False)
    speech = torch.from_numpy(make_speech(rate_hz=rate_hz))
    restorer = Restorer(prior, task=task, preset="fast")
    for sampler in (restorer.recipe.sampler, getattr(restorer.recipe.each_talker, "sampler", None)):
        if sampler is not None:
            sampler.sigmas = sampler.sigmas[[0, 20, -2, -1]]  # three levels say whether shapes fit
    done = restorer.restore(speech, rate_hz)
    assert done.wave.isfinite().all()
    assert done.wave.shape[-1] == speech.shape[-1]
