"""What the restoration tasks share: files in, restored files out, through Lightning's predict."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import LightningModule

from diffsr.api import Restorer
from diffsr.diffusion import Prior
from diffsr.errors import AudioError
from diffsr.files import FileReport, restore_one
from diffsr.recipes import Recipe

log = logging.getLogger(__name__)


class RestorationModule(LightningModule):
    """Restores the files of a batch and writes each as soon as it is done.

    Every file is independent of batch, order and number of devices. What is there already is skipped, so
    a run that was stopped goes on; a bad file is reported at the end.

    Args:
        prior: A prior folder or a checkpoint.
        recipe: Sampler and models.
        output: Folder to write to.
        seed: Seed of the posterior samples.
        overwrite: Whether to restore again what is there already.
    """

    def __init__(
        self, prior: str, recipe: Recipe, output: str, seed: int = 0, overwrite: bool = False
    ) -> None:
        super().__init__()
        self.prior = Prior.from_pretrained(prior)
        self.restorer = Restorer(self.prior, recipe=recipe, seed=seed, device="cpu")
        self.output, self.overwrite = Path(output).expanduser(), overwrite
        self.reports: list[FileReport] = []

    def on_predict_start(self) -> None:
        """Bring the models to where Lightning has put the prior."""
        self.restorer.to(self.device)
        self.reports = []

    def predict_step(self, batch: list[dict[str, str]], batch_idx: int) -> None:
        """Restore `[{"id": relative path without suffix, "path": file}, ...]`."""
        for item in batch:
            path = Path(item["path"])
            output = self.output / f"{item['id']}{path.suffix}"
            self.reports.append(restore_one(path, output, self.restorer, item["id"], self.overwrite))

    def on_predict_end(self) -> None:
        """Say what was done.

        Raises:
            AudioError: Some files could not be restored; the message names each.
        """
        failed = [report.message for report in self.reports if report.status == "failed"]
        restored = [report for report in self.reports if report.status == "restored"]
        skipped = sum(report.status == "skipped" for report in self.reports)
        log.info("restored %d, skipped %d, failed %d", len(restored), skipped, len(failed))
        if failed:
            raise AudioError("\n".join([f"{len(failed)} of {len(self.reports)} files failed:", *failed]))
