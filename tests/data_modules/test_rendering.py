"""Rendering against a sample-by-sample reference, and the independence of rows."""

import math

import numpy as np
import pytest
import torch

from data_modules.crops import CropMaker, TrainCrops
from data_modules.planner import Augmentation
from data_modules.plans import UNCHANGED, Passage, Piece, Plan

RATE_HZ, LEVEL = 16000, 0.05
NONE = Passage([])


@pytest.fixture
def corpus(noise_corpus):
    """Three talkers of six utterances each and three utterances without a label."""
    lengths = [*(400 + 731 * index for index in range(18)), 900, 5000, 20000]
    return noise_corpus(lengths, [index % 3 for index in range(18)] + [-1] * 3)


def by_hand(corpus, passage, n_samples):
    """The same waveform, piece by piece."""
    wave = np.zeros(n_samples)
    for utterance, first, stop, position in passage.pieces:
        speech = corpus.speech(utterance).double().numpy()[first:stop].copy()
        size = min(round(0.005 * RATE_HZ), len(speech) // 2) if passage.fade else 0
        if size > 1:
            ramp = np.sin(math.pi / 2 * np.arange(size) / (size - 1)) ** 2
            speech[:size] *= ramp
            speech[len(speech) - size :] *= ramp[::-1]
        for index, value in enumerate(speech):
            if 0 <= position + index < n_samples:
                wave[position + index] += value * passage.gain * LEVEL
    return wave


PASSAGES = {
    "silence": NONE,
    "inside of a long one": Passage([Piece(20, 0, 20000, -7000)]),
    "its end": Passage([Piece(20, 0, 20000, -18000)]),
    "the end of the corpus": Passage([Piece(20, 12000, 20000, 0)], gain=-0.5),
    "joined": Passage([Piece(3, 0, 2593, -1000), Piece(0, 0, 400, 2000), Piece(6, 0, 4786, 2500)], True, 2.0),
    "begins and ends at the edges": Passage([Piece(18, 0, 900, 0), Piece(19, 0, 3100, 900)], True),
    "cut in a fade": Passage([Piece(18, 0, 900, -860), Piece(19, 0, 5000, 3960)], True),
    "far before": Passage([Piece(1, 0, 1131, -5000), Piece(4, 0, 3324, 100)], True),
    "shorter than two fades": Passage([Piece(18, 100, 201, 17), Piece(18, 300, 301, 500)], True),
}


@pytest.mark.parametrize("name", PASSAGES)
def test_a_waveform_is_what_its_plan_says(corpus, name):
    maker = CropMaker(corpus, RATE_HZ, 4000, LEVEL)
    wave = maker.crop(Plan(0, UNCHANGED, PASSAGES[name], NONE))["wave"]
    assert wave.dtype == torch.float32
    np.testing.assert_allclose(wave.numpy(), by_hand(corpus, PASSAGES[name], 4000), atol=1e-6)


def test_random_crops_are_what_their_plans_say(corpus):
    maker = CropMaker(corpus, RATE_HZ, 8000, LEVEL, n_reference=3000)
    crops = TrainCrops(maker, 40, Augmentation(speed_share=0.0, equaliser_db=0.0), seed=1)
    plans = [crops[0, number] for number in range(40)]
    batch = maker.render(maker.collate(plans))
    for row, plan in enumerate(plans):
        np.testing.assert_allclose(batch["wave"][row].numpy(), by_hand(corpus, plan.crop, 8000), atol=1e-6)
        expected = by_hand(corpus, plan.reference, 3000)
        np.testing.assert_allclose(batch["reference"][row].numpy(), expected, atol=1e-6)
        assert int(batch["speaker"][row]) == plan.speaker


@pytest.mark.parametrize("batch_size", [7, 32])
def test_a_crop_is_the_same_in_every_batch(corpus, batch_size):
    maker = CropMaker(corpus, RATE_HZ, 6000, LEVEL, n_reference=3000)
    crops = TrainCrops(maker, 64, Augmentation(), seed=2)
    plans = [crops[3, number] for number in range(batch_size)]
    assert len({plan.speed for plan in plans}) > 1
    batch = maker.render(maker.collate(plans))
    for row, plan in enumerate(plans):
        for name, values in maker.crop(plan).items():
            assert torch.equal(batch[name][row], values)


def test_a_changed_crop_continues_its_neighbours(corpus):
    """Nothing of the margins is heard: crops of one tone agree where they overlap."""
    maker = CropMaker(corpus, RATE_HZ, 4000, LEVEL)
    tilt = np.array([2.0, -0.5, 0.5])
    for speed in (0, 4):
        step = (9 * 80, 10 * 80)[speed == 4]  # 800 samples of the crop at 9/10, 720 at 10/9
        early, late = (
            maker.crop(Plan(0, speed, Passage([Piece(20, 0, 20000, -at)], tilt=tilt), NONE))["wave"]
            for at in (5000, 5000 + step)
        )
        shift = 800 if speed == 0 else 720
        middle = slice(0, 4000 - shift)
        error = early[shift:] - late[middle]
        assert error.square().mean().sqrt() < 0.003 * late.square().mean().sqrt()


def test_the_corpus_moves_to_a_device_once(corpus, monkeypatch):
    maker = CropMaker(corpus, RATE_HZ, 4000, LEVEL)
    plans = maker.collate([TrainCrops(maker, 1, Augmentation(), 0)[0]])
    moved = []
    to = torch.Tensor.to

    def counting(self, *args, **options):
        moved.append(self.numel())
        return to(self, *args, **options)

    monkeypatch.setattr(torch.Tensor, "to", counting)
    batches = [maker.render(plans.to("meta")) for _ in range(3)]
    assert {batch["wave"].device.type for batch in batches} == {"meta"}
    assert moved.count(len(corpus.samples)) == 1
