"""What the restoration tasks share: files in, restored files out, and scores on a test corpus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from diffsr.api import Restorer
from diffsr.degradations import Degradation, Mixing
from diffsr.errors import AudioError, ConfigError
from diffsr.evaluation.results import Evaluation, Row
from diffsr.files import refuse_what_is_read, restore_together
from diffsr.io.atomic import check_writable
from diffsr.io.memory import PeakMemory
from diffsr.io.paths import named_path
from diffsr.io.recordings import Recording, check_folder, check_format, recordings_outside
from diffsr.likelihoods import Likelihood
from diffsr.recipes import Recipe, check_talkers
from diffsr.restoration.file_report import FileReport, account, doubts
from diffsr.restoration.section_plan import SECTION_S
from diffsr.samplers import (
    Agreement,
    AnnealedSampler,
    EachTalker,
    EarlyReflections,
    LittleNoise,
    PowerCeiling,
    SecondPass,
    SecondSearch,
    Telling,
)
from diffsr.samplers.joining import Joiner
from diffsr.samplers.ranking import Ranker
from diffsr.tasks.scoring import gathered, means, score_batch


class RestorationModule(LightningModule):
    """Restores the files that `data_modules.Folder` lists and writes each as soon as it is done.

    Every file is independent of batch, order and number of devices, and comes out as `diffsr restore` makes
    it. What is there already is skipped, so a run that was stopped goes on; a bad file is reported at the
    end. `test` restores and scores the items of `data_modules.Whamr` or `data_modules.Paired` and writes no
    audio.

    Args:
        prior: A prior that ships (`speech-16k-fast`), a prior folder, a checkpoint or a run folder.
        sampler: The loop with its schedule, guidance, solver and M-steps.
        likelihood: Noise model.
        degradation: From the talker to the microphone; None is nothing but the noise.
        output: Folder to write to.
        seed: Seed of the posterior samples.
        overwrite: Whether to restore again what is there already.
        channels: `each` restores every channel, `mean` their average, a number that channel alone.
        n_samples: Posterior samples of each recording; the `joiner` makes the result of them.
        keep_samples: Whether to write each of them beside it.
        physics: Whether to write noise, room and spread beside the audio.
        batch: Recordings of equal length that are restored at once, out of `batch_size` of the data.
        talkers: How many there are, 2 to 8, of tasks for several, which need it; else None.
        ranker: Tells how good a sample of several talkers is; None is `diffsr.samplers.Agreement`.
        joiner: Makes one result of the samples; None takes their mean, of several talkers the one that ranks
            first.
        voices: Tells the later of them the voices that the first ones found; None tells nobody.
        little_noise: How recordings of one talker that turn out to have little noise are restored once more;
            None restores all alike.
        each_talker: How each of several talkers is restored once more by itself; None leaves them alone.
        second_pass: How one talker is restored once more, from halfway between the recording and the first
            restoration; None restores once.
        second_search: How several talkers are searched for once more, from the joined restarts; None searches
            once.
        early_reflections: How those of the room of one talker are found and taken away before the recording
            is restored; None leaves them.
        ceiling: Keeps one talker from being louder than the recording; None does not.
        precision: `float32`, `bfloat16`, or `auto`, see `diffsr.Restorer`.
        section_s: Longest section of a long recording, see `diffsr.Restorer`; None cuts nothing.

    Raises:
        ConfigError: A number of talkers for a task that restores one, or one that does not fit.
    """

    separates = False
    """Whether a task is for several talkers."""

    def __init__(
        self,
        prior: str,
        sampler: AnnealedSampler,
        likelihood: Likelihood,
        degradation: Degradation | None = None,
        output: str = "restored",
        seed: int = 0,
        overwrite: bool = False,
        channels: str | int = "each",
        n_samples: int = 1,
        keep_samples: bool = False,
        physics: bool = False,
        batch: int | None = None,
        talkers: int | None = None,
        ranker: Ranker | None = None,
        joiner: Joiner | None = None,
        voices: Telling | None = None,
        little_noise: LittleNoise | None = None,
        each_talker: EachTalker | None = None,
        second_pass: SecondPass | None = None,
        second_search: SecondSearch | None = None,
        early_reflections: EarlyReflections | None = None,
        ceiling: PowerCeiling | None = None,
        precision: str = "auto",
        section_s: float | None = SECTION_S,
    ) -> None:
        super().__init__()
        self._check_talkers(talkers)
        self.restorer = Restorer(
            prior,
            recipe=Recipe(
                sampler=sampler,
                likelihood=likelihood,
                degradation=degradation or Mixing(),
                n_samples=n_samples,
                n_sources=talkers or 1,
                ranker=ranker or Agreement(),
                joiner=joiner,
                voices=voices,
                little_noise=little_noise,
                each_talker=each_talker,
                second_pass=second_pass,
                second_search=second_search,
                early_reflections=early_reflections,
                ceiling=ceiling,
            ),
            seed=seed,
            device="cpu",
            channels=channels,
            n_samples=n_samples if keep_samples else None,
            batch=batch,
            precision=precision,
            section_s=section_s,
        )
        self.prior = self.restorer.prior  # a submodule, so that Lightning knows the weights
        self.output, self.overwrite, self.physics = named_path(output), overwrite, physics
        self._recordings: dict[str, Recording] = {}
        self._reports: list[FileReport] = []

    def _check_talkers(self, talkers: int | None) -> None:
        name = type(self).__name__
        if talkers is not None and not self.separates:
            raise ConfigError(
                f"talkers is {talkers} and {name} restores one talker. Leave talkers out, or take "
                "diffsr.tasks.SeparateModule or JointModule."
            )
        if talkers is None and self.separates:
            raise ConfigError(f"{name} has to know how many talkers there are. Set talkers, such as to 2.")
        check_talkers(name, talkers, of_experiment=True)

    def on_predict_start(self) -> None:
        """Find out what there is to do, and bring the models to where Lightning has put the prior.

        Raises:
            AudioError: Nothing can be written to the output folder, or all recordings lie in it.
            ConfigError: The output folder is that of the recordings, the data are no recordings, or one is in
                a format that cannot be written.
        """
        source = getattr(self.trainer.datamodule, "input", None)  # type: ignore[attr-defined]
        if source is None:
            kind = type(self.trainer.datamodule).__name__  # type: ignore[attr-defined]
            raise ConfigError(
                f"predict restores the recordings of data_modules.Folder, the data are {kind}. Use --data "
                "data_modules.Folder --data.init_args.input=RECORDINGS, or score them with: diffsr test."
            )
        self._recordings = {str(one.path): one for one in recordings_outside(source, self.output)}
        check_folder(self.output)
        for one in self._recordings.values():
            check_format(one.output(self.output))
        pairs = [(one, one.output(self.output)) for one in self._recordings.values()]
        refuse_what_is_read(pairs, self.restorer)
        self._follow()
        self._reports = []
        self._memory = PeakMemory(self.device)
        self._memory.start()

    def _follow(self) -> None:
        """Bring the models to where Lightning has put the prior.

        Raises:
            ConfigError: It has changed the precision.
        """
        if (precision := str(self.trainer.precision)) not in ("32-true", "32"):
            raise ConfigError(
                f"trainer.precision is {precision}; restorations need 32-true around the network. Leave it "
                "out, and set model.init_args.precision, such as to bfloat16."
            )
        self.restorer.to(self.device)

    def predict_step(self, batch: list[dict[str, str]], batch_idx: int) -> None:
        """Restore `[{"id": relative path without suffix, "path": file}, ...]`, earlier results left out."""
        found = [self._recordings[item["path"]] for item in batch if item["path"] in self._recordings]
        pairs = [(one, one.output(self.output)) for one in found]
        self._reports += restore_together(pairs, self.restorer, self.overwrite, self.physics)

    def on_predict_end(self) -> None:
        """Say what was done on all devices together.

        Raises:
            AudioError: Some files could not be restored; the message names each. It is raised on every
                device, wherever they failed.
        """
        reports = sorted(gathered(self._reports, self.trainer), key=lambda report: report.path)
        counts = Counter(report.status for report in reports)
        skipped = f", {counts['skipped']} skipped, there already" if counts["skipped"] else ""
        memory_mib = max(gathered([self._memory.mib()], self.trainer))
        self.print(f"{account(reports, memory_mib, self.trainer.world_size)} into {self.output}{skipped}")
        if doubtful := doubts(reports):
            self.print(doubtful)
        failed = [report.message for report in reports if report.status == "failed"]
        if failed:
            raise AudioError("\n".join([f"{len(failed)} of {len(reports)} files failed:", *failed]))

    def on_test_start(self) -> None:
        """Bring the models to where Lightning has put the prior, and see that the scores can be written.

        Raises:
            DataError: They cannot.
        """
        self._follow()
        self._rows: list[Row] = []
        self._failed: dict[str, str] = {}
        if self.trainer.is_global_zero:
            check_writable(self._table)

    @property
    def _table(self) -> Path:
        """Of the scores of each item."""
        return Path(self.trainer.default_root_dir) / "scores.csv"

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Restore and score `observation [B, C, T]` against `target [B, S, T]`, item by item."""
        rows, failed = score_batch(batch, self.restorer)
        self._rows += rows
        self._failed |= failed

    def on_test_epoch_end(self) -> None:
        """Log the means over the items of all devices; the scores of each are in `scores.csv` of the run.

        Raises:
            DataError: No item could be scored.
        """
        rows = sorted(gathered(self._rows, self.trainer), key=lambda row: row.id)
        evaluation = Evaluation(rows, dict(gathered(list(self._failed.items()), self.trainer)))
        for name, mean in means(evaluation).items():
            self.log(name, mean, sync_dist=True)  # the same everywhere, as the items of all were gathered
        if self.trainer.is_global_zero:
            evaluation.write_csv(self._table)
        self.print(f"scored {len(rows)} of {len(rows) + len(evaluation.failed)} items: {self._table}")
        for name, problem in sorted(evaluation.failed.items()):
            self.print(f"  {name}: {problem}")
