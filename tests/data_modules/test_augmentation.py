"""How training crops are varied."""

import numpy as np
import pytest
import torch

from data_modules import CleanSpeech
from data_modules.crops import CropMaker, TrainCrops
from data_modules.planner import PAUSE_S, Augmentation
from data_modules.plans import UNCHANGED
from diffsr.signal.levels import active_rms, db
from diffsr.signal.shaping import SPEEDS

RATE_HZ = 16000
OFF = Augmentation(0.0, 0.0, 0.0, False)


@pytest.fixture
def noise(noise_corpus):
    return noise_corpus([30000, 20000, 3000, 2500, 2000], [0, 1, 2, 2, 2])


def dominant_hz(wave):
    return float(torch.fft.rfft(wave).abs().argmax()) * RATE_HZ / wave.shape[-1]


def plans(corpus, augmentation, n_crops=400, n_samples=8000, n_reference=0):
    maker = CropMaker(corpus, RATE_HZ, n_samples, 0.05, n_reference)
    crops = TrainCrops(maker, n_crops, augmentation, seed=5)
    return [crops[2, number] for number in range(n_crops)]


def test_polarity_turns_half_of_the_crops_over(noise):
    gains = np.array([plan.crop.gain for plan in plans(noise, Augmentation(0.0, polarity=True))])
    assert set(gains) == {-1.0, 1.0}
    assert 0.4 < (gains < 0).mean() < 0.6


def test_a_share_of_the_crops_has_another_speed(noise):
    speeds = np.array([plan.speed for plan in plans(noise, Augmentation(speed_share=0.4))])
    assert 0.33 < (speeds != UNCHANGED).mean() < 0.47
    counts = np.bincount(speeds, minlength=len(SPEEDS))
    assert (counts > 20).all()


def test_a_switch_changes_nothing_else(noise):
    reference = plans(noise, OFF, n_reference=4000)
    for augmentation in (
        Augmentation(6.0, 0, 0, False),
        Augmentation(0, 0, 3.0, False),
        Augmentation(0, 0, 0),
    ):
        for plan, other in zip(plans(noise, augmentation, n_reference=4000), reference, strict=True):
            assert plan.crop.pieces == other.crop.pieces
            assert plan.reference.pieces == other.reference.pieces
    gains = [
        [abs(plan.crop.gain) for plan in plans(noise, Augmentation(6.0, polarity=p))] for p in (True, False)
    ]
    assert gains[0] == gains[1]
    assert max(gains[0]) < 2.0


def test_equalisers_are_bounded_and_differ(noise):
    tilts = np.stack([plan.crop.tilt for plan in plans(noise, Augmentation(equaliser_db=3.0))])
    sizes = np.abs(tilts).sum(1)
    assert sizes.max() <= 3.0
    assert 1.5 < sizes.mean() < 2.5
    assert len(np.unique(tilts, axis=0)) == len(tilts)
    assert np.abs(tilts.mean(0)).max() < 0.2


def test_the_voice_changes_with_the_speed(memory_corpus):
    time_s = np.arange(40000) / RATE_HZ
    corpus = memory_corpus([20000 * np.sin(2 * np.pi * 500 * time_s)], [0])
    maker = CropMaker(corpus, RATE_HZ, 16000, 0.05)
    crops = TrainCrops(maker, 30, Augmentation(0.0, 0.8, 0.0, False), 0)
    for number in range(30):
        plan = crops[number]
        assert dominant_hz(maker.crop(plan)["wave"]) == pytest.approx(500 * SPEEDS[plan.speed], abs=1)


@pytest.mark.parametrize("n_samples", [65536, 131072])
def test_long_crops_are_filled_at_every_speed(noise_corpus, n_samples):
    """Of short utterances, up to dozens of them; pauses keep their length at the output."""
    corpus = noise_corpus([2000 + 300 * index for index in range(40)], [0] * 40)
    n_pieces = set()
    for plan in plans(corpus, Augmentation(), 30, n_samples):
        pieces, speed = plan.crop.pieces, SPEEDS[plan.speed]
        n_pieces.add(len(pieces))
        ends = [piece.position + piece.stop - piece.first for piece in pieces]
        gaps_s = np.array([b.position - end for b, end in zip(pieces[1:], ends[:-1], strict=True)])
        gaps_s = gaps_s / speed / RATE_HZ
        assert gaps_s.min() > PAUSE_S[0] - 1e-3
        assert gaps_s.max() < PAUSE_S[1] + 1e-3
        assert pieces[0].position <= 0
        assert ends[-1] + 0.6 * speed * RATE_HZ > n_samples * speed - 1
        assert len({piece.utterance for piece in pieces}) == len(pieces)
    assert max(n_pieces) > n_samples / 16000


def test_speech_stays_at_its_level(corpus):
    module = CleanSpeech(str(corpus), crop_s=0.5, crops_per_epoch=64, gain_db=0.0)
    module.setup("fit")
    waves = [module.on_after_batch_transfer(batch)["wave"] for batch in module.train_dataloader()]
    levels = db(active_rms(torch.cat(waves), RATE_HZ) / 0.05)
    assert levels.abs().max() < 3.5  # a tone takes all of the gain of the equaliser at its frequency
    assert levels.median().abs() < 1.0


def test_validation_is_not_varied(corpus):
    options = {"crop_s": 0.5, "n_valid_crops": 8}
    varied = CleanSpeech(str(corpus), **options).valid_crops()
    plain = CleanSpeech(str(corpus), speed_share=0, equaliser_db=0, polarity=False, **options).valid_crops()
    assert torch.equal(varied, plain)


def test_the_same_voice_at_the_pitch_of_its_label(corpus):
    """A crop and its label belong together whatever the speed: talkers are 100 Hz apart."""
    module = CleanSpeech(str(corpus), crop_s=0.5, crops_per_epoch=64, batch_size=16)
    module.setup("fit")
    for batch in module.train_dataloader():
        crops = module.on_after_batch_transfer(batch)
        for wave, speaker in zip(crops["wave"], crops["speaker"], strict=True):
            expected = 300 + 100 * int(speaker)
            assert 0.88 * expected < dominant_hz(wave) < 1.13 * expected
