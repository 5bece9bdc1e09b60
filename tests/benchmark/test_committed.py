"""The lists of the benchmark keep its rules; none of their audio is needed."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from diffsr.benchmark.items import ItemList, committed_list, count_strata, files_of
from diffsr.benchmark.spread import family
from diffsr.benchmark.tracks import SPLITS, TRACKS
from diffsr.simulation.plan import MeasuredRoom, Room

LISTS = [(track, split) for track in TRACKS for split in SPLITS]


@pytest.fixture(params=LISTS, ids=lambda names: "_".join(names))
def found(request: pytest.FixtureRequest) -> ItemList:
    return committed_list(*request.param)


def test_counts(found):
    pairs_of_valid = found.split == "valid" and TRACKS[found.track].n_talkers == 2
    assert len(found.items) == (37 if pairs_of_valid else 50)
    assert any("37 items instead of 50" in note for note in found.notes) == pairs_of_valid
    assert sum(item.subset for item in found.items) == 20
    assert [item.id for item in found.items] == [
        f"{found.track}-{found.split}-{n:02d}" for n in range(len(found.items))
    ]


def test_files(found):
    assert {path for item in found.items for path in files_of(item.plan)} == set(found.files)
    assert all(re.fullmatch(r"[0-9a-f]{12}", digest) for digest in found.files.values())
    assert all(re.match(r"(speech|noise|rir)/", path) and ".." not in path for path in found.files)
    own = ("speech/test/", "noise/test/", "rir/test/")
    other = ("speech/valid/", "noise/train/", "rir/train/")
    assert all(path.startswith(own if found.split == "test" else other) for path in found.files)


def test_crops_and_uses(found):
    n_talkers = TRACKS[found.track].n_talkers
    uses = Counter(talker.path for item in found.items for talker in item.plan.talkers)
    assert max(uses.values()) <= 2
    for item in found.items:
        assert 4.0 <= item.plan.duration_s <= 8.0
        assert item.plan.rate_hz == 16000
        assert len(set(item.plan.speakers)) == n_talkers == len(item.plan.talkers)
        assert len(item.rms_db) == 1 + n_talkers
    turns = [name for item in found.items for name in item.plan.speakers]
    n_all = len(set(turns))
    assert n_all == (32 if found.split == "test" else 22)  # every talker with a file of 4 s or more
    if n_talkers == 1:
        assert len(set(turns[:n_all])) == n_all  # once before any comes twice


def test_pairs(found):
    if TRACKS[found.track].n_talkers == 1:
        assert {item.pair for item in found.items} == {None}
        return
    counts = count_strata(found)
    assert abs(counts["within"] - counts["across"]) <= 1
    assert count_strata_of_subset(found) == {"within": 10, "across": 10}
    for item in found.items:
        first, second = (family(talker.corpus) for talker in item.plan.talkers)
        assert (first == second) == (item.pair == "within")
        assert 0 <= item.plan.talkers[0].gain_db - item.plan.talkers[1].gain_db <= 5
    assert len({frozenset(item.plan.speakers) for item in found.items}) == len(
        found.items
    )  # no pair meets twice


def count_strata_of_subset(found: ItemList) -> dict[str, int]:
    return dict(Counter(item.pair for item in found.items if item.subset))


def test_noise_and_rooms(found):
    track = TRACKS[found.track]
    for item in found.items:
        assert (item.plan.noise is None) == (track.snr_db is None)
        if track.snr_db:
            assert track.snr_db[0] <= item.plan.noise.snr_db <= track.snr_db[1]
            assert item.plan.snr_by == track.snr_by
        kinds = {"simulated": Room, "measured": MeasuredRoom, None: type(None)}
        assert isinstance(item.plan.room, kinds[item.response])
    if found.track in ("dereverb", "denoise_dereverb"):
        assert count_strata(found) == {"simulated": 25, "measured": 25}
        uses = Counter(item.plan.room.ids[0] for item in found.items[1::2])
        assert max(uses.values()) <= 2
    if found.track == "joint":
        assert {item.response for item in found.items} == {"simulated"}


def test_split_lists_share_nothing():
    for track in TRACKS:
        test, valid = (committed_list(track, split) for split in SPLITS)
        assert not set(test.files) & set(valid.files)
        assert not set(test.files.values()) & set(valid.files.values())
        talkers = [{name for item in found.items for name in item.plan.speakers} for found in (test, valid)]
        assert not talkers[0] & talkers[1]
