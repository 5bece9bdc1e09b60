"""Run folders: names, what is written, resuming, averaged weights, interruptions."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml

FIT = ("fit", "--config", "experiments/prior/tiny.yaml")


def checkpoint(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def weight(state: dict) -> torch.Tensor:
    return state["prior.network.layer.weight"]


def test_a_run_and_its_sequel(shell) -> None:
    assert shell(*FIT) == 0
    [run] = shell.run_folders()
    assert run.parent.relative_to(shell.folder) == Path("runs/prior/tiny")
    assert run.name == json.loads((run / "provenance.json").read_text())["hash"]
    assert checkpoint(run)["global_step"] == 6
    assert "training: step 6/6" in shell.err

    # the same command again: nothing to do
    before = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert shell(*FIT) == 0
    assert "is trained already (6 of 6 steps)" in shell.err
    assert "--resume never" in shell.err
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before

    # more steps continue the same run
    assert shell(*FIT, "--trainer.max_steps=10", "--trainer.devices=1") == 0
    assert shell.run_folders() == [run]
    assert f"training in {run.relative_to(shell.folder)}, from step 6\n" in shell.err
    assert checkpoint(run)["global_step"] == 10
    assert sorted(p.name for p in (run / "metrics").iterdir()) == ["version_0", "version_1"]
    with (run / "metrics/version_1/metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert steps == [6, 7, 8, 9]

    record = json.loads((run / "provenance.json").read_text())
    assert [bool(s["resumed_from"]) for s in record["sessions"]] == [False, True]
    assert record["experiment"] == "prior/tiny"
    assert record["sessions"][1]["command"].endswith("--trainer.max_steps=10 --trainer.devices=1")
    assert record["sessions"][0]["seed"] == 0
    assert len(record["sessions"][0]["git"]["commit"]) == 40
    assert record["sessions"][0]["versions"]["torch"]
    assert os.uname().nodename not in json.dumps(
        {**record, "sessions": [{**s, "git": None} for s in record["sessions"]]}
    )

    # the saved config leads back to the run, and scoring finds its checkpoint
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["trainer"]["max_steps"] == 10
    assert saved["model"]["init_args"]["note"] == "width 4"
    assert shell("fit", "--config", str(run / "config.yaml")) == 0
    assert f"{run} is trained already (10 of 10 steps)" in shell.err
    assert (
        shell("validate", "--config", "experiments/prior/tiny.yaml", "--trainer.enable_progress_bar=false")
        == 0
    )
    assert "valid/loss" in shell.out
    assert not list(run.rglob("*.part"))

    # start over beside it
    assert shell(*FIT, "--resume=never", "--trainer.max_steps=2") == 0
    assert [p.name for p in shell.run_folders()] == [run.name, f"{run.name}-2"]
    assert checkpoint(run)["global_step"] == 10


def test_interpolation_follows_overrides_across_files(shell) -> None:
    shell.write("experiments/wide.yaml", "data:\n  init_args:\n    width: 5\n")
    code = shell(*FIT, "--config", "experiments/wide.yaml", "--trainer.max_steps=1")
    assert code == 0
    [wide] = shell.run_folders()
    saved = yaml.safe_load((wide / "config.yaml").read_text())
    assert saved["model"]["init_args"]["prior"]["init_args"]["network"]["init_args"]["width"] == 5
    assert saved["model"]["init_args"]["note"] == "width 5"
    # the same values by the command line are the same run; the experiment is named by the first file
    assert shell(*FIT, "--data.init_args.width=5", "--trainer.max_steps=1") == 0
    assert shell.run_folders() == [wide]
    assert "is trained already" in shell.err


def test_checkpoints_hold_average_and_raw_weights(shell) -> None:
    from cli_standins import TinyPrior

    def train(runs: str, *more: str) -> dict:
        TinyPrior.validated.clear()
        assert shell(*FIT, "--trainer.num_sanity_val_steps=0", f"--runs={runs}", *more) == 0
        [run] = shell.folder.glob(f"{runs}/prior/tiny/*")
        return checkpoint(run)

    plain = train("plain", "--ema.decay=0")
    assert torch.equal(weight(plain["state_dict"]), weight(plain["current_model_state"]))
    train("resumed", "--trainer.max_steps=3")
    resumed = train("resumed", "--trainer.max_steps=6")
    once = train("once", "--trainer.max_steps=6")
    # raw weights do not know of the average, and resuming changes neither
    assert torch.equal(weight(once["current_model_state"]), weight(plain["current_model_state"]))
    assert torch.equal(weight(resumed["current_model_state"]), weight(once["current_model_state"]))
    assert torch.equal(weight(resumed["state_dict"]), weight(once["state_dict"]))
    assert not torch.equal(weight(once["state_dict"]), weight(once["current_model_state"]))
    epoch = train("epoch", "--trainer.max_steps=8")  # ends with a validation: of the average
    assert torch.equal(TinyPrior.validated[-1], weight(epoch["state_dict"]))


@pytest.mark.parametrize(("signal_name", "code"), [("INT", 130), ("TERM", 143)])
def test_an_interrupted_run_loses_nothing(shell, signal_name: str, code: int) -> None:
    # a test run that was started in the background of a script ignores Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stop = ["--model.init_args.stop_at=4", f"--model.init_args.how={signal_name}"]
    assert shell(*FIT, *stop) == code
    assert "the state is saved. To continue, give the same command again" in shell.err
    [run] = shell.run_folders()
    saved = checkpoint(run)
    assert saved["global_step"] in (4, 5)  # SIGTERM lets the step end
    assert not torch.equal(weight(saved["state_dict"]), weight(saved["current_model_state"]))
    assert not (run / "finished.json").exists()
    again = yaml.safe_load((run / "config.yaml").read_text())
    assert again["model"]["init_args"]["stop_at"] == 4


def test_checkpoints_that_cannot_be_continued_are_named(shell) -> None:
    assert shell(*FIT) == 0
    [run] = shell.run_folders()
    whole = run / "checkpoints" / "last.ckpt"
    (shell.folder / "cut.ckpt").write_bytes(whole.read_bytes()[:-100])
    torch.save({"weight": torch.ones(2)}, shell.folder / "other.ckpt")
    wide = ["--data.init_args.width=5", "--trainer.max_steps=9"]
    for verb, option in (("fit", "--resume"), ("validate", "--ckpt_path")):
        command = (verb, *FIT[1:], "--trainer.enable_progress_bar=false", "--trainer.max_steps=9")
        assert "cut.ckpt cannot be loaded" in shell.fails(*command, f"{option}=cut.ckpt")
        assert "other.ckpt holds no weights of a model" in shell.fails(*command, f"{option}=other.ckpt")
        message = shell.fails(*command, *wide, f"{option}={whole}")
        assert f"{whole}: its weights do not fit this model (size mismatch for prior.network.layer" in message
    whole.write_bytes(whole.read_bytes()[:-100])
    assert "last.ckpt cannot be loaded" in shell.fails(*FIT, "--trainer.max_steps=9")


def test_a_checkpoint_with_all_the_steps_that_are_asked_for_is_no_start(shell) -> None:
    assert shell(*FIT) == 0
    [run] = shell.run_folders()
    resume = f"--resume={run / 'checkpoints' / 'last.ckpt'}"
    for steps in (4, 6):
        message = shell.fails(*FIT, "--ema.decay=0.5", resume, f"--trainer.max_steps={steps}")
        assert f"last.ckpt: this has 6 steps already, and trainer.max_steps is {steps}" in message
    assert shell.run_folders() == [run]
    assert shell(*FIT, "--ema.decay=0.5", resume, "--trainer.max_steps=7") == 0


def test_averages_and_checkpoints_that_never_come_are_refused_in_one_sentence(shell) -> None:
    for option, words in {
        "--ema.every_n_steps=0": "ema.every_n_steps is 0, expected at least 1",
        "--ema.decay=1": "ema.decay is 1, expected a number from 0 to below 1",
        "--checkpoint.every_n_steps=0": "checkpoint.every_n_steps is 0, expected at least 1",
    }.items():
        assert words in shell.fails(*FIT, option)


def test_time_budget(shell) -> None:
    assert shell(*FIT, "--trainer.max_steps=-1", "--trainer.max_time=00:00:00:01") == 0
    [run] = shell.run_folders()
    assert json.loads((run / "finished.json").read_text())["elapsed_s"] >= 1
    assert shell(*FIT, "--trainer.max_steps=-1", "--trainer.max_time=00:00:00:01") == 0
    assert "s of trainer.max_time" in shell.err


def test_a_place_that_cannot_be_written(shell) -> None:
    shell.write("file", "in the way")
    message = shell.fails(*FIT, "--runs=file")
    assert (
        "cannot be written (Not a directory). Free some disk space or choose another place with --runs"
        in message
    )


def test_tensorboard_without_its_package(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffsr.commands.loggers.find_spec", lambda name: None)
    overlay = Path(__file__).parents[2] / "experiments/trainer/tensorboard.yaml"
    message = shell.fails(*FIT, "--config", str(overlay))
    assert "pip install tensorboard" in message


def test_predict(shell) -> None:
    assert (
        shell("predict", "--config", "experiments/enhance/tiny.yaml", "--trainer.enable_progress_bar=false")
        == 0
    )
    [run] = shell.run_folders()
    assert run.parent.name == "tiny"
    assert (run / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("has_units", "more", "expected"),
    [
        (False, (), "32-true"),
        (True, (), "bf16-mixed"),
        (False, ("--trainer.precision=bf16-mixed",), "bf16-mixed"),
        (False, ("--trainer.precision=64-true",), "64-true"),
    ],
)
def test_bfloat16_of_an_experiment_is_for_processors_that_have_it(
    shell, monkeypatch: pytest.MonkeyPatch, has_units: bool, more: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr("diffsr.commands.precision.has_fast_bfloat16", lambda: has_units)
    used = []
    monkeypatch.setattr(
        "cli_standins.TinyPrior.on_fit_start", lambda self: used.append(self.trainer.precision)
    )
    shell.write("bf16.yaml", "trainer:\n  precision: bf16-mixed\n")
    assert shell(*FIT, "--config=bf16.yaml", *more) == 0
    assert used == [expected]
    assert shell.err.count("slow in bfloat16") == (expected == "32-true")
    monkeypatch.setattr(
        "cli_standins.TinyPrior.on_validation_start", lambda self: used.append(self.trainer.precision)
    )
    assert shell("validate", *FIT[1:], "--config=bf16.yaml", *more) == 0
    assert used[-1] == expected
    assert shell.err.count("slow in bfloat16") == (expected == "32-true")


def test_an_interrupted_prediction_says_so(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli_standins.TinyTask.predict_step", interrupted)
    predict = ("predict", "--config", "experiments/enhance/tiny.yaml", "--trainer.enable_progress_bar=false")
    assert shell(*predict) == 130
    assert "stopped. What was written is kept; the same command again continues" in shell.err


def test_no_process_group_is_left_to_the_end_of_the_interpreter(shell) -> None:
    assert shell(*FIT, "--trainer.strategy=ddp", "--trainer.devices=1") == 0
    assert "training: step 6/6" in shell.err
    assert not torch.distributed.is_initialized()


def test_validate_without_a_checkpoint(shell) -> None:
    message = shell.fails("validate", "--config", "experiments/prior/tiny.yaml")
    assert "no such checkpoint" in message
    assert "diffsr fit --config experiments/prior/tiny.yaml" in message


def test_wandb_gets_the_whole_config_and_a_resumed_run_its_curve(
    shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    overlay = Path(__file__).parents[2] / "experiments/trainer/wandb.yaml"
    ids = []
    for steps in (1, 2):
        assert shell(*FIT, "--config", str(overlay), f"--trainer.max_steps={steps}") == 0
        ids.append(wandb.run.id)
        assert wandb.run.config["model"]["init_args"]["prior"]["class_path"] == "cli_standins.Prior"
        assert wandb.run.config["data"]["init_args"]["width"] == 4
        assert wandb.run.config["trainer"]["max_steps"] == steps
        wandb.finish()
    [run] = shell.run_folders()  # the logger is not part of the hash
    assert ids == [(run / "wandb_id").read_text().strip()] * 2
    assert len(list((run / "wandb").glob("offline-run-*"))) == 2


def test_a_prediction_ends_at_sigterm(shell) -> None:
    from cli_standins import TinyTask

    given = ["predict", "--config=experiments/enhance/tiny.yaml"]
    assert shell(*given, "--model.init_args.is_ended=true") == 143
    assert TinyTask.n_predicted == 2
    assert shell(*given) == 0
    assert TinyTask.n_predicted == 8


def test_a_tilde_leads_to_the_same_run(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(shell.folder))
    assert shell(*FIT, "--runs=~/mine") == 0
    [run] = (shell.folder / "mine/prior/tiny").iterdir()
    assert shell(*FIT, "--runs=~/mine") == 0
    assert "is trained already (6 of 6 steps)" in shell.err
    inside = run.relative_to(shell.folder)
    assert shell("fit", f"--config=~/{inside}/config.yaml") == 0
    assert "is trained already (6 of 6 steps)" in shell.err
    last = f"--resume=~/{inside}/checkpoints/last.ckpt"
    assert shell(*FIT, "--runs=~/mine", last, "--trainer.max_steps=7") == 0
    assert checkpoint(run)["global_step"] == 7
    assert shell("validate", *FIT[1:], "--runs=~/mine", f"--ckpt_path{last[8:]}") == 0


def test_a_run_that_is_taken_up_at_an_earlier_step_is_not_finished(shell) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for steps in (2, 5):
        assert shell(*FIT, f"--trainer.max_steps={steps}") == 0
        [other] = shell.run_folders()
        (other / "checkpoints" / "last.ckpt").rename(shell.folder / f"{steps}.ckpt")
    stop = ("--model.init_args.stop_at=4", "--model.init_args.how=INT")
    assert shell(*FIT, *stop, "--resume=5.ckpt") == 0
    [run] = [path for path in shell.run_folders() if path != other]
    assert json.loads((run / "finished.json").read_text())["step"] == 6
    assert shell(*FIT, *stop, "--resume=2.ckpt") == 130
    assert not (run / "finished.json").exists()
    again = shell.err.partition("To continue, ")[2].split()
    assert again[:3] == ["diffsr", "fit", "--config"]  # the same command would begin at step 2 again
    assert shell(*again[1:]) == 130
    assert f"training in {run.relative_to(shell.folder)}, from step 4\n" in shell.err


def test_a_trial_of_a_finished_run_is_a_trial(shell) -> None:
    assert shell(*FIT) == 0
    [run] = shell.run_folders()
    before = sorted(path for path in run.rglob("*"))
    assert shell(*FIT, "--trainer.fast_dev_run=true") == 0
    assert "trained already" not in shell.err
    assert sorted(path for path in run.rglob("*")) == before


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_out_of_range_is_refused(shell, seed: str) -> None:
    assert f"seed_everything is {seed}; expected" in shell.fails(*FIT, f"--seed_everything={seed}")


def test_an_experiment_that_is_not_utf8_is_refused(shell) -> None:
    (shell.folder / "latin.yaml").write_bytes("# caf\u00e9\nseed_everything: 0\n".encode("latin-1"))
    assert "latin.yaml: not UTF-8 text" in shell.fails("fit", "--config", "latin.yaml")
