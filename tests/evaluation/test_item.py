import csv
import json
import math
from dataclasses import replace

import pytest
import torch

from diffsr.errors import ConfigError, DataError
from diffsr.evaluation.evaluate import evaluate
from diffsr.evaluation.item import Item, score_item, score_response, score_waves
from diffsr.evaluation.metrics import DEFAULT_METRICS, METRICS, TALKER_METRICS, score_pair
from diffsr.evaluation.results import Evaluation, Row
from diffsr.io.audio import read_audio, write_audio

RATE_HZ = 16000
FAST = ("si_sdr_db", "sdr_db")


def talkers(n=2, seed=0, seconds=0.5):
    return 0.1 * torch.randn(n, round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def scored(seed=0, item=None, level=0.3, metrics=FAST):
    """Two talkers in the wrong order, with errors of a third."""
    ref = talkers(seed=seed)
    est = ref.flip(0) + level * talkers(seed=seed + 1000)
    return score_item(est, ref, RATE_HZ, ref.sum(0), metrics, item)


def test_permutation_means_and_mixture():
    row, ref = scored(), talkers()
    est = ref.flip(0) + 0.3 * talkers(seed=1000)
    assert row.assignment == (1, 0)
    for name in FAST:
        by_talker = [score_pair(est[1 - k], ref[k], RATE_HZ, FAST)[name] for k in (0, 1)]
        before = [score_pair(ref.sum(0), ref[k], RATE_HZ, FAST)[name] for k in (0, 1)]
        assert row.output_by_talker[name] == pytest.approx(by_talker, abs=1e-4)
        assert row.input_by_talker[name] == pytest.approx(before, abs=1e-4)
        assert row.output[name] == pytest.approx(sum(by_talker) / 2, abs=1e-4)
        assert row.improvement(name) == pytest.approx(sum(by_talker) / 2 - sum(before) / 2, abs=1e-4)
    assert row.duration_s == 0.5
    assert row.input["si_sdr_db"] == pytest.approx(0, abs=0.5)


def test_one_talker_is_the_pair():
    ref = talkers(1)
    est = ref + 0.1 * talkers(1, seed=9)
    row = score_item(est, ref, RATE_HZ)
    assert row.output == pytest.approx(score_pair(est[0], ref[0], RATE_HZ), nan_ok=True)
    assert (row.assignment, dict(row.input)) == ((0,), {})
    assert math.isnan(row.improvement("si_sdr_db"))


def test_channels_are_not_permuted():
    ref = talkers(2)
    row = score_waves(ref.flip(0), ref, RATE_HZ, metrics=FAST)
    assert row.output["si_sdr_db"] < -10
    assert row.assignment == ()


def test_scores_without_reference_of_the_mixture_are_computed_once(monkeypatch):
    calls = []

    def score(est, ref, rate_hz):
        calls.append(est.shape)
        return est.square().mean(-1)

    metric = METRICS["si_sdr_db"].__class__("loudness", "loudness", 1, score, needs_reference=False)
    monkeypatch.setitem(METRICS, "loudness", metric)
    ref = talkers()
    row = score_item(ref, ref, RATE_HZ, ref.sum(0), ("loudness",))
    assert calls == [(2, 8000), (1, 8000)]
    assert row.input_by_talker["loudness"] == (row.input["loudness"],) * 2


def test_a_silent_estimate_is_a_failure_not_a_better_mean():
    ref = talkers()
    est = torch.stack([ref[1], torch.zeros_like(ref[0])])
    row = score_item(est, ref, RATE_HZ, ref.sum(0), FAST)
    assert row.assignment == (1, 0)
    assert math.isnan(row.output["si_sdr_db"])
    assert row.output_by_talker["si_sdr_db"][1] > 100
    assert row.is_lost("si_sdr_db")
    part = Evaluation([row, scored(1)]).summary("si_sdr_db", "improvement")
    assert (part.n, part.n_nan, part.n_worse, part.n_compared, part.share_worse) == (1, 1, 1, 2, 0.5)


def test_a_silent_reference_is_not_the_fault_of_the_estimate():
    ref = talkers()
    ref[0] = 0
    row = score_item(talkers(), ref, RATE_HZ, talkers().sum(0), FAST)
    assert math.isnan(row.output["si_sdr_db"])
    assert not row.is_lost("si_sdr_db")


@pytest.mark.parametrize(
    ("est", "ref", "mixture", "message"),
    [
        (
            talkers(3),
            talkers(2),
            None,
            r"estimates of item x have shape \[3, 8000\].* same number of talkers",
        ),
        (talkers(2)[0], talkers(2)[0], None, r"shape \[8000\]"),
        (
            talkers(2, seconds=0.6),
            talkers(2),
            None,
            "estimates of item x have 9600 samples and the references 8000",
        ),
        (talkers(2), talkers(2), talkers(1, seconds=0.1)[0], "mixture of item x have 1600 samples"),
        (
            talkers(2),
            talkers(2),
            talkers(2),
            r"mixture of item x has shape \[2, 8000\], expected one channel",
        ),
        (torch.ones(2, 0), torch.ones(2, 0), None, "0 samples"),
    ],
)
def test_shapes_that_do_not_fit(est, ref, mixture, message):
    with pytest.raises(DataError, match=message):
        score_item(est, ref, RATE_HZ, mixture, FAST, Item("x"))


def test_response_errors():
    t = torch.arange(16000) / RATE_HZ
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(2))

    def response(rt60, direct):
        h = noise * 10 ** (-3 * t / rt60)
        return torch.cat([torch.tensor([direct * float(h[100:].norm())]), torch.zeros(99), h[100:]])

    found = score_response(response(0.5, 2.0)[:12000], response(0.4, 1.0), RATE_HZ)
    assert found["rt60_error_s"] == pytest.approx(0.1, abs=0.02)
    assert found["drr_error_db"] == pytest.approx(20 * math.log10(2), abs=0.05)
    stronger = response(0.4, 1.0)
    stronger[1000] = 2 * float(stronger[0])  # a reflection above the direct path, which stays where it is
    # As much energy in the direct path as in the tail, and four times as much in the reflection.
    found = score_response(stronger, response(0.4, 1.0), RATE_HZ)
    assert found["drr_error_db"] == pytest.approx(10 * math.log10(1 + 4), abs=0.05)
    one = torch.nn.functional.one_hot(torch.tensor(0), 8000).float()
    assert all(math.isnan(value) for value in score_response(one, response(0.4, 1.0), RATE_HZ).values())


