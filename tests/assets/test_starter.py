"""The committed starter corpus is complete, clean, small and split by talker."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

STARTER = Path(__file__).resolve().parents[2] / "diffsr" / "assets" / "starter"
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def rows():
    return [
        json.loads(line) for line in (STARTER / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.fixture(scope="module")
def waves(rows):
    decoded = {}
    for row in rows:
        wave, rate_hz = soundfile.read(STARTER / row["path"], dtype="float32")
        assert rate_hz == row["rate_hz"] == RATE_HZ, row["id"]
        assert wave.shape == (row["n_samples"],), row["id"]
        decoded[row["id"]] = wave
    return decoded


def speakers_of(rows, **wanted):
    return {row["speaker"] for row in rows if all(row[key] == value for key, value in wanted.items())}


def test_manifest_and_folder_list_the_same_files(rows):
    on_disk = {path.relative_to(STARTER).as_posix() for path in STARTER.rglob("*.ogg")}
    assert {row["path"] for row in rows} == on_disk
    assert len({row["id"] for row in rows}) == len(rows)


def test_size_length_and_number_of_talkers(rows):
    assert sum(path.stat().st_size for path in STARTER.rglob("*") if path.is_file()) <= 4 * 2**20
    assert 10 <= sum(row["n_samples"] for row in rows) / RATE_HZ / 60 <= 15
    assert len(speakers_of(rows)) >= 30
    assert all(3.0 <= row["n_samples"] / RATE_HZ <= 8.0 for row in rows)


def test_splits_share_no_talker_and_hold_both_sexes(rows):
    splits = {split: speakers_of(rows, split=split) for split in ("train", "valid", "test")}
    assert sum(map(len, splits.values())) == len(speakers_of(rows))
    assert len(splits["valid"]) >= 5
    assert len(splits["test"]) >= 5
    for split in splits:
        assert speakers_of(rows, split=split, sex="F")
        assert speakers_of(rows, split=split, sex="M")


def test_held_out_voice_variants_are_not_trained_on(rows):
    splits_of_variant = defaultdict(set)
    for row in rows:
        splits_of_variant[row["speaker"].rsplit("-", 1)[1]].add(row["split"])
    assert all(len(splits) == 1 for splits in splits_of_variant.values())


def test_every_file_decodes_without_clipping_at_a_natural_level(rows, waves):
    active_dbfs = []
    for row in rows:
        wave = waves[row["id"]].astype(np.float64)
        assert np.abs(wave).max() < 0.9, row["id"]
        assert abs(wave.mean()) < 1e-3, row["id"]
        powers = np.mean(wave[: len(wave) // 320 * 320].reshape(-1, 320) ** 2, axis=1)
        active = powers[powers > np.percentile(powers, 95) * 10**-3.5]
        active_dbfs.append(10 * np.log10(active.mean()))
    assert min(active_dbfs) > -34
    assert max(active_dbfs) < -18
    assert np.mean(active_dbfs) == pytest.approx(-26, abs=1)
    assert np.std(active_dbfs) > 1


def test_speech_spans_lie_inside_the_file_and_hold_its_energy(rows, waves):
    for row in rows:
        start, end = (round(row[key] * RATE_HZ) for key in ("speech_start_s", "speech_end_s"))
        wave = waves[row["id"]]
        assert 0 <= start < end <= len(wave), row["id"]
        assert end - start > 2.048 * RATE_HZ, row["id"]
        assert np.sum(wave[start:end] ** 2) > 0.999 * np.sum(wave**2), row["id"]


def test_texts_are_varied(rows):
    assert len({row["text"] for row in rows}) == len(rows)


def test_licence_note_is_honest():
    note = (STARTER / "LICENSE.md").read_text(encoding="utf-8")
    for word in ("CC0", "espeak-ng", "not human speech"):
        assert word in note
