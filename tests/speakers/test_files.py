"""Encoders as files: what is written loads the same, and what cannot be used says why."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from diffsr.diffusion import Prior
from diffsr.errors import CheckpointError
from diffsr.speakers import SpeakerEncoder


def small(rate_hz: int = 16_000) -> SpeakerEncoder:
    torch.manual_seed(0)
    return SpeakerEncoder(rate_hz, n_mels=32, width=16, depth=1, embedding_dim=8).eval()


def change(folder: Path, **keys: object) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | keys))


def refused(source: Path | str, rate_hz: int | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        SpeakerEncoder.from_pretrained(source, rate_hz)
    return str(caught.value)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_round_trip(tmp_path, rate_hz):
    encoder, wave = small(rate_hz), torch.randn(2, rate_hz)
    loaded = SpeakerEncoder.from_pretrained(encoder.save_pretrained(tmp_path), rate_hz)
    assert loaded.config == encoder.config
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with torch.no_grad():
        assert torch.equal(loaded(wave), encoder(wave))


def test_half_the_bytes_say_the_same(tmp_path):
    encoder, wave = small(), torch.randn(2, 16_000)
    encoder.save_pretrained(tmp_path / "full")
    encoder.save_pretrained(tmp_path / "half", dtype="bfloat16")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.7 * sizes[1]
    loaded = SpeakerEncoder.from_pretrained(tmp_path / "half")
    assert loaded.project.weight.dtype == torch.float32
    with torch.no_grad():
        assert float((loaded(wave) * encoder(wave)).sum(-1).min()) > 0.99


def test_nothing_there_names_what_ships():
    message = refused("speaker-of-tomorrow")
    assert "No speaker encoder at speaker-of-tomorrow" in message
    assert "a name that ships with diffsr" in message


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_weights_cut_short(tmp_path, share):
    weights = small().save_pretrained(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(share * weights.stat().st_size)])
    message = refused(tmp_path)
    assert "model.safetensors cannot be read" in message
    assert "Copy or export the speaker encoder again" in message


def test_weights_that_want_to_run_code(tmp_path):
    (small().save_pretrained(tmp_path) / "model.safetensors").write_bytes(pickle.dumps(print))
    assert "cannot be read as safetensors" in refused(tmp_path)


def test_a_prior_is_no_encoder(tiny_prior_folder: Path, tmp_path):
    message = refused(tiny_prior_folder)
    assert "this version of diffsr reads 'diffsr-speaker-encoder/1'" in message
    with pytest.raises(CheckpointError, match="diffsr-speaker-encoder/1"):
        Prior.from_pretrained(small().save_pretrained(tmp_path))


def test_another_rate_than_asked_for(tmp_path):
    message = refused(small(8_000).save_pretrained(tmp_path), rate_hz=16_000)
    assert "is for 8000 Hz, expected one for 16000 Hz" in message


def test_weights_of_another_rate(tmp_path):
    """The shapes are the same at every rate."""
    small(8_000).save_pretrained(tmp_path / "eight")
    small().save_pretrained(tmp_path / "sixteen")
    (tmp_path / "eight" / "model.safetensors").replace(tmp_path / "sixteen" / "model.safetensors")
    message = refused(tmp_path / "sixteen")
    assert "config.yaml has rate_hz 16000, and the weights were saved for 8000" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"width": 24}, "do not fit its configuration"),
        ({"width": "wide"}, "does not describe a speaker encoder"),
        ({"colour": 3}, "does not describe a speaker encoder"),
        ({"format": "diffsr-speaker-encoder/2"}, "Use the version of diffsr that exported it"),
    ],
)
def test_configurations_that_do_not_fit(tmp_path, changes, expected):
    change(small().save_pretrained(tmp_path), **changes)
    assert expected in refused(tmp_path)


def test_weights_that_are_no_numbers(tmp_path):
    path = small().save_pretrained(tmp_path) / "model.safetensors"
    weights = load_file(path)
    weights["project.bias"][0] = float("nan")
    save_file(weights, path)
    assert "hold NaN or infinite values, first in project.bias" in refused(tmp_path)


def test_parts_missing(tmp_path):
    (small().save_pretrained(tmp_path) / "config.yaml").unlink()
    assert "is not a speaker encoder folder: config.yaml missing" in refused(tmp_path)


def test_a_checkpoint_of_something_else(tmp_path):
    torch.save({"state_dict": {}, "diffsr_prior": {}}, tmp_path / "last.ckpt")
    assert "holds no diffsr speaker encoder" in refused(tmp_path / "last.ckpt")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        small().save_pretrained(tmp_path / "file")
