"""Weights that cannot be used: what was found, what to do, and nothing stored in them is run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from diffsr.diffusion import Prior
from diffsr.errors import CheckpointError
from diffsr.networks import NETWORKS, TFTransformer


def export(folder: Path, rate_hz: int = 16_000, **network: int) -> Path:
    torch.manual_seed(0)
    shape = {"width": 16, "depth": 1, "heads": 2, **network}
    return Prior(TFTransformer(**shape), rate_hz, window_s=1.0).save_pretrained(folder)


def change(folder: Path, **keys: object) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | keys))


def refused(source: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Prior.from_pretrained(source)
    return str(caught.value)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.mark,))  # type: ignore[return-value]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_wants_to_run_code(tmp_path: Path, zipped: bool) -> None:
    mark, path = tmp_path / "ran", tmp_path / "trap.ckpt"
    torch.save({"state_dict": {}, "x": Trap(mark)}, path, _use_new_zipfile_serialization=zipped)
    message = refused(path)
    assert "trap.ckpt cannot be loaded as plain weights" in message
    assert "diffsr fit" in message
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # the trap is one


def test_a_pickle_in_the_place_of_safetensors(tmp_path: Path) -> None:
    folder, mark = export(tmp_path / "prior"), tmp_path / "ran"
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(mark)))
    message = refused(folder)
    assert "model.safetensors cannot be read as safetensors weights" in message
    assert "Copy or export the prior again" in message
    assert not mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_weights_cut_short_anywhere(tmp_path: Path, share: float) -> None:
    weights = export(tmp_path) / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    message = refused(tmp_path)
    assert "model.safetensors cannot be read" in message
    assert "Copy or export the prior again" in message


@pytest.mark.parametrize(
    "content", [b"RIFF\x24\x00\x00\x00WAVEfmt ", b"# Notes", b"path,speaker\n", b"\x89PNG\r\n", b"c"]
)
def test_other_files_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    message = refused(path)
    assert "last.ckpt cannot be loaded as plain weights. Expected a checkpoint" in message
    assert "weights_only" not in message  # nobody is told to switch the protection off


@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
def test_a_checkpoint_cut_short(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"prior.a": torch.zeros(10_000)}, "diffsr_prior": {}}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "cannot be loaded as plain weights" in refused(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"state_dict": {"dnn.weight": torch.zeros(2)}}, "holds no diffsr prior"),
        ({"model": torch.zeros(2)}, "holds no diffsr prior"),
        (torch.zeros(2), "holds a Tensor; expected a checkpoint of `diffsr fit`"),
    ],
)
def test_a_checkpoint_of_somebody_else(tmp_path: Path, content: object, expected: str) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    message = refused(path)
    assert expected in message
    assert "diffsr fit" in message


def test_safetensors_of_somebody_else(tmp_path: Path) -> None:
    folder = export(tmp_path)
    save_file({"dnn.weight": torch.zeros(2)}, folder / "model.safetensors")
    assert "must come from one export" in refused(folder)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"tf_transformer"}))
def test_weights_of_another_backbone(tmp_path: Path, name: str) -> None:
    folder = export(tmp_path)
    change(folder, network={"name": name})
    message = refused(folder)
    assert "do not fit its configuration" in message
    assert "must come from one export" in message


def test_an_unknown_backbone_lists_the_known_ones(tmp_path: Path) -> None:
    change(export(tmp_path), network={"name": "of_tomorrow"})
    message = refused(tmp_path)
    assert "of_tomorrow" in message
    assert all(name in message for name in NETWORKS)


def test_another_version(tmp_path: Path) -> None:
    change(export(tmp_path), format="diffsr-prior/1")
    message = refused(tmp_path)
    assert "has format 'diffsr-prior/1'; this version of diffsr reads 'diffsr-prior/2'" in message
    assert "Use the version of diffsr that exported it" in message


def test_weights_of_another_rate(tmp_path: Path) -> None:
    """The shapes are the same at every rate."""
    export(tmp_path / "eight", rate_hz=8000)
    export(tmp_path / "sixteen")
    (tmp_path / "eight" / "model.safetensors").replace(tmp_path / "sixteen" / "model.safetensors")
    message = refused(tmp_path / "sixteen")
    assert "config.yaml has rate_hz 16000, and the weights were saved for 8000" in message
    assert "must come from one export" in message


def test_another_level(tmp_path: Path) -> None:
    change(export(tmp_path), sigma_data=0.1)
    assert "has sigma_data 0.1, and the weights were saved for 0.05" in refused(tmp_path)


def test_weights_without_notes_load(tmp_path: Path) -> None:
    folder = export(tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file(weights, folder / "model.safetensors")
    assert Prior.from_pretrained(folder).rate_hz == 16_000


def test_the_window_may_be_changed(tmp_path: Path) -> None:
    change(export(tmp_path), window_s=2.0)
    assert Prior.from_pretrained(tmp_path).window_s == 2.0
