"""Scenes in the manner of WHAMR!, mixed on the fly."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.utils.data import DataLoader, Sampler

from data_modules.batches import Item, Reporting, collate
from data_modules.samplers import EpochSampler, Share
from data_modules.scenes import PARTS, Part, Scenes, Target
from data_modules.splits import STARTER, Splits, corpus_name, split_noise, three_ways
from diffsr.errors import ConfigError, DataError
from diffsr.simulation.draw import SceneMaker, SceneSettings
from diffsr.simulation.responses import RoomSource

STREAMS = {"train": 1, "valid": 2, "test": 3}
"""First number of the keys of the scenes of each split."""
_SETTINGS = SceneSettings()


class Whamr(Reporting):
    """Talkers in rooms with noise, mixed on the fly; each part can be switched off.

    Training scenes are drawn anew every epoch; validation and test scenes are always the same. A scene is a
    pure function of (corpora, scene settings, seed, split, epoch, number): it does not depend on workers,
    devices, batch size or what was drawn before. Over all devices no scene comes twice and none is lost.

    A batch is a dict of `id` (B names), `observation` [B, C, T], `target` [B, S, T] (at the first
    microphone), `dry` [B, S, T], `direct` and `reverberant` [B, S, C, T], `noise` [B, C, T], `n_samples`
    int64 [B], `rate_hz` and `plan` (B numbers and dicts, see `diffsr.simulation.plan`), and `problems`
    (files that could not be used); waveforms are float32, padded with zeros to the longest scene.

    Args:
        speech: Folder, jsonl or csv of clean speech; None for the starter corpus that ships with diffsr.
        noise: Folder, jsonl or csv of noise recordings; None for scenes without noise.
        rooms: Where rooms come from: a folder made by `diffsr prepare rooms`, a manifest of measured
            responses, `simulate`, or a list of these; None for scenes without a room.
        valid_speech: Speech of the validation scenes; None for the rows of `speech` marked valid, else for
            talkers held out.
        test_speech: The same for the test scenes.
        valid_noise: Noise of the validation scenes; None for the rows of `noise` marked valid, else for
            the noise of training.
        test_noise: The same for the test scenes.
        valid_rooms: Rooms of the validation scenes; None for `rooms`.
        test_rooms: The same for the test scenes.
        scene: What kind of scenes.
        use_noise: False for scenes without noise, whatever `noise` says; the rest stays as it is, but for
            the margins around the speech in `max` mode, which only noise has.
        use_rooms: False for scenes without a room, whatever `rooms` says; the rest stays as it is.
        target: What `target` is: dry talkers, their direct path, or with all reflections. For SI-SDR in
            rooms take `direct`: `dry` lies up to half a sample beside it, which alone costs all above 6 to
            25 dB, and in measured rooms it lacks the colour of the device.
        parts: What else of a scene a batch has. Less to move between processes and to the device.
        scenes_per_epoch: Training scenes in an epoch on all devices together, rounded up so that every
            device gets as many.
        n_valid_scenes: Validation scenes.
        n_test_scenes: Test scenes.
        batch_size: Scenes in a batch on each device.
        num_workers: Processes that render scenes, for each device and each split in use; 0 for none.
        seed: Seed of the scenes.

    Example:
        >>> from data_modules import Whamr
        >>> from diffsr.simulation.draw import SceneSettings
        >>> data = Whamr(scene=SceneSettings(n_talkers=2, crop_s=1.0), n_test_scenes=3, num_workers=0)
        >>> data.setup("test")
        >>> next(iter(data.test_dataloader()))["target"].shape
        torch.Size([1, 2, 16000])
    """

    def __init__(
        self,
        speech: str | None = None,
        noise: str | None = None,
        rooms: str | list[str] | None = None,
        valid_speech: str | None = None,
        test_speech: str | None = None,
        valid_noise: str | None = None,
        test_noise: str | None = None,
        valid_rooms: str | list[str] | None = None,
        test_rooms: str | list[str] | None = None,
        scene: SceneSettings = _SETTINGS,
        use_noise: bool = True,
        use_rooms: bool = True,
        target: Target = "direct",
        parts: Sequence[Part] = PARTS,
        scenes_per_epoch: int = 1000,
        n_valid_scenes: int = 100,
        n_test_scenes: int = 100,
        batch_size: int = 1,
        num_workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {
            "scenes_per_epoch": (scenes_per_epoch, 1),
            "n_valid_scenes": (n_valid_scenes, 1),
            "n_test_scenes": (n_test_scenes, 1),
            "batch_size": (batch_size, 1),
            "num_workers": (num_workers, 0),
            "seed": (seed, 0),
        }
        for name, (value, least) in counts.items():
            if value < least:
                raise ConfigError(f"data.{name} is {value}, expected a number of at least {least}.")
        self.speech = str(STARTER) if speech is None else speech
        self.valid_speech, self.test_speech = valid_speech, test_speech
        self.noise = {"train": noise, "valid": valid_noise, "test": test_noise}
        self.rooms = {"train": rooms, "valid": valid_rooms or rooms, "test": test_rooms or rooms}
        self.scene, self.use_noise, self.use_rooms = scene, use_noise, use_rooms
        self.target, self.parts = target, parts
        self.n_scenes = {"train": scenes_per_epoch, "valid": n_valid_scenes, "test": n_test_scenes}
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.makers: dict[str, SceneMaker] = {}
        self._splits: Splits | None = None

    @property
    def rate_hz(self) -> int:
        """Sample rate of the scenes."""
        return self.scene.rate_hz

    def setup(self, stage: str | None = None) -> None:
        """Read what the stage needs: `fit`, `validate`, `test` or `predict`; None for all.

        Raises:
            DataError: A corpus is missing, empty or has too few talkers.
            ConfigError: The rooms cannot be had.
        """
        needed = {"fit": ("train", "valid"), "validate": ("valid",), "test": ("test",), "predict": ("test",)}
        for split in needed.get(stage or "", tuple(STREAMS)):
            if split not in self.makers:
                self.makers[split] = self._maker(split)

    def train_dataloader(self) -> DataLoader[Item]:
        """Scenes of the epoch."""
        world_size = 1 if self.trainer is None else self.trainer.world_size
        # Lightning would repeat scenes to fill up the last round of devices; we draw new ones.
        n_scenes = math.ceil(self.n_scenes["train"] / world_size) * world_size
        return self._loader("train", n_scenes, EpochSampler(n_scenes))

    def val_dataloader(self) -> DataLoader[Item]:
        """The fixed validation scenes."""
        return self._fixed("valid")

    def test_dataloader(self) -> DataLoader[Item]:
        """The fixed test scenes."""
        return self._fixed("test")

    def predict_dataloader(self) -> DataLoader[Item]:
        """The fixed test scenes."""
        return self._fixed("test")

    @property
    def summary(self) -> str:
        """What the scenes are made of, for cards; set-up comes first."""
        split, maker = next(iter(self.makers.items()))
        talkers = len({item.utterance.speaker for item in maker.speech} - {None})
        noise = "no noise" if maker.noise is None else f"{len(maker.noise)} noise recordings"
        rooms = "no rooms" if maker.rooms is None else f"rooms {_names(self.rooms[split])}"
        return (
            f"{corpus_name(self.speech)}, {split}: {len(maker.speech)} utterances, {talkers} labelled "
            f"talkers, {noise}, {rooms}; talkers: {self.scene.n_talkers}, microphones: "
            f"{self.scene.n_microphones}, {self.rate_hz} Hz, scenes {maker.fingerprint}"
        )

    def _fixed(self, split: str) -> DataLoader[Item]:
        return self._loader(split, self.n_scenes[split], Share.of(self, self.n_scenes[split]))

    def _loader(self, split: str, n_scenes: int, sampler: Sampler) -> DataLoader[Item]:  # type: ignore[type-arg]
        scenes = Scenes(self.makers[split], STREAMS[split], n_scenes, self.target, self.parts)
        return DataLoader(
            scenes,
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,  # they keep what they have read of the rooms
        )

    def _maker(self, split: str) -> SceneMaker:
        if self._splits is None:
            self._splits = three_ways(self.speech, self.valid_speech, self.test_speech)
        speech = getattr(self._splits, split)
        if not speech:
            raise DataError(
                f"{self.speech}: no speech for {split} scenes. Mark rows in a column 'split', or give a "
                f"manifest of its own{'' if split == 'train' else f' as data.{split}_speech'}."
            )
        noise = split_noise(split, self.noise["train"], self.noise[split]) if self.use_noise else None
        return SceneMaker(self.scene, speech, noise, self._room_source(split), self.seed, split)

    def _room_source(self, split: str) -> RoomSource | None:
        spec = self.rooms[split]
        if spec is None or not self.use_rooms:
            return None
        from diffsr.simulation.sources import open_rooms

        return open_rooms(spec, self.rate_hz)


def _names(spec: str | Sequence[str] | None) -> str:
    names = [spec] if isinstance(spec, str) else spec or []
    return " and ".join(corpus_name(name) for name in names)
