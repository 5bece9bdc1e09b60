"""Existing corpora, each on a small tree that imitates the real one."""

import logging

import lightning
import pytest
import torch

from data_modules import Paired
from data_modules.layouts import Choice
from diffsr.errors import ConfigError, DataError
from diffsr.io.audio import write_audio


def wave(seconds, rate_hz, n_channels=1, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(n_channels, round(seconds * rate_hz), generator=rng)


def batches_of(module, stage="test"):
    module.setup(stage)
    return list(module.test_dataloader())


@pytest.fixture
def voicebank(tmp_path):
    """VoiceBank-DEMAND: 48 kHz, the same names on both sides."""
    for kind, split, count in (
        ("clean", "testset", 3),
        ("noisy", "testset", 3),
        ("clean", "trainset_28spk", 2),
    ):
        for number in range(count):
            seed = number + (10 if kind == "noisy" else 0)
            path = tmp_path / "vb" / f"{kind}_{split}_wav" / f"p232_{number:03d}.wav"
            write_audio(path, wave(0.3 + 0.1 * number, 48000, seed=seed), 48000)
    return tmp_path / "vb"


@pytest.fixture
def whamr(tmp_path):
    """WHAMR!: two channels, mixtures and references under rate, mode and split."""
    for rate_hz, folder in ((8000, "wav8k"), (16000, "wav16k")):
        for number, kind in enumerate(
            ("mix_both_reverb", "mix_single_reverb", "s1_anechoic", "s2_anechoic", "s1_reverb", "s2_reverb")
        ):
            for item in range(2):
                path = tmp_path / "whamr" / folder / "min" / "tt" / kind / f"050a050{item}_1.2_-1.2.wav"
                write_audio(path, wave(0.25, rate_hz, 2, seed=10 * number + item), rate_hz)
    return tmp_path / "whamr"


def test_voicebank(voicebank):
    [batch, last] = batches_of(Paired(str(voicebank), "voicebank", batch_size=2, num_workers=0))
    assert batch["id"] == ["p232_000", "p232_001"]
    assert last["id"] == ["p232_002"]
    assert batch["observation"].shape == batch["target"].shape == (2, 1, 6400)
    assert batch["n_samples"].tolist() == [4800, 6400]
    assert batch["rate_hz"] == [16000] * 2
    assert not batch["target"][0, :, 4800:].any()
    assert 0.01 < float(batch["target"][0].std()) < 0.1


def test_voicebank_training_set_has_no_mixtures_here(voicebank):
    with pytest.raises(DataError, match=r"noisy_trainset_28spk_wav not found.*noisy_testset_wav"):
        Paired(str(voicebank), "voicebank", Choice(split="train")).setup("test")


@pytest.mark.parametrize(("rate_hz", "n_samples"), [(8000, 2000), (16000, 4000)])
def test_whamr(whamr, rate_hz, n_samples):
    module = Paired(str(whamr), "whamr", rate_hz=rate_hz, num_workers=0)
    [first, second] = batches_of(module)
    assert first["id"] == ["050a0500_1.2_-1.2"]
    assert second["id"] == ["050a0501_1.2_-1.2"]
    assert first["observation"].shape == (1, 2, n_samples)
    assert first["target"].shape == (1, 2, n_samples)
    assert torch.allclose(first["target"][0, 1], wave(0.25, rate_hz, 2, seed=30)[0], atol=1e-4)
    assert module.summary == f"whamr (whamr): 2 items, talkers: 2, {rate_hz} Hz"


def test_whamr_with_the_room_and_one_talker(whamr):
    choice = Choice(mixture="mix_single_reverb", target="reverb")
    [first, _] = batches_of(Paired(str(whamr), "whamr", choice, num_workers=0))
    assert first["target"].shape == (1, 1, 4000)
    assert torch.allclose(first["target"][0, 0], wave(0.25, 16000, 2, seed=40)[0], atol=1e-4)


def test_whamr_comes_at_two_rates(whamr):
    with pytest.raises(ConfigError, match="8000 and 16000 Hz, data.rate_hz is 44100"):
        Paired(str(whamr), "whamr", rate_hz=44100).setup("test")


def test_folders_with_one_folder_a_talker(tmp_path):
    for number, folder in enumerate(("mix", "clean/s1", "clean/s2")):
        write_audio(tmp_path / folder / "sub" / "a.wav", wave(0.2, 16000, seed=number), 16000)
    choice = Choice(noisy="mix", clean=["clean/s1", "clean/s2"])
    [batch] = batches_of(Paired(str(tmp_path), choice=choice, num_workers=0))
    assert batch["id"] == ["sub/a"]
    for number in (0, 1):
        expected = wave(0.2, 16000, seed=1 + number)[0]
        assert torch.allclose(batch["target"][0, number], expected, atol=1e-4)


def test_folders_of_speakers_are_no_talkers_of_one_mixture(tmp_path):
    for k, name in enumerate(("s1/a", "s1/b", "s2/a", "s2/c")):
        for folder in ("noisy", "clean"):
            write_audio(tmp_path / folder / f"{name}.wav", wave(0.2, 16000, seed=k), 16000)
    found = batches_of(Paired(str(tmp_path), num_workers=0))
    assert [batch["id"][0] for batch in found] == ["s1/a", "s1/b", "s2/a", "s2/c"]
    assert all(torch.equal(batch["target"], batch["observation"]) for batch in found)


def test_items_that_cannot_be_used_are_counted_and_told(tmp_path, caplog):
    for name in ("good", "longer", "broken", "low", "alone"):
        write_audio(tmp_path / "noisy" / f"{name}.wav", wave(0.2, 16000), 16000)
    write_audio(tmp_path / "clean" / "good.flac", wave(0.21, 16000), 16000)
    write_audio(tmp_path / "clean" / "longer.wav", wave(0.3, 16000), 16000)
    write_audio(tmp_path / "clean" / "low.wav", wave(0.2, 8000), 8000)
    (tmp_path / "clean" / "broken.wav").write_text("no recording")

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.seen = []

        def test_step(self, batch):
            self.seen += batch["id"]

    task, module = Task(), Paired(str(tmp_path), num_workers=0)
    trainer = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    with caplog.at_level(logging.WARNING):
        trainer.test(task, datamodule=module)
    assert task.seen == ["good"]
    told = "\n".join(module.problems)
    assert "last 0.200 and 0.300 s, expected the same length (up to 0.05 s)" in told
    assert "is not audio that can be read" in told
    assert "has 8000 Hz, expected at least 16000. Use data.rate_hz=8000" in told
    assert "alone: no partner in" in told
    assert "Skipped in all: 4 files or items; first: " in caplog.text


def test_trees_that_are_not_there(tmp_path):
    with pytest.raises(
        DataError, match=r"noisy and .*clean not found. The layout 'folders' expects .*NAME.wav"
    ):
        Paired(str(tmp_path)).setup("test")
    for name, other in (("noisy", "a"), ("clean", "b")):
        write_audio(tmp_path / name / f"{other}.wav", wave(0.2, 16000), 16000)
    with pytest.raises(DataError, match="noisy has a; .*clean has b"):
        Paired(str(tmp_path)).setup("test")


def test_talkers_that_no_item_has_together(tmp_path):
    for folder, name in (("noisy", "a"), ("noisy", "b"), ("s1", "a"), ("s2", "b")):
        write_audio(tmp_path / folder / f"{name}.wav", wave(0.2, 16000), 16000)
    with pytest.raises(DataError, match="No item has all of its files"):
        Paired(str(tmp_path), choice=Choice(clean=["s1", "s2"])).setup("test")


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_devices_share_the_items(voicebank, world_size):
    class OnDevice:
        def __init__(self, rank):
            self.global_rank, self.world_size = rank, world_size

    dealt = []
    for rank in range(world_size):
        module = Paired(str(voicebank), "voicebank", num_workers=0)
        module.trainer = OnDevice(rank)
        dealt += [name for batch in batches_of(module) for name in batch["id"]]
    assert sorted(dealt) == ["p232_000", "p232_001", "p232_002"]


def test_numbers_that_cannot_be():
    with pytest.raises(ConfigError, match="data.batch_size 0"):
        Paired("somewhere", batch_size=0)
