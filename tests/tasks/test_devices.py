"""What the devices of a training share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from diffsr.tasks.devices import means_over_devices, step_seed


def device(gathered=None):
    """A module of one device, or of two of which the other one has `gathered`."""
    return SimpleNamespace(
        device=torch.device("cpu"),
        all_gather=lambda here: here if gathered is None else torch.stack([here, torch.tensor(gathered)]),
    )


def test_a_mean_is_over_the_items_that_have_a_score():
    scores = {
        "all": torch.tensor([1.0, 2.0, 6.0]),
        "some": torch.tensor([torch.nan, 4.0, 5.0]),
        "none": torch.tensor([torch.nan]),
        "empty": torch.empty(0),
    }
    found = means_over_devices(device(), scores)
    assert {name: float(mean) for name, mean in found.items()} == {"all": 3.0, "some": 4.5}
    assert means_over_devices(device(), {}) == {}


def test_a_device_without_items_takes_the_mean_of_the_other():
    other = [[6.0, 3.0], [0.0, 0.0]]  # sum and number of each score there
    found = means_over_devices(device(other), {"here not": torch.empty(0), "nowhere": torch.empty(0)})
    assert {name: float(mean) for name, mean in found.items()} == {"here not": 2.0}
    found = means_over_devices(device(other), {"both": torch.tensor([10.0]), "here": torch.tensor([1.0])})
    assert {name: float(mean) for name, mean in found.items()} == {"both": 4.0, "here": 1.0}


@pytest.mark.parametrize("seed", [0, 20261128, 2**63 - 1])
def test_seeds_differ_between_steps_batches_and_devices_and_suit_a_generator(seed):
    def of(rank, step, batch):
        trainer = SimpleNamespace(accumulate_grad_batches=2)
        return step_seed(SimpleNamespace(trainer=trainer, global_rank=rank), seed, step, batch)

    seeds = [of(rank, step, batch) for rank in range(3) for step in range(5) for batch in range(2)]
    assert len(set(seeds)) == len(seeds)
    for one in seeds:
        torch.Generator().manual_seed(one)
