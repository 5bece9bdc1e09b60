"""Files of weights: what comes back, and one message for each way in which it does not."""

from __future__ import annotations

import os

import pytest
import torch

from diffsr.errors import CheckpointError
from diffsr.io.weights import load_tensors, read_notes, save_tensors


def test_tensors_and_notes_come_back(tmp_path):
    path = tmp_path / "model.safetensors"
    written = {"a": torch.arange(3.0), "b.c": torch.ones(2, 3).T}
    save_tensors(written, path, {"rate": "16000"})
    read = load_tensors(path)
    assert read.keys() == written.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in written.items())
    assert read_notes(path) == {"rate": "16000"}


def test_a_missing_file_is_called_missing(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for path in (tmp_path / "raw.safetensors", tmp_path / "no" / "raw.safetensors", tmp_path / "link"):
        with pytest.raises(
            CheckpointError, match="No weights at .* copy or export the piece again"
        ) as caught:
            load_tensors(path, "piece")
        assert str(path) in str(caught.value)
        assert "permissions" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_there_all_the_same(tmp_path, monkeypatch):
    save_tensors({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CheckpointError, match="may not be read by this user. Change its permissions"):
        load_tensors(tmp_path / "a.safetensors")


def test_what_is_no_file_of_weights(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors({"a": torch.ones(100)}, path)
    for content in (b"", b"text", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read as safetensors weights"):
            load_tensors(path)
