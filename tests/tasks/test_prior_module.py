"""Training end to end at toy size: it learns, resumes, and leaves a prior that loads."""

from __future__ import annotations

import functools
import math
from datetime import timedelta

import pytest
import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from safetensors.torch import load_file

from data_modules import CleanSpeech
from data_modules.samplers import EpochSampler
from diffsr.callbacks import AveragedWeights, LastCheckpoint
from diffsr.diffusion import Prior
from diffsr.errors import ConfigError
from diffsr.networks import TFTransformer
from diffsr.speakers import SpeakerEncoder
from diffsr.tasks import PriorModule
from diffsr.tasks.budget import budget_used
from diffsr.tasks.learning_rate import learning_rate_factor
from diffsr.tasks.speaker import SpeakerModule


@pytest.fixture
def corpus(tmp_path):
    """Four talkers with a voice: a harmonic tone that comes and goes."""
    folder = tmp_path / "speech"
    time_s = torch.arange(32_000) / 16_000
    for talker in range(4):
        for take in range(2):
            pitch_hz = 100 + 40 * talker + 3 * take
            tone = sum(torch.sin(2 * math.pi * k * pitch_hz * time_s) / k for k in range(1, 8))
            wave = 0.1 * tone * (torch.sin(2 * math.pi * 2 * time_s) > -0.5)
            path = folder / f"talker{talker}" / f"{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, wave.numpy(), 16_000)
    return folder


def train(corpus, root, max_steps, ckpt_path=None, **options):
    torch.manual_seed(0)
    prior = Prior(TFTransformer(width=16, depth=1, heads=2), window_s=0.512)
    module = options.pop("module", PriorModule)(prior, learning_rate=3e-3)
    data = CleanSpeech(str(corpus), crop_s=0.512, batch_size=4, crops_per_epoch=40, n_valid_crops=4)
    trainer = Trainer(
        max_steps=max_steps,
        default_root_dir=root,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[AveragedWeights(0.9), LastCheckpoint(10), *options.pop("callbacks", [])],
        **{"limit_val_batches": 1, "num_sanity_val_steps": 0, **options},
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, module


@pytest.fixture
def few_samples(monkeypatch):
    """Two short samples of two steps instead of four of sixty."""
    from diffsr.callbacks import PriorExport, PriorSamples

    monkeypatch.setattr(
        PriorModule, "configure_callbacks", lambda self: [PriorExport(), PriorSamples(n_items=2, n_steps=2)]
    )


@pytest.mark.usefixtures("few_samples")
def test_it_learns_and_leaves_a_prior_card_and_samples(corpus, tmp_path):
    trainer, module = train(corpus, tmp_path, max_steps=60)
    scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert scores["valid/loss_sigma_0.1"] < 0.9  # 1 is an untrained network
    assert scores["valid/gain_db_at_+0_db"] > 1.0
    loaded = Prior.from_pretrained(tmp_path / "prior")
    from_checkpoint = Prior.from_pretrained(tmp_path / "checkpoints" / "last.ckpt")
    z, sigma = 0.1 * torch.randn(1, 8000), torch.tensor([0.1])
    expected = module.prior.eval().denoise(z, sigma)
    torch.testing.assert_close(loaded.denoise(z, sigma), expected)
    torch.testing.assert_close(from_checkpoint.denoise(z, sigma), expected)
    card = (tmp_path / "prior" / "README.md").read_text()
    assert "GFLOP per second" in card
    assert "60 steps" in card
    assert "labelled talkers" in card
    assert soundfile.info(tmp_path / "samples" / "sample_1.wav").frames == 8192
    assert (tmp_path / "samples" / "samples.png").stat().st_size > 1000


@pytest.mark.usefixtures("few_samples")
def test_a_short_run_has_a_card_with_the_scores_of_what_it_exports(corpus, tmp_path):
    train(corpus, tmp_path, max_steps=2, val_check_interval=5)
    card = (tmp_path / "prior" / "README.md").read_text()
    assert "| +0 dB |" in card
    assert "| 0.1 |" in card


@pytest.mark.usefixtures("few_samples")
def test_time_alone_can_end_the_training(corpus, tmp_path):
    trainer, _ = train(corpus, tmp_path, max_steps=-1, max_epochs=-1, max_time=timedelta(seconds=1))
    assert trainer.global_step > 0
    assert trainer.optimizers[0].param_groups[0]["lr"] < 0.3 * 3e-3


@pytest.mark.usefixtures("few_samples")
def test_the_learning_rate_falls_to_the_end_of_the_last_epoch_where_that_comes_before_the_last_step(
    corpus, tmp_path
):
    trainer, _ = train(corpus, tmp_path, max_steps=100_000, max_epochs=1)
    assert trainer.global_step == 10
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0)
    assert budget_used(trainer, 5) == 0.5


