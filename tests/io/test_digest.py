"""What an object is made of, as one number."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from diffsr.io.digest import digest_of
from diffsr.recipes import make_recipe

OF_A_RECIPE = (
    "from diffsr.io.digest import digest_of; from diffsr.recipes import make_recipe; print(digest_of({}))"
)


def test_it_is_the_same_in_every_process():
    """Strings have other hashes in each, so that sets are in another order."""
    command = OF_A_RECIPE.format('make_recipe("denoise_dereverb"), {"a", "b", "c", "d"}')
    found = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", command], env=env, capture_output=True, check=True)
        found.add(run.stdout.strip())
    assert len(found) == 1


def test_a_recipe_and_its_twin_are_the_same():
    assert digest_of(make_recipe("joint")) == digest_of(make_recipe("joint"))


def test_every_setting_and_every_weight_counts():
    one, other, third = (make_recipe("enhance") for _ in range(3))
    other.sampler.guidance.weight += 1e-6
    third.likelihood.stft.window[3] += 1e-6
    found = {digest_of(recipe) for recipe in (one, other, third, make_recipe("enhance", "fast"))}
    assert len(found) == 4


def test_many_short_lived_values_are_told_apart():
    """Objects that are gone leave their addresses to others."""
    values = [{str(number): [number, {"x": number}]} for number in range(200)]
    assert len({digest_of(value) for value in values}) == 200
    assert digest_of(*values) != digest_of(*values[:-1], values[0])


def test_tensors_count_by_type_shape_and_content():
    zeros = torch.zeros(4)
    same = {digest_of(zeros), digest_of(zeros.reshape(2, 2).T.contiguous().reshape(4))}
    others = {
        digest_of(zeros.reshape(2, 2)),
        digest_of(zeros.double()),
        digest_of(-zeros),
        digest_of([0.0] * 4),
    }
    assert len(same) == 1
    assert len(same | others) == 5


def f() -> None:
    pass


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([[1], [2]], [[1, [2]]]),
        ({"x": {"a": 1}, "y": 2}, {"x": {"a": 1, "y": 2}}),
        (partial(f, 1), partial(f, 2)),
        (partial(f, 1), f),
        (f, make_recipe),
        (np.arange(5000), np.arange(5000)[::-1]),
        ("1", 1),
        (1, 1.0),
        (None, "None"),
        ((1,), [1]),
        ([1, 23], [12, 3]),
    ],
)
def test_what_is_not_the_same_has_another(one, other):
    assert digest_of(one) != digest_of(other)


def test_which_part_comes_twice_counts():
    a, b = [1], [1]
    assert digest_of([a, b, a]) != digest_of([a, b, b])


def test_what_holds_itself_comes_to_an_end():
    loop: list[object] = [1]
    loop.append(loop)
    assert digest_of(loop) != digest_of([1])
