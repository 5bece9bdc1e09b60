"""Scenes mixed on the fly: batches, splits, workers, devices."""

import json
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import lightning
import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

from data_modules import Whamr
from data_modules.batches import collate
from data_modules.samplers import NOTHING, Share
from data_modules.splits import three_ways
from diffsr.errors import ConfigError, DataError
from diffsr.io.audio import write_audio
from diffsr.io.manifest import Utterance, read_manifest, write_manifest
from diffsr.simulation.draw import SceneSettings

RATE_HZ = 8000
LOADERS = {"fit": "train_dataloader", "validate": "val_dataloader", "test": "test_dataloader"}


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Eight talkers, three recordings of 0.8 to 1.2 s each."""
    folder = tmp_path_factory.mktemp("speech")
    for talker in range(8):
        for take in range(3):
            rng = torch.Generator().manual_seed(10 * talker + take)
            wave = 0.1 * torch.randn(1, RATE_HZ * (4 + take) // 5, generator=rng)
            write_audio(folder / f"t{talker}" / f"{take}.wav", wave, RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    for number in range(3):
        rng = torch.Generator().manual_seed(100 + number)
        write_audio(folder / f"n{number}.wav", 0.1 * torch.randn(1, 3 * RATE_HZ, generator=rng), RATE_HZ)
    return folder


def module_of(speech, noise, scene=None, **options):
    settings = {"rate_hz": RATE_HZ, "n_talkers": 2, **(scene or {})}
    sizes = {"scenes_per_epoch": 12, "n_valid_scenes": 4, "n_test_scenes": 5, "num_workers": 0}
    return Whamr(str(speech), str(noise), scene=SceneSettings(**settings), **{**sizes, **options})


class OnDevice:
    """What a data module asks its trainer."""

    def __init__(self, rank, world_size):
        self.global_rank, self.world_size = rank, world_size


def loader_of(module, stage, rank=0, world_size=1, epoch=0):
    """The loader as Lightning would make it on a device."""
    module.trainer = OnDevice(rank, world_size)
    module.setup(stage)
    loader = getattr(module, LOADERS[stage])()
    if stage == "fit":
        loader.sampler.set_epoch(epoch)
        if world_size > 1:
            sampler = DistributedSamplerWrapper(
                loader.sampler, num_replicas=world_size, rank=rank, shuffle=True, seed=0
            )
            sampler.set_epoch(epoch)
            options = {"batch_size": loader.batch_size, "collate_fn": loader.collate_fn}
            return torch.utils.data.DataLoader(loader.dataset, sampler=sampler, **options)
    return loader


def ids_of(*args, **options):
    return [name for batch in loader_of(*args, **options) for name in batch["id"]]


def test_a_batch(speech, noise):
    module = module_of(speech, noise, {"n_microphones": 2}, batch_size=4)
    [batch, _] = loader_of(module, "test")
    n_samples = int(batch["n_samples"].max())
    shapes = {
        "observation": (4, 2, n_samples),
        "target": (4, 2, n_samples),
        "dry": (4, 2, n_samples),
        "direct": (4, 2, 2, n_samples),
        "reverberant": (4, 2, 2, n_samples),
        "noise": (4, 2, n_samples),
    }
    assert {name: tuple(batch[name].shape) for name in shapes} == shapes
    assert all(batch[name].dtype == torch.float32 for name in shapes)
    assert batch["n_samples"].dtype == torch.int64
    assert len(set(batch["n_samples"].tolist())) > 1, "lengths differ, or padding is not tested"
    assert batch["rate_hz"] == [RATE_HZ] * 4
    assert torch.equal(batch["observation"], batch["reverberant"].sum(1) + batch["noise"])
    assert torch.equal(batch["target"], batch["direct"][:, :, 0])
    for number, length in enumerate(batch["n_samples"].tolist()):
        scene = module.makers["test"].scene(3, number)
        assert batch["id"][number] == scene.plan.id
        assert batch["plan"][number]["talkers"][0]["speaker"] == scene.plan.talkers[0].speaker
        assert torch.equal(batch["observation"][number, :, :length], scene.observation)
        assert not batch["observation"][number, :, length:].any()


@pytest.mark.parametrize("target", ["dry", "direct", "reverberant"])
def test_target_and_parts_are_chosen(speech, noise, target):
    [batch] = loader_of(module_of(speech, noise, target=target, parts=["dry"], batch_size=8), "validate")
    assert set(batch) == {"id", "n_samples", "problems", "observation", "target", "dry", "rate_hz", "plan"}
    scene = module_of(speech, noise)
    scene.setup("validate")
    part = getattr(scene.makers["valid"].scene(2, 1), target)
    expected = part if target == "dry" else part[:, 0]
    assert torch.equal(batch["target"][1, :, : expected.shape[-1]], expected)


def test_switches_leave_the_rest_as_it_is(speech, noise):
    with_noise = next(iter(loader_of(module_of(speech, noise), "test")))
    without = next(iter(loader_of(module_of(speech, noise, use_noise=False), "test")))
    assert with_noise["plan"][0]["noise"] is not None
    assert without["plan"][0]["noise"] is None
    assert not without["noise"].any()
    assert with_noise["plan"][0]["talkers"] == without["plan"][0]["talkers"]
    with_room = module_of(speech, noise, rooms="no such pool", use_rooms=False)
    assert next(iter(loader_of(with_room, "test")))["plan"][0]["room"] is None


def test_simulated_rooms(speech, noise):
    pytest.importorskip("pyroomacoustics")
    batch = next(iter(loader_of(module_of(speech, noise, rooms="simulate", n_test_scenes=1), "test")))
    assert batch["plan"][0]["room"]["rt60_s"] > 0
    assert not torch.equal(batch["direct"], batch["reverberant"])


def test_rooms_that_are_not_there(speech, noise):
    with pytest.raises((ConfigError, DataError), match="no such pool"):
        module_of(speech, noise, rooms="no such pool").setup("test")


def test_training_scenes_are_new_every_epoch_and_the_others_never(speech, noise):
    module = module_of(speech, noise)
    first, second = (ids_of(module, "fit", epoch=epoch) for epoch in (0, 1))
    assert len(set(first) | set(second)) == 24
    again = module_of(speech, noise)
    for stage in ("validate", "test"):
        waves = [batch["observation"] for batch in loader_of(module, stage)]
        assert all(
            torch.equal(wave, batch["observation"])
            for wave, batch in zip(waves, loader_of(again, stage), strict=True)
        )


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("stage", ["validate", "test"])
def test_devices_share_fixed_scenes(speech, noise, stage, world_size):
    """Each scene once, also where devices have unequal shares or none."""
    dealt = [
        ids_of(module_of(speech, noise), stage, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert sorted(sum(dealt, [])) == ids_of(module_of(speech, noise), stage)


@pytest.mark.parametrize(("world_size", "n_scenes"), [(1, 12), (2, 12), (3, 12), (5, 15)])
def test_devices_share_an_epoch(speech, noise, world_size, n_scenes):
    dealt = [
        ids_of(module_of(speech, noise), "fit", rank=rank, world_size=world_size, epoch=2)
        for rank in range(world_size)
    ]
    assert len({len(share) for share in dealt}) == 1
    names = sorted(sum(dealt, []))
    assert len(names) == len(set(names)) == n_scenes
    assert names[:12] == ids_of(module_of(speech, noise), "fit", epoch=2)


def test_a_device_without_items_has_an_empty_batch(speech, noise):
    [batch] = loader_of(module_of(speech, noise, n_test_scenes=2), "test", rank=2, world_size=3)
    assert batch["id"] == []
    assert batch["observation"].shape[0] == batch["target"].shape[0] == batch["n_samples"].shape[0] == 0
    assert list(Share(2, 2, 3)) == [NOTHING]


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_lightning_leaves_the_share_as_it_is(speech, noise, stage):
    """Lightning would put in samplers that repeat items, or fail with fewer items than devices."""
    from lightning.pytorch.trainer.states import RunningStage

    trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    connector = trainer._data_connector
    mode = {"validate": "VALIDATING", "test": "TESTING", "predict": "PREDICTING"}[stage]
    loader = loader_of(module_of(speech, noise), "test", rank=1, world_size=2)
    prepared = connector._prepare_dataloader(loader, shuffle=False, mode=RunningStage[mode])
    assert [name for batch in prepared for name in batch["id"]] == ["test-00003-00001", "test-00003-00003"]


def test_scenes_do_not_depend_on_workers(speech, noise):
    own = list(loader_of(module_of(speech, noise, batch_size=2), "test"))
    others = list(loader_of(module_of(speech, noise, batch_size=2, num_workers=2), "test"))
    assert [batch["plan"] for batch in own] == [batch["plan"] for batch in others]
    for batch, other in zip(own, others, strict=True):
        for name in ("observation", "target", "dry", "direct", "reverberant", "noise"):
            assert torch.equal(batch[name], other[name])


def test_scenes_travel_to_started_workers(speech, noise):
    """Where processes are spawned, the dataset is pickled."""
    loader = loader_of(module_of(speech, noise), "test")
    copy = pickle.loads(pickle.dumps(loader.dataset))
    assert torch.equal(copy[1]["observation"], loader.dataset[1]["observation"])


def test_no_talker_is_in_two_splits(speech, noise):
    module = module_of(speech, noise)
    module.setup()
    talkers = {
        split: {item.utterance.speaker for item in maker.speech} for split, maker in module.makers.items()
    }
    assert [len(talkers[split]) for split in ("train", "valid", "test")] == [4, 2, 2]
    assert len(set.union(*talkers.values())) == 8


def rows(*talkers, splits=None):
    """Rows of talkers, marked or not."""
    return [
        Utterance(id=f"{number}", path=f"{number}.wav", speaker=talker, split=(splits or {}).get(number))
        for number, talker in enumerate(talkers)
    ]


def split_of(tmp_path, name, utterances):
    for row in utterances:
        (tmp_path / row.path).touch()
    write_manifest(
        tmp_path / f"{name}.jsonl",
        [Utterance(**{**asdict(r), "path": tmp_path / r.path}) for r in utterances],
    )
    return str(tmp_path / f"{name}.jsonl")


def test_marked_rows_are_kept_and_shared_talkers_leave_training(tmp_path, caplog):
    marks = {0: "test", 1: "valid", 2: "train", 3: "train", 4: "train"}
    data = split_of(tmp_path, "data", rows("a", "b", "a", "b", "c", splits=marks))
    with caplog.at_level(logging.WARNING):
        train, valid, test = three_ways(data)
    assert [[row.speaker for row in part] for part in (train, valid, test)] == [["c"], ["b"], ["a"]]
    assert "rows marked train: their talkers are also in another split" in caplog.text


def test_recordings_without_labels_are_split_too(tmp_path):
    splits = three_ways(split_of(tmp_path, "data", rows(*[None] * 20)))
    names = [{row.id for row in part} for part in splits]
    assert [len(part) for part in names] == [16, 2, 2]
    assert len(set.union(*names)) == 20


def test_the_test_talkers_are_those_that_a_prior_has_not_heard(tmp_path, caplog):
    from data_modules.splits import train_and_valid

    with caplog.at_level(logging.WARNING):
        for talkers in ("abcdefghijklmnopqrstuvwxyz", "abcdef", "abcd", [None] * 3, [None] * 10):
            data = split_of(tmp_path, "data", rows(*talkers))
            heard = {row.speaker or row.id for row in train_and_valid(data, None)[0]}
            assert not heard & {row.speaker or row.id for row in three_ways(data).test}
    assert not caplog.records


def test_test_talkers_that_a_prior_has_heard_are_told(tmp_path, caplog):
    data = split_of(tmp_path, "data", rows(*"aabbcc"))
    with caplog.at_level(logging.WARNING):
        three_ways(data)
    assert "has 3 labelled talkers" in caplog.text
    assert "has heard the talker of the test scenes" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        three_ways(split_of(tmp_path, "data", rows(*"aabbcc", splits={0: "test", 1: "test"})))
    assert "has heard" not in caplog.text
    with caplog.at_level(logging.WARNING):
        three_ways(split_of(tmp_path, "data", rows(*"abcdefgh", splits={0: "valid", 1: "valid"})))
    assert "says which speech validates and not which tests" in caplog.text


def test_namesakes_in_other_corpora_are_told(tmp_path, caplog):
    data, other = split_of(tmp_path, "data", rows(*"abcdef")), split_of(tmp_path, "other", rows(*"abcdef"))
    with caplog.at_level(logging.WARNING):
        splits = three_ways(data, test=other)
    assert len(splits.test) == 6
    assert "talkers of the test speech have names that also train" in caplog.text


def test_too_few_talkers(tmp_path, speech, noise):
    data = split_of(tmp_path, "data", rows("a"))
    with pytest.raises(DataError, match="no speech for train scenes"):
        module_of(data, noise).setup("fit")
    with pytest.raises(DataError, match="3 different talkers; found 2"):
        module_of(speech, noise, {"n_talkers": 3}).setup("test")


def test_noise_is_split_where_it_is_marked(tmp_path, speech, noise):
    marked = [
        Utterance(id=f"n{n}", path=noise / f"n{n}.wav", split=split)
        for n, split in enumerate(("train", "valid", "test"))
    ]
    write_manifest(tmp_path / "noise.jsonl", marked)
    module = module_of(speech, tmp_path / "noise.jsonl")
    module.setup()
    used = {split: [item.utterance.id for item in maker.noise] for split, maker in module.makers.items()}
    assert used == {"train": ["n0"], "valid": ["n1"], "test": ["n2"]}
    unmarked = module_of(speech, noise, test_noise=str(tmp_path / "noise.jsonl"))
    unmarked.setup()
    assert [len(maker.noise) for maker in unmarked.makers.values()] == [3, 3, 1]
    write_manifest(tmp_path / "noise.jsonl", marked[2:])
    with pytest.raises(DataError, match="expected noise to train with"):
        module_of(speech, tmp_path / "noise.jsonl").setup("fit")


@pytest.mark.parametrize("name", ["scenes_per_epoch", "n_valid_scenes", "n_test_scenes", "batch_size"])
def test_numbers_that_cannot_be(name):
    with pytest.raises(ConfigError, match=f"data.{name} is 0, expected a number of at least 1"):
        Whamr(**{name: 0})


def test_bad_files_are_skipped_counted_and_told(tmp_path, speech, noise, caplog):
    for path in sorted(speech.rglob("*.wav")):
        target = tmp_path / "speech" / path.relative_to(speech)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes() if path.stem == "0" else path.read_bytes()[:3000])
    truncated = [
        Utterance(
            id=str(path), path=path, speaker=path.parent.name, rate_hz=RATE_HZ, n_samples=4 * RATE_HZ // 5
        )
        for path in sorted((tmp_path / "speech").rglob("*.wav"))
    ]
    write_manifest(tmp_path / "speech.jsonl", truncated)

    class Task(lightning.LightningModule):
        def test_step(self, batch):
            assert batch["observation"].isfinite().all()

    module = module_of(tmp_path / "speech.jsonl", noise)
    trainer = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    with caplog.at_level(logging.WARNING):
        trainer.test(Task(), datamodule=module)
    found = {problem for batch in loader_of(module, "test") for problem in batch["problems"]}
    assert found
    assert set(module.problems) == found
    assert f"Skipped in all: {len(found)} files or items; first: " in caplog.text


def test_problems_of_items_that_are_left_out():
    batch = collate([{"problems": ["one.wav is broken."]}, {"problems": []}])
    assert batch["problems"] == ["one.wav is broken."]
    assert batch["id"] == []


def test_summary(speech, noise):
    module = module_of(speech, noise)
    module.setup("test")
    assert (
        f"{speech.name}, test: 6 utterances, 2 labelled talkers, 3 noise recordings, no rooms"
        in module.summary
    )
    assert module.makers["test"].fingerprint in module.summary


def test_the_summary_names_folders_and_not_their_manifests(tmp_path, noise, speech):
    rng = torch.Generator().manual_seed(0)
    decay = torch.exp(-torch.arange(4000) / 600)
    response = 0.1 * decay * torch.randn(1, 4000, generator=rng)
    response[0, :100], response[0, 100] = 0.0, 1.0
    for name, rate_hz in (("low", RATE_HZ // 2), ("good", RATE_HZ)):
        write_audio(tmp_path / "hall" / f"{name}.wav", response, rate_hz, "FLOAT")
    for folder, rows_of in (("hall", tmp_path / "hall"), ("talk", speech)):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_manifest(tmp_path / folder / "manifest.jsonl", read_manifest(rows_of))
    hall = str(tmp_path / "hall" / "manifest.jsonl")
    module = module_of(tmp_path / "talk" / "manifest.jsonl", noise, {"n_talkers": 1}, rooms=hall)
    module.setup("test")
    assert module.summary.startswith("talk, test: ")
    assert ", rooms hall; " in module.summary
    assert set(module.makers["test"].rooms.rejected) == {"low"}  # below the rate of the scenes


def test_a_batch_of_different_channels_has_the_most():
    items = [
        {"id": str(n), "observation": torch.ones(n, 5 - n), "target": torch.ones(1, 5 - n), "problems": []}
        for n in (1, 2)
    ]
    for order in (items, items[::-1]):
        batch = collate(order)
        assert batch["observation"].shape == (2, 2, 4)
        assert batch["target"].shape == (2, 1, 4)
        assert batch["n_samples"].tolist() == [item["observation"].shape[1] for item in order]
        for item, row in zip(order, batch["observation"], strict=True):
            n_channels, n_samples = item["observation"].shape
            assert torch.equal(row[:n_channels, :n_samples], item["observation"])
            assert not row[n_channels:].any()


@pytest.mark.slow
def test_two_processes_share_all_scenes(speech, tmp_path):
    """Five test scenes and one validation scene on two devices: unequal shares, and one device with none."""
    root = Path(__file__).parents[2]
    script = [sys.executable, str(Path(__file__).parent / "two_devices.py"), str(tmp_path), str(speech)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        script, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    shares = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    together = {split: sorted(shares[0][split] + shares[1][split]) for split in shares[0]}
    assert together["train"] == [f"train-00001-{e:05d}-{n:05d}" for e in range(2) for n in range(6)]
    assert together["valid"] == ["valid-00002-00000"] * 2  # after each of the two epochs
    assert together["test"] == [f"test-00003-{n:05d}" for n in range(5)]
    assert [len(share["test"]) for share in shares] == [3, 2]
