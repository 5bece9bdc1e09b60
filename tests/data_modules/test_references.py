"""The reference of a crop: another passage of the same talker."""

import lightning
import pytest
import torch

from data_modules import CleanSpeech
from data_modules.crops import CropMaker, TrainCrops
from data_modules.planner import Augmentation
from diffsr.signal.shaping import SPEEDS

RATE_HZ = 16000
N_CROP, N_REFERENCE = 8000, 4000


@pytest.fixture
def corpus(noise_corpus):
    """Talkers of several long, several short, two short and one long utterance; one without a label."""
    lengths = [30000, 20000, 25000, *(1500 + 100 * i for i in range(30)), 2000, 2500, 40000, 35000]
    return noise_corpus(lengths, [0] * 3 + [1] * 30 + [2] * 2 + [3, -1])


def plans(corpus, n_crops=600, augmentation=None, n_crop=N_CROP, n_reference=N_REFERENCE):
    maker = CropMaker(corpus, RATE_HZ, n_crop, 0.05, n_reference)
    crops = TrainCrops(maker, n_crops, augmentation or Augmentation(), seed=1)
    return [crops[0, number] for number in range(n_crops)]


def heard(passage, length):
    """Samples of the corpus in the first `length` samples of a passage, by utterance."""
    spans = {}
    for utterance, first, stop, position in passage.pieces:
        begin, end = max(first, first - position), min(stop, first + length - position)
        if begin < end:
            spans.setdefault(utterance, set()).update(range(begin, end))
    return spans


def test_references_share_the_talker_and_no_speech(corpus):
    found = set()
    for plan in plans(corpus):
        speed = SPEEDS[plan.speed]
        crop = heard(plan.crop, round(N_CROP * speed))
        reference = heard(plan.reference, round(N_REFERENCE * speed))
        assert bool(reference) == bool(plan.reference.pieces)
        talkers = corpus.speakers[list(crop) + list(reference)]
        assert (talkers == plan.speaker).all()
        for utterance, samples in reference.items():
            assert not samples & crop.get(utterance, set())
        if plan.speaker in (0, 1):
            assert reference
            assert not set(crop) & set(reference)
        if plan.speaker in (-1, 3):
            assert len(set(crop) | set(reference)) == 1
        found.add((plan.speaker, bool(reference)))
    # Where both short utterances of a talker are in the crop, nothing is left.
    assert found >= {(0, True), (1, True), (2, False), (3, True), (-1, True)}


def test_a_reference_is_another_crop_of_its_own_manner(corpus):
    drawn = [plan for plan in plans(corpus) if plan.reference.pieces]
    ratios = {plan.reference.gain / plan.crop.gain for plan in drawn}
    assert len(ratios) == len(drawn)
    assert 0.4 < sum(ratio < 0 for ratio in ratios) / len(ratios) < 0.6
    assert all((plan.reference.tilt != plan.crop.tilt).all() for plan in drawn)
    # The other long utterances of talker 0 are equally likely by the second.
    others = [plan.reference.pieces[0].utterance for plan in drawn if plan.crop.pieces[0].utterance == 0]
    assert 0.3 < others.count(1) / len(others) < 0.6  # 20 of 45


def test_a_voice_and_its_reference_have_one_speed(memory_corpus):
    time_s = torch.arange(40000) / RATE_HZ
    tones = [(20000 * torch.sin(2 * torch.pi * 500 * time_s)).numpy() for _ in range(2)]
    maker = CropMaker(memory_corpus(tones, [0, 0]), RATE_HZ, 16000, 0.05, 8000)
    crops = TrainCrops(maker, 24, Augmentation(speed_share=0.9), 0)
    batch = maker.render(maker.collate([crops[number] for number in range(24)]))
    pitch_hz = torch.fft.rfft(batch["wave"]).abs().argmax(1)
    assert len(pitch_hz.unique()) > 2
    reference_hz = 2 * torch.fft.rfft(batch["reference"]).abs().argmax(1)
    assert (reference_hz - pitch_hz).abs().max() <= 1


