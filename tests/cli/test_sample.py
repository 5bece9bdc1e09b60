"""`diffsr sample`: files that do not depend on the count, that are kept, and errors before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch

from diffsr.diffusion import Prior
from diffsr.networks import TFTransformer
from diffsr.report import samples

FAST = ("--seconds", "0.3", "--steps", "3")


def save_prior(folder: Path, seed: int = 0, window_s: float = 1.0, rate_hz: int = 16000) -> Path:
    torch.manual_seed(seed)
    prior = Prior(TFTransformer(width=16, depth=1, heads=2), rate_hz, window_s=window_s)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return prior.save_pretrained(folder)


@pytest.fixture
def prior(shell) -> Path:
    return save_prior(shell.folder / "prior")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.wav"))}


def test_samples_depend_on_seed_and_number_not_on_the_count(shell, prior: Path) -> None:
    assert shell("sample", "prior", "two", "--count", "2", *FAST) == 0
    assert "two: 2 samples of 0.3 s drawn; two/samples.png" in shell.out
    assert shell("sample", "prior", "three", "--count", "3", *FAST) == 0
    assert shell("sample", "prior", "other", "--count", "2", "--seed", "1", *FAST) == 0
    two, three, other = (contents(shell.folder / name) for name in ("two", "three", "other"))
    assert list(two) == ["sample_0.wav", "sample_1.wav"]
    assert len(set(three.values())) == 3
    assert two == {name: three[name] for name in two}
    assert not set(two.values()) & set(other.values())
    info = soundfile.info(shell.folder / "two" / "sample_0.wav")
    assert (info.samplerate, info.frames, info.channels) == (16000, 4800, 1)
    assert (shell.folder / "two" / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_run_continues_with_what_is_missing(
    shell, prior: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, drawn = samples.draw_speech, []

    def stop_at_second(*args, **options):
        if options["first"] == 1 and 1 not in drawn:
            drawn.append(1)
            raise KeyboardInterrupt
        drawn.append(options["first"])
        return draw(*args, **options)

    monkeypatch.setattr(samples, "draw_speech", stop_at_second)
    command = ("sample", "prior", "out", "--count", "3", *FAST)
    assert shell(*command) == 130
    assert "the same command again continues" in shell.err
    first = contents(shell.folder / "out")
    assert list(first) == ["sample_0.wav"]
    assert shell(*command) == 0
    assert "2 samples of 0.3 s drawn, 1 were there already" in shell.out
    assert drawn == [0, 1, 1, 2]
    assert contents(shell.folder / "out")["sample_0.wav"] == first["sample_0.wav"]
    assert not list((shell.folder / "out").glob(".*"))
    assert shell(*command) == 0
    assert drawn == [0, 1, 1, 2]


def test_samples_of_other_settings_or_another_prior_are_not_mixed(shell, prior: Path) -> None:
    save_prior(shell.folder / "changed", seed=1)
    assert shell("sample", "prior", "out", "--count", "2", *FAST) == 0
    before = contents(shell.folder / "out")
    message = shell.fails("sample", "prior", "out", "--seed", "7", *FAST)
    assert "out holds samples drawn otherwise (seed 0 there, 7 now)" in message
    assert "--overwrite" in message
    assert "prior_sha1" in shell.fails("sample", "changed", "out", *FAST)
    assert contents(shell.folder / "out") == before
    assert shell("sample", "changed", "out", "--count", "1", "--overwrite", *FAST) == 0
    after = contents(shell.folder / "out")
    assert list(after) == ["sample_0.wav"]
    assert after["sample_0.wav"] != before["sample_0.wav"]


def test_wavs_of_somebody_else_are_left_alone(shell, prior: Path) -> None:
    mine = shell.write("out/sample_0.wav", "a recording")
    assert "out holds samples drawn otherwise" in shell.fails("sample", "prior", "out", *FAST)
    assert mine.read_text() == "a recording"


def test_longer_than_the_window(shell, prior: Path) -> None:
    assert shell("sample", "prior", "out", "--count", "1", "--seconds", "2.5", "--steps", "2") == 0
    assert soundfile.info(shell.folder / "out" / "sample_0.wav").frames == 40000


@pytest.mark.parametrize("rate_hz", [8000, 24000])
def test_samples_have_the_rate_of_the_prior(shell, rate_hz: int) -> None:
    save_prior(shell.folder / "prior", rate_hz=rate_hz)
    assert shell("sample", "prior", "out", "--count", "1", *FAST) == 0
    assert soundfile.info(shell.folder / "out" / "sample_0.wav").samplerate == rate_hz


def test_one_line_of_progress_counts_the_calls_of_all_samples(prior: Path, tmp_path: Path) -> None:
    loaded = Prior.from_pretrained(prior)
    calls: list[tuple[int, int]] = []
    draws = samples.Draws(n_items=1, duration_s=0.2, n_steps=2)
    samples.save_samples(loaded, tmp_path / "out", draws)
    more = samples.Draws(n_items=3, duration_s=0.2, n_steps=2)
    samples.save_samples(loaded, tmp_path / "out", more, on_call=lambda *call: calls.append(call))
    assert calls == [(2, 6), (3, 6), (4, 6), (4, 6), (5, 6), (6, 6)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere", "out"], "No prior at nowhere"),
        (["empty", "out"], "empty is not a prior folder: config.yaml and model.safetensors missing"),
        (["prior", "file"], "Cannot write samples to file"),
        (["prior", "file/deep"], "Cannot write samples to file/deep"),
        (["prior", "out", "--count", "0"], "count is 0; samples need at least 1"),
        (["prior", "out", "--seconds", "0"], "seconds is 0; samples need at least 0.1"),
        (["prior", "out", "--seconds", "nan"], "seconds is nan; samples need at least 0.1"),
        (
            ["prior", "out", "--seconds", "1e9"],
            "seconds is 1e+09; samples need at least 0.1, and have at most 600",
        ),
        (["prior", "out", "--steps", "1"], "steps is 1; samples need at least 2"),
        (["prior", "out", "--device", "cuda:77"], "cuda:77"),
        (["prior", "out", "--device", "abacus"], "abacus"),
        (["prior", "out", "--count", "few"], "invalid int value: 'few'"),
    ],
)
def test_what_cannot_start(shell, prior: Path, arguments: list[str], expected: str) -> None:
    (shell.folder / "empty").mkdir()
    (shell.folder / "file").write_text("something else")
    assert expected in shell.fails("sample", *arguments)
    assert not (shell.folder / "out").exists()
    assert (shell.folder / "file").read_text() == "something else"


def test_an_unwritable_folder_is_told_before_the_work(
    shell, prior: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path, *_, **__):  # root may write everywhere: pretend
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(samples, "draw_speech", lambda *_, **__: pytest.fail("drawn"))
    monkeypatch.setattr(samples, "replacing", refuse)
    message = shell.fails("sample", "prior", "out", *FAST)
    assert "Cannot write samples to out: Permission denied" in message


def test_the_settings_lie_beside_the_samples(shell, prior: Path) -> None:
    assert shell("sample", "prior", "out", "--count", "1", *FAST) == 0
    found = json.loads((shell.folder / "out" / "samples.json").read_text())
    assert {name: found[name] for name in ("seed", "duration_s", "n_steps")} == {
        "seed": 0,
        "duration_s": 0.3,
        "n_steps": 3,
    }
