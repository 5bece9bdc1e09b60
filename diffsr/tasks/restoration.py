"""What the restoration tasks share: files in, restored files out, through Lightning's predict."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import torch
from lightning.pytorch import LightningModule

from diffsr.api import Restorer
from diffsr.errors import AudioError
from diffsr.files import FileReport, Recording, check_writable, recordings_outside, restore_one
from diffsr.recipes import Recipe


class RestorationModule(LightningModule):
    """Restores the files that `data_modules.Folder` lists and writes each as soon as it is done.

    Every file is independent of batch, order and number of devices, and comes out as `diffsr restore` makes
    it. What is there already is skipped, so a run that was stopped goes on; a bad file is reported at the
    end.

    Args:
        prior: A prior folder, a checkpoint or a run folder.
        recipe: Sampler and models.
        output: Folder to write to.
        seed: Seed of the posterior samples.
        overwrite: Whether to restore again what is there already.
        channels: `each` restores every channel, `mean` their average, a number that channel alone.
    """

    def __init__(
        self,
        prior: str,
        recipe: Recipe,
        output: str,
        seed: int = 0,
        overwrite: bool = False,
        channels: str | int = "each",
    ) -> None:
        super().__init__()
        self.restorer = Restorer(prior, recipe=recipe, seed=seed, device="cpu", channels=channels)
        self.prior = self.restorer.prior  # a submodule, so that Lightning knows the weights
        self.output, self.overwrite = Path(output).expanduser(), overwrite
        self._recordings: set[Recording] = set()
        self._reports: list[FileReport] = []

    def on_predict_start(self) -> None:
        """Find out what there is to do, and bring the models to where Lightning has put the prior.

        Raises:
            AudioError: Nothing can be written to the output folder, or all recordings lie in it.
            ConfigError: The output folder is that of the recordings.
        """
        source = self.trainer.datamodule.input  # type: ignore[attr-defined]
        self._recordings = set(recordings_outside(source, self.output))
        check_writable(self.output)
        self.restorer.to(self.device)
        self._reports = []

    def predict_step(self, batch: list[dict[str, str]], batch_idx: int) -> None:
        """Restore `[{"id": relative path without suffix, "path": file}, ...]`, earlier results left out."""
        for item in batch:
            recording = Recording(item["id"], Path(item["path"]))
            if recording in self._recordings:
                output = recording.output(self.output)
                self._reports.append(restore_one(recording, output, self.restorer, self.overwrite))

    def on_predict_end(self) -> None:
        """Say what was done on all devices together.

        Raises:
            AudioError: Some files could not be restored; the message names each. It is raised on every
                device, wherever they failed.
        """
        reports = self._gather_reports()
        counts = Counter(report.status for report in reports)
        skipped = f", {counts['skipped']} skipped, there already" if counts["skipped"] else ""
        self.print(f"restored {counts['restored']} of {len(reports)} into {self.output}{skipped}")
        failed = [report.message for report in reports if report.status == "failed"]
        if failed:
            raise AudioError("\n".join([f"{len(failed)} of {len(reports)} files failed:", *failed]))

    def _gather_reports(self) -> list[FileReport]:
        """The reports of all devices, by path."""
        shares = [self._reports] * self.trainer.world_size
        if len(shares) > 1:
            torch.distributed.all_gather_object(shares, self._reports)
        return sorted(chain.from_iterable(shares), key=lambda report: report.path)