def test_lower_is_better_in_tables():
    rows = [
        Row("a", 1.0, {"rt60_error_s": 0.3, "delay_ms": 1.0}, {"rt60_error_s": 0.1, "delay_ms": 0.0}),
        Row("b", 1.0, {"rt60_error_s": 0.1, "delay_ms": 1.0}, {"rt60_error_s": 0.4, "delay_ms": 0.0}),
        Row("c", 1.0, {"si_sdr_db": 1.0}),
    ]
    found = Evaluation(rows)
    part = found.summary("rt60_error_s", "improvement")
    assert (part.mean, part.worst) == (pytest.approx(0.05), pytest.approx(-0.2))
    assert (part.n_worse, part.n_compared, part.n_nan) == (1, 2, 0)  # c has no such score: not a NaN
    assert found.summary("rt60_error_s").worst == 0.3
    lines = found.to_text().splitlines()
    assert lines[3].split()[3:] == ["0.250", "0.200", "+0.050", "2", "0"]
    assert [line.split("  ")[0] for line in lines[5:11]] == [
        *("improvement", "T60 error (s)", "", "output", "SI-SDR (dB)", "delay (ms)")
    ]
    assert lines[6].endswith("-0.200  1 of 2 (50%)")
    assert lines[10].split()[-1] == "-"  # no delay is the worst
    assert found.where(lambda row: row.id == "c").metrics == [METRICS["si_sdr_db"]]