def test_epochs_of_batches_that_cannot_be_counted_are_a_budget():
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(torch.zeros(3, 1))

    class Watches(LightningModule):
        """Learns nothing, and remembers how much of the budget was used."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.used = torch.nn.Linear(1, 1), []

        def training_step(self, batch, batch_idx):
            self.used.append(budget_used(self.trainer, self.trainer.global_step))
            return self.layer(batch).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.0)

    module = Watches()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **options)
    trainer.fit(module, torch.utils.data.DataLoader(Endless(), batch_size=None))
    assert module.used == [0.0] * 3 + [0.5] * 3


@pytest.mark.usefixtures("few_samples")
def test_no_steps_are_a_budget_that_is_used(corpus, tmp_path):
    trainer, _ = train(corpus, tmp_path, max_steps=0)
    assert (trainer.global_step, budget_used(trainer, 0)) == (0, 1.0)


@pytest.mark.usefixtures("few_samples")
def test_accumulated_batches_see_different_noise(corpus, tmp_path, monkeypatch):
    seeds = []
    step_seed = PriorModule._step_seed
    monkeypatch.setattr(
        PriorModule, "_step_seed", lambda self, i: (seeds.append(step_seed(self, i)), seeds[-1])[1]
    )
    train(corpus, tmp_path, max_steps=3, accumulate_grad_batches=2)
    assert len(seeds) == len(set(seeds)) == 6


@pytest.mark.usefixtures("few_samples")
def test_an_interrupted_run_ends_like_an_uninterrupted_one(corpus, tmp_path, monkeypatch):
    # Every epoch has the same crops here: this is about weights, average, optimizer, schedule and noise.
    monkeypatch.setattr(EpochSampler, "set_epoch", lambda self, epoch: None)
    _, whole = train(corpus, tmp_path / "whole", max_steps=20)
    # Stopped at the end of an epoch (10 steps), with the same budget for the learning rate.
    train(corpus, tmp_path / "part", max_steps=20, callbacks=[StopAfterAnEpoch()])
    checkpoint = tmp_path / "part" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 10
    _, resumed = train(corpus, tmp_path / "part", max_steps=20, ckpt_path=checkpoint)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


class StopAfterAnEpoch(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = True


@pytest.mark.usefixtures("few_samples")
def test_a_run_that_was_stopped_at_its_end_leaves_its_average_all_the_same(corpus, tmp_path, monkeypatch):
    """All steps are done and saved, and Ctrl-C comes while the samples are drawn; then the same again."""
    with monkeypatch.context() as patched:
        patched.setattr("diffsr.callbacks.listening.save_samples", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(corpus, tmp_path, max_steps=6)
    saved = load_file(tmp_path / "prior" / "model.safetensors")
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    _, module = train(corpus, tmp_path, max_steps=6, ckpt_path=checkpoint)
    assert (tmp_path / "samples" / "samples.png").is_file()
    again = load_file(tmp_path / "prior" / "model.safetensors")
    average = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, tensor in saved.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=0)
        torch.testing.assert_close(average[f"prior.{name}"], tensor, rtol=0, atol=0)


def interrupted(*args, **options):
    raise KeyboardInterrupt


@pytest.mark.usefixtures("few_samples")
@pytest.mark.parametrize("seed", [0, 20261128, 2**62])
def test_any_seed_will_do(corpus, tmp_path, seed):
    with_seed = functools.partial(PriorModule, seed=seed)
    trainer, _ = train(corpus, tmp_path, max_steps=1, module=with_seed)
    assert trainer.global_step == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": 1.0}, "warmup is 1, expected a share of the budget from 0 to below 1"),
        ({"warmup": -0.1}, "warmup is -0.1"),
        ({"learning_rate": 0.0}, "learning_rate is 0, expected a number above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
    ],
)
def test_a_learning_rate_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        PriorModule(Prior(TFTransformer(width=16, depth=1, heads=2)), **options)
    with pytest.raises(ConfigError, match=message):
        SpeakerModule(SpeakerEncoder(n_mels=8, width=8, depth=1, embedding_dim=4), **options)


def test_the_learning_rate_rises_and_falls_to_zero():
    factors = [learning_rate_factor(p / 100, warmup=0.1) for p in range(101)]
    assert factors[0] > 0
    assert max(factors) == pytest.approx(1.0, abs=0.01)
    assert factors.index(max(factors)) == 10
    assert factors[-1] == pytest.approx(0)
    assert all(a >= b for a, b in zip(factors[10:], factors[11:], strict=False))


@pytest.mark.usefixtures("few_samples")
def test_a_time_budget_moves_the_learning_rate_too(corpus, tmp_path):
    # The clock stands at half the time from the start: at least half the budget is used at step 0.
    class HalfOver(Timer):
        def time_elapsed(self, stage="train"):
            return 50.0

        def time_remaining(self, stage="train"):
            return 50.0

    trainer, _ = train(corpus, tmp_path, max_steps=4, callbacks=[HalfOver(timedelta(seconds=100))])
    assert budget_used(trainer, 0) == pytest.approx(0.5)
    assert budget_used(trainer, 3) == pytest.approx(0.75)
