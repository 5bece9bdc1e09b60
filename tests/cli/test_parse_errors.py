"""Every mistake in a configuration is one sentence with the key, the file and the line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml

from diffsr.cli import main

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def broken(shell, old: str, new: str) -> str:
    text = (shell.folder / "experiments/prior/tiny.yaml").read_text()
    assert old in text
    shell.write("experiments/prior/broken.yaml", text.replace(old, new))
    return shell.fails("fit", "--config", "experiments/prior/broken.yaml")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "learning_rate: 0.1",
            "learning_rte: 0.1",
            "model.init_args.learning_rte: cli_standins.TinyPrior has no option 'learning_rte'. "
            "Did you mean 'learning_rate'? (experiments/prior/broken.yaml, line 5)",
        ),
        (
            "            width: $",
            "            wdth: $",
            "model.init_args.prior.init_args.network.init_args.wdth: cli_standins.Net has no option 'wdth'. "
            "Did you mean 'width'? (experiments/prior/broken.yaml, line 13)",
        ),
        (
            "  max_steps: 6",
            "  max_stps: 6",
            "trainer.max_stps: trainer has no option 'max_stps'. Did you mean 'max_steps'? "
            "(experiments/prior/broken.yaml, line 22)",
        ),
        (
            "learning_rate: 0.1",
            "learning_rate: fast",
            "model.init_args.learning_rate: found 'fast', expected float.",
        ),
        (
            "cli_standins.TinyPrior",
            "cli_standins.TinyPior",
            "model.class_path: cli_standins has no class 'TinyPior'. Did you mean 'TinyPrior'? "
            "(experiments/prior/broken.yaml, line 3)",
        ),
        (
            "cli_standins.TinyData",
            "nowhere.TinyData",
            "data.class_path: nowhere.TinyData: there is no module 'nowhere'.",
        ),
        ("note: width ${data.init_args.width}", "note: ${data.init_args.wide}", "data.init_args.wide"),
        (
            "        network:",
            "        nets:",
            "cli_standins.Prior has no option 'nets'. It has: network, rate_hz.",
        ),
        ("seed_everything: 0", "seed_everything: [0", "Problems parsing config"),
        ("ema:", "emma:", "emma"),
    ],
)
def test_mistakes_in_yaml(shell, old: str, new: str, expected: str) -> None:
    assert expected in broken(shell, old, new)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config=nope.yaml"], "--config nope.yaml: no such file."),
        (["--config=experiments/prior/tiny.yaml", "--trainer.max_step=1"], "--trainer.max_step"),
        (["--config=experiments/prior/tiny.yaml", "--model.init_args.note2=a"], "has no option 'note2'"),
        (["--config=experiments/prior/tiny.yaml", "fast"], "unknown option fast"),
        (["--trainer.max_steps=1"], "needs model, which is not given. Give an experiment"),
        (["--config=experiments/prior/tiny.yaml", "--trainer.max_time=soon"], "expected DD:HH:MM:SS"),
        (["--config=experiments/prior/tiny.yaml", "--resume=gone.ckpt"], "--resume gone.ckpt: no such file"),
        (["--config=experiments/prior/tiny.yaml", "--trainer.accelerator=warp"], "trainer:"),
    ],
)
def test_mistakes_on_the_command_line(shell, arguments: list[str], expected: str) -> None:
    assert expected in shell.fails("fit", *arguments)
    assert not (shell.folder / "runs").exists()


def test_an_interval_beyond_the_epoch_says_how_to_count_over_epochs(shell) -> None:
    given = ["--trainer.val_check_interval=1000", "--trainer.check_val_every_n_epoch=1"]
    message = shell.fails("fit", "--config=experiments/prior/tiny.yaml", *given)
    assert "--trainer.check_val_every_n_epoch=null" in message


def test_error_of_the_data(shell) -> None:
    message = shell.fails("fit", "--config=experiments/prior/tiny.yaml", "--data.init_args.data=broken")
    assert message == "diffsr: error: broken: no audio in it. Expected wav files.\n"
    assert not (shell.folder / "runs").exists()


def test_errors_of_constructors_keep_their_words(shell) -> None:
    message = shell.fails("predict", "--config=experiments/enhance/tiny.yaml", "--model.init_args.prior=gone")
    assert message == "diffsr: error: No prior at gone.\n"
    deep = "--model.init_args.prior.init_args.network.init_args.depth=12"
    message = shell.fails("fit", "--config=experiments/prior/tiny.yaml", deep)
    assert message.startswith("diffsr: error: Net: depth is 12; expected at most 9")


def test_values_that_must_be_given(shell) -> None:
    shell.write("open.yaml", 'model: {init_args: {prior: "???"}}\ndata: {init_args: {data: "???"}}\n')
    message = shell.fails("predict", "--config=experiments/enhance/tiny.yaml", "--config=open.yaml")
    assert "model.init_args.prior and data.init_args.data must be given" in message
    assert "--model.init_args.prior=... --data.init_args.data=..." in message


@pytest.mark.parametrize(
    ("verb", "example"), [("fit", "prior/starter"), ("predict", "enhance/default"), ("test", "enhance/whamr")]
)
def test_without_an_experiment_one_is_named_that_the_verb_can_run(shell, verb: str, example: str) -> None:
    assert f"--config experiments/{example}.yaml" in shell.fails(verb)
    assert (EXPERIMENTS / f"{example}.yaml").is_file()


def test_test_rejects_recordings_without_references(shell) -> None:
    message = shell.fails("test", "--config=experiments/enhance/tiny.yaml")
    assert "test scores against references, and TinyData has none. Use --data data_modules.Paired" in message


def test_fit_rejects_a_task(shell) -> None:
    message = shell.fails("fit", "--config", "experiments/enhance/tiny.yaml")
    assert "experiments/enhance/tiny.yaml: its model cli_standins.TinyTask restores recordings" in message
    assert "diffsr predict --config experiments/enhance/tiny.yaml --model.init_args.prior=" in message
    assert "diffsr fit --config experiments/prior/starter.yaml" in message


def test_predict_rejects_a_prior(shell) -> None:
    message = shell.fails("predict", "--config", "experiments/prior/tiny.yaml")
    assert "trains a prior and restores nothing" in message
    assert "diffsr fit --config experiments/prior/tiny.yaml" in message


@pytest.mark.parametrize("given", [["--ckpt_path", "x.ckpt"], ["--ckpt_path=x.ckpt"]])
def test_predict_rejects_ckpt_path(shell, given: list[str]) -> None:
    message = shell.fails("predict", "--config", "experiments/enhance/tiny.yaml", *given)
    assert "diffsr predict --config experiments/enhance/tiny.yaml --model.init_args.prior=x.ckpt\n" in message


def test_fit_points_from_ckpt_path_to_resume(shell) -> None:
    message = shell.fails("fit", "--config", "a.yaml", "--ckpt_path", "x.ckpt")
    assert "diffsr fit --config a.yaml --resume=x.ckpt" in message


def test_null_reaches_a_key_inside_a_dataclass_and_leaves_its_neighbours(capsys):
    config = str(Path(__file__).parents[2] / "experiments/enhance/whamr.yaml")
    given = ["--data.init_args.scene.crop_s=null", "--model.init_args.prior=p", "--data.init_args.noise=n"]
    with pytest.raises(SystemExit, match="^0$"):
        main(["test", "--config", config, *given, "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["scene"]
    assert printed["crop_s"] is None
    assert printed["snr_db"] == [-5.0, 10.0]
    assert printed["n_talkers"] == 1


@pytest.mark.parametrize("folder", ["[x]", "- a", "2024", "noisy"])
def test_names_that_look_like_yaml_are_names_where_they_exist(folder, tmp_path, monkeypatch, capsys):
    config = Path(__file__).parents[2] / "experiments" / "prior" / "starter.yaml"
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir()
    (tmp_path / "7").mkdir()  # a number of an option is no path
    given = [f"--data.init_args.data={folder}", "--trainer.max_steps=7", "--print_config"]
    with contextlib.suppress(SystemExit):
        main(["fit", "--config", str(config), *given])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (tmp_path / str(printed["data"]["init_args"]["data"])).samefile(tmp_path / folder)
    assert printed["trainer"]["max_steps"] == 7