def test_rows_survive_json_and_take_further_scores():
    item = Item(
        "a", {"snr_db": -3.5, "system": "wpe", "oracle": False, "room": None}, ("p1", "p2"), ("note",)
    )
    ref = talkers()
    row = score_item(torch.stack([ref[1], 0 * ref[0]]), ref, RATE_HZ, ref.sum(0), FAST, item)
    text = json.dumps(row.to_dict(), allow_nan=False)
    again = Row.from_dict(json.loads(text))
    assert again.parameters == item.parameters
    assert (again.groups, again.assignment, again.notes) == (row.groups, row.assignment, row.notes)
    assert again.output == pytest.approx(row.output, nan_ok=True)
    assert again.input_by_talker == row.input_by_talker
    more = replace(again, output={**again.output, "rt60_error_s": 0.1})
    assert (more.output["rt60_error_s"], list(again.output)) == (0.1, list(FAST))
    assert [metric.name for metric in Evaluation([again, more]).metrics] == [*FAST, "rt60_error_s"]


def test_csv_has_parameters_talkers_and_groups(tmp_path):
    rows = [
        scored(k, Item(f"i{k}", {"n_talkers": 2, "snr_db": k, "room": None}, (f"p{k}", "q"))) for k in (0, 1)
    ]
    rows.append(
        score_item(talkers(1), talkers(1, 7), RATE_HZ, metrics=FAST, item=Item("one", {"rt60_s": 0.3}))
    )
    Evaluation(rows).write_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0])[:6] == ["id", "duration_s", "n_talkers", "snr_db", "room", "rt60_s"]
    assert list(lines[0])[6:11] == [
        *("si_sdr_db_input", "si_sdr_db_output", "si_sdr_db_improvement"),
        *("si_sdr_db_s1", "si_sdr_db_s2"),
    ]
    assert list(lines[0])[-3:] == ["assignment", "groups", "notes"]
    assert (lines[1]["snr_db"], lines[1]["room"], lines[1]["assignment"], lines[1]["groups"]) == (
        "1",
        "",
        "2 1",
        "p1;q",
    )
    assert float(lines[0]["si_sdr_db_s2"]) == pytest.approx(
        rows[0].output_by_talker["si_sdr_db"][1], abs=1e-3
    )
    assert (lines[2]["rt60_s"], lines[2]["si_sdr_db_input"], lines[2]["assignment"]) == ("0.3", "", "")


def test_parameter_called_like_a_score(tmp_path):
    row = Row("a", 1.0, {"estoi": 0.5}, parameters={"estoi_output": 1})
    with pytest.raises(DataError, match="called estoi_output, like columns of the scores"):
        Evaluation([row]).write_csv(tmp_path / "scores.csv")


@pytest.fixture
def corpus(tmp_path):
    """Two mixtures of two talkers; of the second the estimates are exchanged."""
    for k, name in enumerate(("a", "sub/b")):
        ref = talkers(seed=k)
        est = ref + 0.2 * talkers(seed=k + 50)
        for s in (0, 1):
            write_audio(tmp_path / f"ref/s{s + 1}/{name}.flac", ref[s : s + 1], RATE_HZ)
            write_audio(tmp_path / f"est/s{s + 1}/{name}.wav", est[[(s + k) % 2]], RATE_HZ)
        write_audio(tmp_path / f"mix/{name}.wav", ref.sum(0, keepdim=True), RATE_HZ)
    return tmp_path


def test_folders_of_talkers(corpus):
    found = evaluate(corpus / "est", corpus / "ref", corpus / "mix", metrics=FAST)
    assert [(row.id, row.assignment) for row in found.rows] == [("a", (0, 1)), ("sub/b", (1, 0))]
    assert all(row.output["si_sdr_db"] > 12 for row in found.rows)
    assert all(abs(row.input["si_sdr_db"]) < 1 for row in found.rows)
    given = evaluate(corpus / "est", corpus / "ref", talkers=("s2", "s1"), metrics=FAST)
    assert [row.assignment for row in given.rows] == [(0, 1), (1, 0)]
    crossed = evaluate(corpus / "est", corpus / "ref", talkers=("s1:s2", "s2:s1"), metrics=FAST)
    assert [row.assignment for row in crossed.rows] == [(1, 0), (0, 1)]
    alone = evaluate(corpus / "est/s1", corpus / "ref/s1", metrics=FAST)
    assert [row.output["si_sdr_db"] > 12 for row in alone.rows] == [True, False]


