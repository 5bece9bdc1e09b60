import lightning
import pytest
import torch

from data_modules import Folder
from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.io.audio import write_audio


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "sub/a.wav", "sub/b.flac", "b.wav", "b.ogg"):
        write_audio(tmp_path / "in" / name, torch.zeros(1, 800), 16000)
    (tmp_path / "in" / "bad.wav").write_text("no recording")
    return tmp_path / "in"


def items_of(source, batch_size=1):
    module = Folder(str(source), batch_size)
    module.setup("predict")
    return list(module.predict_dataloader())


def test_every_file_is_listed_and_none_read(folder):
    batches = items_of(folder)
    assert all(len(batch) == 1 for batch in batches)
    assert [batch[0]["id"] for batch in batches] == ["a", "b", "b", "bad", "sub/a", "sub/b"]
    assert batches[-1][0]["path"] == str(folder / "sub" / "b.flac")


def test_batches_of_several_files(folder):
    assert [len(batch) for batch in items_of(folder, batch_size=4)] == [4, 2]


def test_a_single_file(folder):
    assert items_of(folder / "sub" / "a.wav") == [[{"id": "a", "path": str(folder / "sub" / "a.wav")}]]


def test_sources_without_recordings(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, error in {
        tmp_path / "missing": AudioError,
        tmp_path / "empty": DataError,
        folder / "bad.wav": AudioError,
    }.items():
        with pytest.raises(error):
            items_of(source)


def test_predict_hands_every_file_over_once(folder):
    class Task(lightning.LightningModule):
        def predict_step(self, batch):
            return [item["id"] for item in batch]

    trainer = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    got = trainer.predict(Task(), datamodule=Folder(str(folder), batch_size=4))
    assert sum(got, []) == ["a", "b", "b", "bad", "sub/a", "sub/b"]


@pytest.mark.parametrize("world_size", [1, 4, 8])
def test_devices_share_the_files(folder, world_size):
    """Each file once, also with more devices than files."""

    class OnDevice:
        def __init__(self, rank):
            self.global_rank, self.world_size = rank, world_size

    dealt = []
    for rank in range(world_size):
        module = Folder(str(folder), batch_size=2)
        module.trainer = OnDevice(rank)
        module.setup("predict")
        batches = list(module.predict_dataloader())
        assert batches, "without a batch Lightning skips the end of the epoch on this device"
        dealt += [item["path"] for batch in batches for item in batch]
    assert sorted(dealt) == [item["path"] for [item] in items_of(folder)]


def test_a_batch_of_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="batch_size is 0; expected at least 1"):
        Folder(str(tmp_path), 0)
