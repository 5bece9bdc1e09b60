"""Names and hashes of runs, and when a training counts as finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffsr.commands.run_folder import (
    Budget,
    Reached,
    Run,
    config_hash,
    experiment_name,
    finished,
    fresh_sibling,
)
from diffsr.errors import ConfigError

CONFIG = {"seed_everything": 0, "model": {"lr": 1.0}, "trainer": {"max_steps": 3, "precision": "32"}}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("experiments/prior/starter.yaml", "prior/starter"),
        ("/home/x/experiments/old/experiments/joint/whamr.yaml", "joint/whamr"),
        ("my config.yaml", "my_config"),
        ("../somewhere/mine.yaml", "mine"),
    ],
)
def test_experiment_name(path: str, name: str) -> None:
    assert experiment_name([Path(path), Path("experiments/trainer/wandb.yaml")]) == name
    assert experiment_name([]) == "unnamed"


@pytest.mark.parametrize(
    "change",
    [
        {"trainer": {"max_steps": 9, "precision": "32"}},
        {"trainer": {"precision": "32", "devices": 4, "logger": True, "max_time": "00:01:00:00"}},
        {"runs": "elsewhere", "resume": "never", "checkpoint": {"every_n_steps": 5}},
    ],
)
def test_how_long_and_where_do_not_count(change: dict) -> None:
    assert config_hash(CONFIG | change) == config_hash(CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"lr": 2.0}},
        {"seed_everything": 1},
        {"ema": {"decay": 0.9}},
        {"trainer": {"precision": "bf16-mixed"}},
    ],
)
def test_everything_else_counts(change: dict) -> None:
    assert config_hash(CONFIG | change) != config_hash(CONFIG)


def test_hash_is_the_same_everywhere_and_for_any_order() -> None:
    assert config_hash(CONFIG) == config_hash(dict(reversed(CONFIG.items()))) == "902d7845"


def budget(**trainer: object) -> Budget:
    return Budget.of(trainer)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"max_steps": 100}, "100 of 100 steps"),
        ({"max_steps": 50}, "100 of 50 steps"),
        ({"max_steps": 101}, None),
        ({"max_steps": -1, "max_epochs": 2}, "2 of 2 epochs"),
        ({"max_epochs": 3}, None),
        ({"max_steps": 500, "max_time": "00:00:01:00"}, "100 steps in the 60 s of trainer.max_time"),
        ({"max_steps": 500, "max_time": {"minutes": 2}}, None),
        ({"max_steps": 200, "max_epochs": 7}, "stopped after 100 steps with the same limits"),
    ],
)
def test_finished(now: dict, reason: str | None, tmp_path: Path) -> None:
    run = Run(tmp_path, "prior/x", "0")
    assert finished(run, budget(**now)) is None
    Reached(100, 2, 60.5, budget(max_steps=200, max_epochs=7)).write(run)
    assert [path.name for path in tmp_path.iterdir()] == ["finished.json"]
    assert finished(run, budget(**now)) is None  # without its checkpoint it cannot be used
    run.checkpoint.parent.mkdir()
    run.checkpoint.touch()
    assert finished(run, budget(**now)) == reason


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00:12:00", 720), ("01:00:00:01", 86401), ("0:12:00", 720), ("1 day, 0:00:01", 86401)],
)
def test_max_time(text: str, seconds: float) -> None:
    assert budget(max_time=text).max_time_s == seconds


def test_max_time_that_is_no_time() -> None:
    with pytest.raises(ConfigError, match="expected DD:HH:MM:SS"):
        budget(max_time="an hour")


def test_siblings(tmp_path: Path) -> None:
    run = Run(tmp_path / "abc", "x", "abc")
    assert fresh_sibling(run) == run
    run.path.mkdir()
    assert fresh_sibling(run).path.name == "abc-2"
    (tmp_path / "abc-2").mkdir()
    assert fresh_sibling(run).path.name == "abc-3"
    assert fresh_sibling(Run(tmp_path / "abc-2", "x", "abc")).path.name == "abc-3"