def test_talkers_are_scored_together(corpus):
    found = evaluate(
        corpus / "est", corpus / "ref", corpus / "mix", metrics=(*FAST, "si_sdr_64ms_db", "swaps")
    )
    for row in found.rows:
        assert row.output["si_sdr_64ms_db"] >= row.output["si_sdr_db"]
        assert row.output["swaps"] == 0
        assert row.input["si_sdr_64ms_db"] == pytest.approx(row.input["si_sdr_db"])
        assert "swaps" not in row.input
    assert "swaps" in found.to_text()
    by_default = evaluate(corpus / "est", corpus / "ref").rows[0].output
    assert set(by_default) == {*DEFAULT_METRICS, *TALKER_METRICS}
    with pytest.raises(ConfigError, match=r"swaps tells how several talkers were separated, and there is"):
        evaluate(corpus / "est/s1", corpus / "ref/s1", metrics=("swaps",))


def test_incomplete_items_of_talkers(corpus):
    (corpus / "est/s2/a.wav").unlink()
    found = evaluate(corpus / "est", corpus / "ref", corpus / "mix", metrics=FAST)
    assert [row.id for row in found.rows] == ["sub/b"]
    assert found.unmatched == {"est": ["a"], "ref": ["a"], "input": ["a"]}


def test_of_several_talkers_the_first_channel_is_scored(corpus):
    alone = evaluate(corpus / "est", corpus / "ref", corpus / "mix", metrics=FAST).rows[0]
    for path in (corpus / "ref/s1/a.flac", corpus / "ref/s2/a.flac", corpus / "mix/a.wav"):
        first, _ = read_audio(path)
        write_audio(path, torch.cat([first, torch.randn_like(first)]), RATE_HZ)
    found = evaluate(corpus / "est", corpus / "ref", corpus / "mix", metrics=FAST).rows[0]
    assert (found.output, found.input) == (alone.output, alone.input)
    assert found.notes == ("reference: channel 1 of 2", "input: channel 1 of 2")


def test_folders_of_speakers_are_told_from_talkers_by_the_user(corpus):
    for k, name in enumerate(("s1/p", "s2/q")):
        write_audio(corpus / f"restored/{name}.wav", talkers(1, seed=k), RATE_HZ)
        write_audio(corpus / f"clean/{name}.wav", talkers(1, seed=k), RATE_HZ)
    with pytest.raises(DataError, match=r"s1, s2 .* were taken for the talkers .* give --talkers ''"):
        evaluate(corpus / "restored", corpus / "clean", metrics=FAST)
    found = evaluate(corpus / "restored", corpus / "clean", metrics=FAST, talkers=())
    assert [row.id for row in found.rows] == ["s1/p", "s2/q"]


def test_talkers_that_do_not_fit(corpus):
    write_audio(corpus / "est/s3/a.wav", talkers(1), RATE_HZ)
    with pytest.raises(DataError, match="has s1, s2, s3 and .* has s1, s2, expected the same talkers"):
        evaluate(corpus / "est", corpus / "ref")
    assert len(evaluate(corpus / "est", corpus / "ref", talkers=("s1", "s2"), metrics=FAST).rows) == 2
    with pytest.raises(DataError, match="s9 does not exist"):
        evaluate(corpus / "est", corpus / "ref", talkers=("s1", "s9"))
    with pytest.raises(DataError, match="not all different"):
        evaluate(corpus / "est", corpus / "ref", talkers=("s1", "s1"))
    with pytest.raises(DataError, match="is a file, expected a folder with a sub-folder for each talker"):
        evaluate(corpus / "mix/a.wav", corpus / "mix/a.wav", talkers=("s1", "s2"))


def test_without_references(corpus, monkeypatch):
    metric = METRICS["si_sdr_db"].__class__(
        "loudness", "loudness", 1, lambda est, ref, rate_hz: est.abs().amax(-1), needs_reference=False
    )
    monkeypatch.setitem(METRICS, "loudness", metric)
    from diffsr.evaluation.metrics import ALL_METRICS

    monkeypatch.setitem(ALL_METRICS, "loudness", metric)
    found = evaluate(corpus / "mix", None, metrics=("loudness",))
    assert [row.id for row in found.rows] == ["a", "sub/b"]
    assert list(found.unmatched) == ["est"]
    with pytest.raises(
        ConfigError, match="No clean references are given, but si_sdr_db, sdr_db, pesq_wb, estoi"
    ):
        evaluate(corpus / "mix", None)
