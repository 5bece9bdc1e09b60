"""`diffsr benchmark` from the command line, and what it answers to mistakes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from diffsr.benchmark.items import Item
from diffsr.benchmark.recipe_digest import recipe_digest
from diffsr.benchmark.restoring import Job, Row
from diffsr.benchmark.systems import Runnable
from diffsr.cli import main
from diffsr.evaluation import metrics
from diffsr.experiment_file import recipe_parts


@pytest.fixture
def shell(data: Path, few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> object:
    """Runs a command in a folder of its own; gives code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(text: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["benchmark", *text.replace("DIR", str(data)).split()])
        return code, *capsys.readouterr()

    return call


def test_run_and_score(shell, tmp_path):
    code, out, err = shell("run --track enhance --data DIR --system unprocessed")
    assert code == 0
    assert out == "runs/benchmark/enhance_test/unprocessed: 4 items restored\n"
    assert "own data: these items are not those of the benchmark" in err
    code, out, err = shell("run --track enhance --data DIR --system unprocessed")
    assert code == 0
    assert out.endswith(": 0 items restored, 4 were there already\n")
    code, out, err = shell("score --track enhance --data DIR")
    assert code == 0
    assert "enhance, test: 1 talker" in out
    assert "scores of each item: runs/benchmark/enhance_test/scores.csv" in out
    assert (tmp_path / "runs/benchmark/enhance_test/scores.csv").is_file()


def test_a_page_to_listen_to_has_the_items_that_all_systems_have(shell, tmp_path):
    shell("run --track separate --data DIR --system unprocessed")
    shell("run --track separate --data DIR --system wpe")
    shell("run --track separate --data DIR --system wpe --label mine --subset 2")
    code, out, err = shell("score --track separate --data DIR --listen page/listen.html")
    assert code == 2  # two items of the one that was not run on all
    assert "page/listen.html: 2 items to listen to" in out, err
    text = (tmp_path / "page/listen.html").read_text(encoding="utf-8")
    held = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    assert held["systems"] == ["mine", "wpe"]  # what is not processed is the recording
    for item in held["items"]:
        names = ["recording", "mine, talker 1", "mine, talker 2", "wpe, talker 1", "wpe, talker 2"]
        assert [track["name"] for track in item["tracks"]] == [*names, "clean, talker 1", "clean, talker 2"]
        assert set(item["tracks"][3]["scores"]) == {"si_sdr_db", "pesq_wb", "estoi"}
        assert item["tracks"][1]["scores"] == item["tracks"][3]["scores"]


@pytest.mark.parametrize(("more", "words"), [("a.pdf", "a name that ends in .html"), ("a.html", "no page")])
def test_a_page_that_cannot_be_written(shell, tmp_path, more, words):
    shell("run --track enhance --data DIR --system unprocessed")
    for path in (tmp_path / "runs/benchmark/enhance_test/unprocessed/estimates/s1").iterdir():
        path.write_text("no audio")
    code, _, err = shell(f"score --track enhance --data DIR --listen {more}")
    assert code == 2
    assert words in err
    assert not (tmp_path / more).exists()


def test_an_unfinished_run_says_how_many_are_missing(shell, tmp_path):
    assert shell("run --track enhance --data DIR --system unprocessed --subset 2 --label mine")[0] == 0
    code, out, err = shell("score --track enhance --data DIR --system mine --metrics sdr_db")
    assert code == 2
    assert "mine: no estimate (2):" in out
    assert "2 estimates are missing or cannot be scored; run the system again" in err
    assert "SDR (dB)" in out
    code, out, err = shell("score --track enhance --data DIR --subset 2")
    assert code == 0
    assert "2 of 4 items" in out
    assert (tmp_path / "runs/benchmark/enhance_test/scores_2.csv").is_file()


def test_ctrl_c_says_that_it_goes_on(shell, monkeypatch):
    original = Job.restore

    def stop(job: Job, item: Item, system: Runnable) -> Row:
        if item.id.endswith("02"):
            raise KeyboardInterrupt
        return original(job, item, system)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "restore", stop)
        code, out, err = shell("run --track enhance --data DIR --system unprocessed")
    assert code == 130
    assert "the same command again continues" in err
    assert (
        "2 items restored, 2 were there already"
        in shell("run --track enhance --data DIR --system unprocessed")[1]
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run --track joint --system wpe", "--data"),
        ("run --track join --data DIR --system wpe", "no track 'join'. The tracks are: enhance (1 talker"),
        ("run --track joint --data DIR --system wpee", "no system 'wpee'; choose one of unprocessed, wpe"),
        ("run --track joint --data DIR --system wpe --split train", "no split 'train', expected test (for"),
        (
            "run --track enhance --data DIR --system wpe --subset 7",
            "one fixed subset of 2 items. Use --subset 2",
        ),
        (
            "run --track enhance --data gone --system wpe",
            "gone does not exist, expected a folder with the manifests",
        ),
        (
            "run --track enhance --data . --system wpe",
            "no manifest speech_test.csv or speech_test.jsonl (there: none)",
        ),
        ("run --track enhance --data DIR --system unprocessed --label a/b", "cannot name a folder"),
        ("score --track enhance --data DIR", "holds no estimates"),
        ("score --track enhance --data DIR --metrics loudness", "Unknown metric 'loudness'"),
    ],
)
def test_mistakes_are_explained(shell, command, message):
    code, out, err = shell(command)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_several_processes_by_the_command(shell, tmp_path):
    code, out, _ = shell("run --track enhance --data DIR --system unprocessed --workers 2")
    assert code == 0
    assert "4 items restored" in out
    code, _, err = shell("run --track enhance --data DIR --system unprocessed --workers 0")
    assert code == 2
    assert "--workers 0: expected at least 1 process" in err


