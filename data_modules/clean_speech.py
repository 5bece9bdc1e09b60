"""Clean speech for training and validating a prior."""

from __future__ import annotations

import math
import warnings

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from data_modules.corpus import Corpus
from data_modules.crops import Crop, CropMaker, TrainCrops, ValidCrops
from data_modules.planner import Augmentation
from data_modules.plans import Plan, Plans
from data_modules.samplers import EpochSampler
from data_modules.splits import STARTER, corpus_name, novelty, train_and_valid
from diffsr.errors import ConfigError

LONGEST_CROP_S = 600.0
"""Samples in place of seconds would fill the memory."""


class CleanSpeech(LightningDataModule):
    """Crops of clean speech, decoded once into memory (about 2 MB a minute at 16 kHz).

    A batch is `{"wave": float32 [B, T], "speaker": int64 [B]}` with -1 for talkers without a label, and with
    `reference_s` also `"reference": float32 [B, T']`, another passage of the same talker. The loader of
    training crops gives plans; `on_after_batch_transfer` makes the batch of them on the device that trains,
    where the samples stay.

    Crop i of epoch e is a pure function of (seed, e, i), for any number of workers and devices and after a
    resume; no two devices get the same one. (After a stop in the middle of an epoch, Lightning runs the
    batches that were left, and these begin with the first crops of that epoch.) Of the validation crops,
    Lightning repeats some where several devices would not get as many; the card of a prior counts each once.

    Args:
        data: Folder, jsonl or csv of clean speech; None for the starter corpus that ships with diffsr.
        valid: Validation speech; None for the rows of `data` marked valid, else for talkers held out.
        rate_hz: Sample rate of the crops; files at other rates are converted.
        crop_s: Length of a crop.
        batch_size: Crops in a batch on each device.
        crops_per_epoch: Training crops in an epoch on all devices together, rounded up so that every
            device gets as many.
        n_valid_crops: Validation crops; fewer where the speech does not suffice.
        level: Active-speech RMS of the utterance that a crop is taken from.
        gain_db: Training crops get a random gain of at most this many dB up or down.
        seed: Seed of the crops.
        reference_s: Length of the reference, 0 for none. It shares no speech with the crop: other utterances
            of the talker, or the rest of the only one; all zeros where there is none.
        speed_share: Share of the training crops that are played 6 or 11 % faster or slower, voice and all.
            Slower ones have nothing in the highest 6 or 10 % of the band.
        equaliser_db: Training crops get a smooth random equaliser of at most this many dB, 0 for none.
        polarity: Whether half of the training crops are turned over.

    Example:
        >>> from data_modules import CleanSpeech
        >>> CleanSpeech(data="corpus.csv", batch_size=8).n_samples
        32768
    """

    def __init__(
        self,
        data: str | None = None,
        valid: str | None = None,
        rate_hz: int = 16000,
        crop_s: float = 2.048,
        batch_size: int = 16,
        crops_per_epoch: int = 4096,
        n_valid_crops: int = 64,
        level: float = 0.05,
        gain_db: float = 6.0,
        seed: int = 0,
        reference_s: float = 0.0,
        speed_share: float = 0.5,
        equaliser_db: float = 3.0,
        polarity: bool = True,
    ) -> None:
        super().__init__()
        sizes = {
            "rate_hz": rate_hz,
            "crop_s": crop_s,
            "batch_size": batch_size,
            "crops_per_epoch": crops_per_epoch,
            "n_valid_crops": n_valid_crops,
            "level": level,
        }
        for name, value in sizes.items():
            if not value > 0:
                raise ConfigError(f"data.{name} is {value}, expected a number above 0.")
        others = {"gain_db": gain_db, "seed": seed, "reference_s": reference_s, "equaliser_db": equaliser_db}
        for name, value in others.items():
            if not value >= 0:
                raise ConfigError(f"data.{name} is {value}, expected a number of at least 0.")
        if not 0 <= speed_share <= 1:
            raise ConfigError(f"data.speed_share is {speed_share}, expected a share from 0 to 1.")
        if round(crop_s * rate_hz) < 1 or not crop_s <= LONGEST_CROP_S:
            raise ConfigError(
                f"data.crop_s is {crop_s:g}; expected seconds, from a sample at {rate_hz} Hz to "
                f"{LONGEST_CROP_S:g} s, such as 2.048."
            )
        self.data = str(STARTER) if data is None else data
        self.valid = valid
        self.rate_hz, self.crop_s, self.batch_size = rate_hz, crop_s, batch_size
        self.crops_per_epoch, self.n_valid_crops = crops_per_epoch, n_valid_crops
        self.level, self.seed = level, seed
        self.augmentation = Augmentation(gain_db, speed_share, equaliser_db, polarity)
        self.n_samples = round(crop_s * rate_hz)
        self.n_reference = round(reference_s * rate_hz)
        self.speakers: list[str] = []
        self._train: CropMaker | None = None
        self._valid: ValidCrops | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the corpus, once for all stages.

        Raises:
            DataError: The corpus is missing, empty or unusable.
        """
        if self._valid is not None:
            return
        train, valid = train_and_valid(self.data, self.valid)
        self.speakers = sorted({row.speaker for row in (*train, *valid) if row.speaker is not None})
        self._train = self._maker(Corpus(train, self.rate_hz, self.speakers))
        self._valid = ValidCrops(self._maker(Corpus(valid, self.rate_hz, self.speakers)), self.n_valid_crops)
        # Lightning advises worker processes; here the samples are in memory and a crop costs microseconds.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")

    @property
    def n_training_talkers(self) -> int:
        """Talkers of the training speech that have a label; set-up comes first."""
        assert self._train is not None, "setup() comes first"
        return len(set(self._train.corpus.speakers.tolist()) - {-1})

    @property
    def summary(self) -> str:
        """What the training speech is, for the card of a prior; set-up comes first."""
        assert self._train is not None, "setup() comes first"
        corpus = self._train.corpus
        minutes = float(corpus.lengths.sum()) / self.rate_hz / 60
        n_low = sum(corpus.low_rates.values())
        low = f", {n_low} utterances below {self.rate_hz} Hz" if n_low else ""
        return (
            f"{corpus_name(self.data)}: {minutes:.1f} minutes, {len(corpus)} utterances, "
            f"{self.n_training_talkers} labelled talkers{low}"
        )

    @property
    def valid_summary(self) -> str:
        """What the validation speech is, for the card of a prior; set-up comes first."""
        assert self._train is not None, "setup() comes first"
        assert self._valid is not None
        kind = novelty(self._train.corpus.utterances, self._valid.maker.corpus.utterances)
        return f"{len(self._valid)} crops; {kind}"

    def train_dataloader(self) -> DataLoader[Plan]:
        """Plans of the random crops of the epoch."""
        assert self._train is not None, "setup() comes first"
        world_size = 1 if self.trainer is None else self.trainer.world_size
        # Lightning would repeat crops to fill up the last round of devices; we draw new ones.
        n_crops = math.ceil(self.crops_per_epoch / world_size) * world_size
        crops = TrainCrops(self._train, n_crops, self.augmentation, self.seed)
        sampler = EpochSampler(n_crops)
        return DataLoader(crops, self.batch_size, sampler=sampler, collate_fn=self._train.collate)

    def on_after_batch_transfer(
        self, batch: Plans | dict[str, Tensor], dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Make crops of plans, on their device; anything else stays as it is."""
        if not isinstance(batch, Plans):
            return batch
        assert self._train is not None, "setup() comes first"
        return self._train.render(batch)

    def val_dataloader(self) -> DataLoader[Crop]:
        """The fixed crops of the validation speech."""
        assert self._valid is not None, "setup() comes first"
        return DataLoader(self._valid, batch_size=self.batch_size, shuffle=False)

    def valid_crops(self) -> Tensor:
        """All fixed validation crops, float32 [n, T]; reads the corpus if that has not happened."""
        self.setup()
        assert self._valid is not None
        return torch.stack([self._valid[index]["wave"] for index in range(len(self._valid))])

    def _maker(self, corpus: Corpus) -> CropMaker:
        return CropMaker(corpus, self.rate_hz, self.n_samples, self.level, self.n_reference)