@pytest.mark.parametrize(("total", "expected"), [(9999, False), (10100, True), (12000, True)])
def test_the_rest_of_an_utterance_serves_from_half_of_the_length_on(noise_corpus, total, expected):
    """8000 samples are in the crop, 4000 make a reference: 2000 must be left on one side."""
    corpus = noise_corpus([total], [0])
    drawn = plans(corpus, 400, Augmentation(speed_share=0.0))
    for plan in drawn:
        before = -plan.crop.pieces[0].position
        assert bool(plan.reference.pieces) == (max(before, total - N_CROP - before) >= 2000)
    assert any(plan.reference.pieces for plan in drawn) is expected


def test_crops_do_not_depend_on_references(corpus):
    with_references, without = plans(corpus, 50), plans(corpus, 50, n_reference=0)
    assert [plan.crop.pieces for plan in with_references] == [plan.crop.pieces for plan in without]
    assert not any(plan.reference.pieces for plan in without)


def test_none_is_all_zeros(noise_corpus):
    maker = CropMaker(noise_corpus([9000, 30000], [0, 1]), RATE_HZ, N_CROP, 0.05, N_REFERENCE)
    crops = TrainCrops(maker, 40, Augmentation(), 0)
    drawn = [crops[number] for number in range(40)]
    batch = maker.render(maker.collate(drawn))
    silent = (batch["reference"] == 0).all(1)
    assert silent.tolist() == [not plan.reference.pieces for plan in drawn]
    assert silent.any()
    assert not silent.all()


@pytest.fixture
def speech_folder(tmp_path):
    """Four talkers of two utterances."""
    from diffsr.io.audio import write_audio

    for talker in range(4):
        for take in range(2):
            time_s = torch.arange(RATE_HZ) / RATE_HZ
            tone = 0.1 * torch.sin(2 * torch.pi * (300 + 100 * talker) * time_s)
            write_audio(tmp_path / "speech" / f"t{talker}" / f"{take}.wav", tone[None], RATE_HZ)
    return tmp_path / "speech"


OPTIONS = {"crop_s": 0.5, "batch_size": 4, "crops_per_epoch": 8, "n_valid_crops": 8}


def test_validation_has_fixed_references_as_they_are(speech_folder):
    def batches():
        module = CleanSpeech(str(speech_folder), reference_s=0.25, **OPTIONS)
        module.setup("validate")
        return list(module.val_dataloader())

    for batch, again in zip(batches(), batches(), strict=True):
        assert batch["reference"].shape == (4, 4000)
        assert torch.equal(batch["reference"], again["reference"])
        levels = batch["reference"].square().mean(1).sqrt()
        torch.testing.assert_close(levels, torch.full((4,), 0.05), atol=1e-3, rtol=0)
    plain = CleanSpeech(str(speech_folder), **OPTIONS)
    varied = CleanSpeech(str(speech_folder), reference_s=0.25, **OPTIONS)
    assert torch.equal(plain.valid_crops(), varied.valid_crops())


class Recorder(lightning.LightningModule):
    """Keeps the batches of both loops."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.train_batches, self.valid_batches = [], []

    def training_step(self, batch):
        self.train_batches.append(batch)
        return (self.weight * batch["wave"].mean()).sum()

    def validation_step(self, batch):
        self.valid_batches.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("reference_s", [0.0, 0.25])
def test_steps_get_waveforms_and_references(speech_folder, reference_s):
    recorder = Recorder()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, datamodule=CleanSpeech(str(speech_folder), reference_s=reference_s, **OPTIONS))
    assert len(recorder.train_batches) == 2
    for batch in recorder.train_batches + recorder.valid_batches:
        assert set(batch) == {"wave", "speaker", *(["reference"] if reference_s else [])}
        assert batch["wave"].shape == (4, 8000)
        assert batch["wave"].dtype == torch.float32
        assert batch["speaker"].dtype == torch.int64
        if reference_s:
            assert batch["reference"].shape == (4, 4000)
            assert batch["reference"].abs().amax(1).min() > 0