def test_a_run_that_loses_an_item_ends_with_2(shell, monkeypatch):
    monkeypatch.setattr(Job, "restore", lambda job, item, system: {"id": item.id, "problem": "too hard"})
    code, out, err = shell("run --track enhance --data DIR --system unprocessed --subset 2")
    assert code == 2
    assert err.count(": too hard") == 2


DEFAULT = Path(__file__).parents[2] / "experiments" / "enhance" / "default.yaml"


def test_a_preset_may_be_an_experiment(shell, tiny_prior_folder, tmp_path):
    run = f"run --track enhance --data DIR --subset 2 --system enhance --prior {tiny_prior_folder}"
    changed = "--set sampler.init_args.n_steps=2"
    code, out, err = shell(f"{run} --preset {DEFAULT} {changed} --oracle noise")
    assert code == 0, err
    label = "enhance-default+n_steps=2+oracle-noise"
    assert out == f"runs/benchmark/enhance_test/{label}: 2 items restored\n"
    settings = json.loads((tmp_path / "runs/benchmark/enhance_test" / label / "settings.json").read_text())
    assert settings["preset"].startswith("default.yaml ")
    assert settings["oracle"] == "noise"
    own = f"{run} --preset {DEFAULT} {changed} --label mine"
    assert shell(own)[0] == 0
    code, out, err = shell(own.replace("n_steps=2", "n_steps=3"))
    assert code == 2
    assert "preset was default.yaml" in err
    assert "--label NAME" in err


RECIPE = """\
model:
  init_args:
    sampler:
      class_path: diffsr.samplers.AnnealedSampler
      init_args: {listeners: [{listener: heard}, {listener: shipped}]}
    likelihood: diffsr.likelihoods.Gaussian
    degradation:
      class_path: diffsr.degradations.RoomFile
      init_args: {path: room.wav, empty: "", long: LONG}
"""


def test_the_digest_of_a_preset_is_that_of_the_files_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE.replace("LONG", "x" * 5000))
    digests = [recipe_digest("recipe.yaml", ())]
    parts = json.dumps(recipe_parts("recipe.yaml"), sort_keys=True).encode()
    assert digests[0] == f"recipe.yaml {hashlib.sha1(parts).hexdigest()[:12]}"  # the names are no paths yet
    Path("heard/deep").mkdir(parents=True)
    for name in ("room.wav", "heard/b", "heard/a", "heard/deep/a"):
        for content in (b"1", b"2"):
            Path(name).write_bytes(content)
            digests.append(recipe_digest("recipe.yaml", ()))
    Path("heard/a").rename("heard/c")
    digests.append(recipe_digest("recipe.yaml", ()))
    Path("elsewhere").write_bytes(b"1")  # not named
    assert digests[-1] == recipe_digest("recipe.yaml", ())
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--preset default --set sampler.init_args.n_steps=2", "the preset default is no file"),
        ("--preset gone.yaml", "gone.yaml: No such file"),
        ("--preset fastest", "no preset 'fastest'"),
        (f"--preset {DEFAULT} --set sampler.init_args.n_stps=2", "Did you mean 'n_steps'?"),
        ("--oracle speech", "found 'speech', expected noise, room, identity"),
        ("--oracle room", "the items of enhance have no room"),
    ],
)
def test_presets_and_oracles_that_cannot_be(shell, tiny_prior_folder, options, expected):
    run = f"run --track enhance --data DIR --subset 2 --system enhance --prior {tiny_prior_folder}"
    code, out, err = shell(f"{run} {options}")
    assert code == 2
    assert expected in err


def test_scores_of_a_track_that_need_a_package(shell, monkeypatch):
    assert shell("run --track denoise_dereverb --data DIR --system unprocessed --subset 2")[0] == 0
    find = metrics.optional_module

    def without_speechmos(module: str, needed_by: str) -> object:
        return find("no_such_package" if module.startswith("speechmos") else module, needed_by)

    monkeypatch.setattr(metrics, "optional_module", without_speechmos)
    code, out, err = shell("score --track denoise_dereverb --data DIR --subset 2")
    assert code == 0, err
    assert "ESTOI" in out
    assert "DNSMOS" not in out
    assert "dnsmos_ovrl left out: " in err
    code, out, err = shell("score --track denoise_dereverb --data DIR --subset 2 --metrics dnsmos_ovrl")
    assert code == 2  # what was asked for is not left out
    assert "Install the extra" in err
