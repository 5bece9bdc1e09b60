import argparse

import pytest
import torch

from diffsr.commands import evaluate as command
from diffsr.errors import ConfigError
from diffsr.evaluation import evaluate as module
from diffsr.io.audio import write_audio

RATE_HZ = 16000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three mixtures of two talkers, estimates with an error at -20 dB."""
    monkeypatch.chdir(tmp_path)
    for k in range(3):
        ref = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(k))
        est = ref + 0.01 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(k + 9))
        write_audio(f"mix/{k}.wav", ref.sum(0, keepdim=True), RATE_HZ)
        for s in (0, 1):
            write_audio(f"clean/s{s + 1}/{k}.wav", ref[[s]], RATE_HZ)
            write_audio(f"est/t{2 - s}/{k}.wav", est[[s]], RATE_HZ)
    return tmp_path


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def test_talkers_and_metrics(folder, capsys):
    chosen = ("--metrics", "si_sdr_db, delay_ms", "--talkers", "t1:s1,t2:s2")
    assert run("est", "clean", "--input", "mix", *chosen, "--output", "scores.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["metric", "SI-SDR (dB)", "delay (ms)"]
    assert float(lines[1].split()[-3]) == pytest.approx(20, abs=1)
    assert [line.split(",")[-2] for line in (folder / "scores.csv").read_text().splitlines()] == [
        *("assignment", "2 1", "2 1", "2 1")
    ]


def test_unknown_metric_is_said_before_any_file_is_read(folder):
    with pytest.raises(ConfigError, match="Unknown metric 'sisdr'; expected some of si_sdr_db"):
        run("nowhere", "nowhere", "--metrics", "sisdr")
    with pytest.raises(ConfigError, match="No clean references are given"):
        run("mix")


def test_interrupt_keeps_what_was_scored(folder, capsys, monkeypatch):
    score, seen = module.score_files, []

    def interrupted(pair, metrics):
        seen.append(pair.id)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return score(pair, metrics)

    monkeypatch.setattr(module, "score_files", interrupted)
    assert run("mix", "mix", "--metrics", "si_sdr_db", "--output", "scores.csv") == 2
    assert "1: interrupted before it was scored" in capsys.readouterr().out
    assert (folder / "scores.csv").read_text().count("\n") == 2
    seen[:] = ["one more"]
    with pytest.raises(KeyboardInterrupt):  # nothing to keep
        run("mix", "mix", "--metrics", "si_sdr_db")


def test_scores_are_written_before_they_are_shown(folder, monkeypatch):
    def closed(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(command, "say", closed)
    for name in ("scores.csv", "scores.md"):
        with pytest.raises(BrokenPipeError):
            run("est", "clean", "--metrics", "si_sdr_db", "--talkers", "t1:s1,t2:s2", "--output", name)
        assert (folder / name).is_file()


def test_a_name_that_is_no_text_is_escaped_in_the_file(folder):
    name = "caf\udce9"
    for place in ("est/t1", "est/t2", "clean/s1", "clean/s2"):
        (folder / place / "0.wav").rename(folder / place / f"{name}.wav")
    chosen = ("--metrics", "si_sdr_db", "--talkers", "t1:s1,t2:s2")
    for output in ("scores.csv", "scores.md"):
        assert run("est", "clean", *chosen, "--output", output) == 0
    assert "caf\\udce9," in (folder / "scores.csv").read_text(encoding="utf-8")
