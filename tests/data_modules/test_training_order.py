"""Which crops Lightning draws: over epochs, after a resume, and on several devices."""

import lightning
import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, DistributedSampler

from data_modules import CleanSpeech
from data_modules.samplers import EpochSampler


class Recorder(lightning.LightningModule):
    """Remembers the crops that it was given, by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = {}

    def training_step(self, batch):
        self.seen.setdefault(self.current_epoch, []).append(batch["wave"].clone())
        return (self.weight * batch["wave"].mean()).sum()

    def validation_step(self, batch):
        self.log("valid", self.weight.sum())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def module_of(corpus):
    return CleanSpeech(str(corpus), crop_s=0.25, batch_size=4, crops_per_epoch=12, n_valid_crops=4, seed=7)


def fit(corpus, tmp_path, epochs, resume=None, **checkpoint):
    recorder = Recorder()
    keeper = ModelCheckpoint(tmp_path / "ckpt", save_last=True, **checkpoint)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[keeper],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    trainer.fit(recorder, datamodule=module_of(corpus), ckpt_path=resume)
    return {epoch: torch.cat(batches) for epoch, batches in recorder.seen.items()}


def expected(corpus, epoch, n_crops=12):
    module = module_of(corpus)
    module.setup()
    crops = module.train_dataloader().dataset
    return torch.stack([crops.maker.crop(crops[epoch, number])["wave"] for number in range(n_crops)])


def test_lightning_names_the_epoch(corpus, tmp_path):
    seen = fit(corpus, tmp_path, epochs=3)
    assert sorted(seen) == [0, 1, 2]
    for epoch, waves in seen.items():
        assert torch.equal(waves, expected(corpus, epoch))


@pytest.mark.parametrize("at_end_of_training_epoch", [True, False])
def test_a_resumed_run_draws_the_crops_of_its_epoch(corpus, tmp_path, at_end_of_training_epoch):
    fit(corpus, tmp_path, epochs=2, save_on_train_epoch_end=at_end_of_training_epoch)
    seen = fit(corpus, tmp_path, epochs=4, resume=str(tmp_path / "ckpt" / "last.ckpt"))
    assert sorted(seen) == [2, 3]
    for epoch, waves in seen.items():
        assert torch.equal(waves, expected(corpus, epoch))


@pytest.mark.parametrize("epoch", [0, 3])
def test_devices_share_an_epoch_without_overlap(epoch):
    dealt = []
    for rank in (0, 1):
        sampler = DistributedSamplerWrapper(
            EpochSampler(10), num_replicas=2, rank=rank, shuffle=False, seed=0
        )
        sampler.set_epoch(epoch)
        dealt.append(list(sampler))
    assert dealt[0] == [(epoch, number) for number in range(0, 10, 2)]
    assert dealt[1] == [(epoch, number) for number in range(1, 10, 2)]


def test_the_wrapper_is_what_lightning_puts_in(corpus):
    from lightning.pytorch.trainer.connectors.data_connector import _get_distributed_sampler
    from lightning.pytorch.utilities.data import _is_dataloader_shuffled

    module = module_of(corpus)
    module.setup()
    loader = module.train_dataloader()
    assert not _is_dataloader_shuffled(loader)
    sampler = _get_distributed_sampler(loader, shuffle=False, overfit_batches=0, num_replicas=2, rank=1)
    assert isinstance(sampler, DistributedSampler)
    sampler.set_epoch(4)
    assert list(sampler) == [(4, number) for number in range(1, 12, 2)]


@pytest.mark.parametrize(("world_size", "n_crops"), [(1, 12), (2, 12), (5, 15), (8, 16)])
def test_devices_get_new_crops_where_the_epoch_does_not_divide(corpus, world_size, n_crops):
    class Trainer:
        pass

    module = module_of(corpus)
    module.setup()
    module.trainer = Trainer()
    module.trainer.world_size = world_size
    loader = module.train_dataloader()
    drawn = []
    for rank in range(world_size):
        sampler = DistributedSamplerWrapper(
            loader.sampler, num_replicas=world_size, rank=rank, shuffle=True, seed=1
        )
        sampler.set_epoch(2)
        plans = DataLoader(loader.dataset, batch_size=4, sampler=sampler, collate_fn=loader.collate_fn)
        drawn.append(torch.cat([loader.dataset.maker.render(batch)["wave"] for batch in plans]))
    waves = torch.cat(drawn)
    assert len({len(part) for part in drawn}) == 1
    assert len(waves) == len(torch.unique(waves, dim=0)) == n_crops
    # The first twelve are those that one device draws.
    reference = expected(corpus, 2)
    assert all(any(torch.equal(row, wave) for wave in waves) for row in reference)


def test_overfitting_draws_the_crops_of_epoch_0(corpus, tmp_path):
    module = module_of(corpus)
    recorder = Recorder()
    trainer = lightning.Trainer(
        max_epochs=2,
        overfit_batches=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, datamodule=module)
    assert torch.equal(recorder.seen[0][0], recorder.seen[1][0])
