"""A prior that is told who speaks: the encoder stays out of it, and nobody is told too often."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader

from diffsr.callbacks import AveragedWeights
from diffsr.diffusion import Prior
from diffsr.errors import ConfigError
from diffsr.io.weights import load_tensors
from diffsr.networks import TFTransformer
from diffsr.speakers.embedding import SpeakerEncoder
from diffsr.tasks import PriorModule
from diffsr.tasks.talkers import TalkerCondition

WIDTH = 8


class ToyEncoder(nn.Module):
    """The signs of the first samples."""

    def __init__(self, embedding_dim: int = WIDTH, rate_hz: int = 16_000) -> None:
        super().__init__()
        self.embedding_dim, self.rate_hz = embedding_dim, rate_hz
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, wave):
        return self.scale * wave[:, : self.embedding_dim].sign() / self.embedding_dim**0.5


@pytest.fixture
def encoder(monkeypatch):
    made = ToyEncoder()
    monkeypatch.setattr(SpeakerEncoder, "from_pretrained", lambda folder: made, raising=False)
    return made


def batch(n_items: int = 4, silent: int = 1) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    wave, reference = 0.05 * torch.randn(2, n_items, 4096, generator=rng)
    reference[:silent] = 0
    return {"wave": wave, "reference": reference}


def prior(speaker_width: int = WIDTH) -> Prior:
    torch.manual_seed(0)
    return Prior(TFTransformer(width=16, depth=1, heads=2, speaker_width=speaker_width), window_s=0.256)


def test_rows_without_a_reference_and_dropped_rows_are_zero(encoder):
    condition = TalkerCondition("folder", WIDTH, 16_000, dropout=0.25)
    item = batch(4000, silent=1000)
    drawn = condition.draw(item, torch.Generator().manual_seed(0))
    told = drawn.abs().amax(-1) > 0
    assert not told[:1000].any()
    assert told[1000:].float().mean() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(drawn[told], encoder(item["reference"])[told])
    again = condition.draw(item, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


def test_silence_that_the_encoder_makes_nan_of_is_nobody(encoder, monkeypatch):
    monkeypatch.setattr(encoder, "forward", lambda wave: wave[:, :WIDTH] / wave.abs().amax(-1, keepdim=True))
    drawn = TalkerCondition("folder", WIDTH, 16_000, dropout=0).draw(batch(), torch.Generator())
    assert drawn.isfinite().all()
    assert torch.equal(drawn[0], torch.zeros(WIDTH))


def test_an_unconditional_prior_is_told_nothing():
    assert TalkerCondition(None, 0, 16_000, 0.3).draw(batch(), torch.Generator()) is None


def test_a_place_for_a_talker_that_is_never_told_still_has_gradients():
    drawn = TalkerCondition(None, WIDTH, 16_000, 0.3).draw(batch(), torch.Generator())
    assert torch.equal(drawn, torch.zeros(4, WIDTH))


def test_an_encoder_of_another_kind_is_refused(encoder):
    with pytest.raises(ConfigError, match="speaker_width=8"):
        TalkerCondition("folder", 0, 16_000, 0.3)
    with pytest.raises(ConfigError, match="16000 Hz, and the prior for 8000 Hz"):
        TalkerCondition("folder", WIDTH, 8_000, 0.3)
    with pytest.raises(ConfigError, match="speaker_dropout is 1.5"):
        TalkerCondition("folder", WIDTH, 16_000, 1.5)


def test_the_encoder_is_not_trained_averaged_or_exported(encoder, tmp_path):
    module = PriorModule(prior(), speaker_encoder="folder", n_samples=0, learning_rate=1e-2)
    trainer = Trainer(
        max_steps=3,
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[AveragedWeights(0.5)],
    )
    loader = DataLoader([batch()] * 3, batch_size=None)
    trainer.fit(module, loader, loader)
    assert not encoder.training
    assert float(encoder.scale) == 1.0
    assert encoder.scale.grad is None
    optimized = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert id(encoder.scale) not in optimized
    assert not any("encoder" in name for name in module.state_dict())
    exported = load_tensors(tmp_path / "prior" / "model.safetensors")
    assert set(exported) == set(module.prior.state_dict())
    moved = [name for name in exported if name.endswith("speaker.weight")]
    assert moved
    assert all(exported[name].abs().max() > 0 for name in moved)
    metrics = trainer.callback_metrics
    assert metrics["valid/told_loss"].isfinite()
    assert metrics["valid/told_loss_sigma_0.1"] != metrics["valid/loss_sigma_0.1"]
