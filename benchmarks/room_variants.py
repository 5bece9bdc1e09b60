"""The variants of dereverberation that tune_rooms.py compares: the recipes, and each setting around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from diffsr.degradations import Degradation, LatePrediction
from diffsr.diffusion.schedule import rho_schedule
from diffsr.likelihoods import DriftingNoise, LateReverberation, Likelihood, NMFNoise, WhiteNoise
from diffsr.recipe_file import load_recipe
from diffsr.recipes import Recipe, denoise_dereverb, dereverb, informed_dereverb, make_recipe
from diffsr.samplers import (
    FromObservation,
    FromWPE,
    NoisePerturbed,
    UpdateLateReverberation,
    UpdateNoise,
    UpdatePrediction,
)
from diffsr.samplers.estimation import Estimator

BUDDY = Path(__file__).parents[1] / "experiments" / "dereverb" / "buddy.yaml"
Make = Callable[[Tensor], Recipe]
"""From the true responses of the rows, `[B, 1, 1, L]`, which the informed variant alone looks at."""


def changed(
    make: Callable[[int], Recipe],
    n_calls: int,
    *estimators: Estimator,
    noise: Likelihood | None = None,
    late: Mapping[str, Any] | None = None,
    degradation: Degradation | None = None,
    sigmas: tuple[float, float] | None = None,
    **of_sampler: object,
) -> Recipe:
    """A recipe with other parts; each estimator takes the place of its kind."""
    recipe = make(n_calls)
    given = {type(one): one for one in estimators}
    sampler, likelihood = recipe.sampler, recipe.likelihood
    sampler.estimators = [given.get(type(one), one) for one in sampler.estimators]
    for name, value in of_sampler.items():
        setattr(sampler, name, value)
    if sigmas is not None:
        sigma_max, rho = sigmas
        sampler.sigmas = rho_schedule(sigma_max, 1e-4, len(sampler.sigmas) - 1, rho)
    if isinstance(likelihood, LateReverberation):
        likelihood = LateReverberation(noise or likelihood.noise, **(late or {}))
    return replace(recipe, likelihood=likelihood, degradation=degradation or recipe.degradation)


def near(n: int) -> dict[str, Callable[[], Recipe]]:
    """Each setting of dereverberation below and above its default."""
    of = partial(changed, dereverb, n)
    found = {
        "weight 1.5": lambda: of(guidance=NoisePerturbed(1.5)),
        "weight 2": lambda: of(guidance=NoisePerturbed(2.0)),
        "churn 1": lambda: of(churn=1.0),
        "churn 3": lambda: of(churn=3.0),
        "sigma .2": lambda: of(sigmas=(0.2, 7.0)),
        "sigma 1": lambda: of(sigmas=(1.0, 7.0)),
        "rho 5": lambda: of(sigmas=(0.5, 5.0)),
        "rho 10": lambda: of(sigmas=(0.5, 10.0)),
        "level 3e-4": lambda: of(noise=WhiteNoise(3e-4)),
        "level 3e-3": lambda: of(noise=WhiteNoise(3e-3)),
        "initial .03": lambda: of(late={"initial": 0.03}),
        "initial .3": lambda: of(late={"initial": 0.3}),
        "late updates 1": lambda: of(late={"n_updates": 1}),
        "late updates 10": lambda: of(late={"n_updates": 10}),
        "late from frame 1": lambda: of(late={"delay": 1}),
        "late from frame 3": lambda: of(late={"delay": 3}),
        "start .03": lambda: of(UpdateLateReverberation(0.03)),
        "start .08": lambda: of(UpdateLateReverberation(0.08)),
        "taps 20": lambda: of(degradation=LatePrediction(20)),
        "taps 60": lambda: of(degradation=LatePrediction(60)),
        "delay 1": lambda: of(degradation=LatePrediction(delay=1)),
        "delay 3": lambda: of(degradation=LatePrediction(delay=3)),
        "no response": lambda: of(degradation=LatePrediction(response_taps=0)),
        "response 20": lambda: of(degradation=LatePrediction(response_taps=20)),
        "every level": lambda: of(UpdatePrediction(every=1)),
        "prediction to .002": lambda: of(UpdatePrediction(sigma_freeze=0.002)),
        "prediction to .03": lambda: of(UpdatePrediction(sigma_freeze=0.03)),
        "no prediction": lambda: of(UpdatePrediction(0.0)),
        "from y": lambda: of(initialiser=FromObservation()),
        "from long wpe": lambda: of(initialiser=FromWPE()),
    }
    return {f"near: {name}": make for name, make in found.items()}


def noisy(n: int) -> dict[str, Callable[[], Recipe]]:
    """Rooms with noise: its model, and the levels at which it and the late reverberation are updated."""
    of = partial(changed, denoise_dereverb, n)
    found = {
        "default": lambda: make_recipe("denoise_dereverb", "default"),
        "fast": lambda: make_recipe("denoise_dereverb", "fast"),
        "enhance": lambda: make_recipe("enhance", "default"),
        "dereverb": lambda: make_recipe("dereverb", "default"),
        "nmf": lambda: of(UpdateNoise(0.05, n_updates=2), noise=NMFNoise()),
        "floor": lambda: of(UpdateNoise(0.0)),
        "drift .05": lambda: of(UpdateNoise(0.05, n_updates=2)),
        "drift .2": lambda: of(UpdateNoise(0.2, n_updates=2)),
        "drift .5": lambda: of(UpdateNoise(0.5, n_updates=2)),
        "weight 1": lambda: of(guidance=NoisePerturbed(1.0)),
        "weight 2": lambda: of(guidance=NoisePerturbed(2.0)),
        "long": lambda: of(noise=DriftingNoise(401)),
        "start .02": lambda: of(UpdateLateReverberation(0.02)),
        "start .1": lambda: of(UpdateLateReverberation(0.1)),
        "no prediction": lambda: of(UpdatePrediction(0.0)),
        "no response": lambda: of(degradation=LatePrediction(response_taps=0)),
        "delay 1": lambda: of(degradation=LatePrediction(delay=1)),
        "late from frame 1": lambda: of(late={"delay": 1}),
    }
    return {f"noisy: {name}": make for name, make in found.items()}


def variants(n: int) -> dict[str, Make]:
    """Name -> recipe; those with a colon, and the informed one, have n calls."""
    blind = {
        "default": lambda: make_recipe("dereverb", "default"),
        "fast": lambda: make_recipe("dereverb", "fast"),
        "buddy": lambda: load_recipe(BUDDY),
        **near(n),
        **noisy(n),
    }
    return {**{name: _ignoring(make) for name, make in blind.items()}, "informed": partial(_informed, n)}


def _ignoring(make: Callable[[], Recipe]) -> Make:
    return lambda _: make()


def _informed(n: int, responses: Tensor) -> Recipe:
    return informed_dereverb(responses, n)
