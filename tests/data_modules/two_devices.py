"""Fit, validate and test on two CPU processes; each writes what scenes it was given. A script for a test."""

import json
import os
import sys
from pathlib import Path

import lightning
import torch

from data_modules import Whamr
from diffsr.simulation.draw import SceneSettings


class Recorder(lightning.LightningModule):
    """Notes the scenes by stage and waits for the other device where gradients and scores meet."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = {"train": [], "valid": [], "test": []}

    def training_step(self, batch):
        self.seen["train"] += batch["id"]
        return (self.weight * batch["observation"].mean()).sum()

    def validation_step(self, batch):
        self.seen["valid"] += batch["id"]

    def on_validation_epoch_end(self):
        self.log("n_valid", float(len(self.seen["valid"])), sync_dist=True)

    def test_step(self, batch):
        self.seen["test"] += batch["id"]

    def on_test_epoch_end(self):
        self.log("n_test", float(len(self.seen["test"])), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def main(out, speech):
    scene = SceneSettings(rate_hz=8000, n_talkers=1)
    data = Whamr(
        speech,
        scene=scene,
        scenes_per_epoch=5,
        n_valid_scenes=1,
        n_test_scenes=5,
        batch_size=2,
        num_workers=1,
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    task = Recorder()
    trainer.fit(task, datamodule=data)
    trainer.test(task, datamodule=data, verbose=False)
    (Path(out) / f"{os.environ.get('LOCAL_RANK', 0)}.json").write_text(json.dumps(task.seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
