"""Python, `diffsr restore` and `diffsr predict` make the same of a recording; and what is seen meanwhile."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from diffsr.commands import restore as command

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SEVERAL = ("separate", "joint")


@pytest.fixture
def work(shell, tiny_prior_folder, make_speech) -> Path:
    shutil.copytree(tiny_prior_folder, shell.folder / "run" / "prior")
    for seed, (name, channels, rate_hz) in enumerate(
        [("a.wav", 1, 16000), ("deep/b.flac", 2, 44100), ("deep/er/c.d.wav", 1, 8000), ("a.mp3", 1, 16000)]
    ):
        path = shell.folder / "noisy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * make_speech(0.4, channels, rate_hz, seed).T, rate_hz)
    return shell.folder


def audio(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def predict(*arguments: str, task: str = "enhance") -> list[str]:
    experiment = EXPERIMENTS / task / "default.yaml"
    start = ["predict", f"--config={experiment}", "--model.init_args.prior=run", "--trainer.accelerator=cpu"]
    return [*start, *arguments]


@pytest.mark.parametrize("seed", [0, 7])
def test_predict_and_restore_write_the_same_bytes(shell, work: Path, seed: int) -> None:
    assert shell("restore", "noisy", "one", "--prior", "run", "--seed", str(seed)) == 0
    assert "restored 4 of 4" in shell.out
    assert "60 network calls each" in shell.out
    assert "nothing above 8 kHz is in the restored speech: the prior is for 16 kHz" in shell.err
    options = ("--data.init_args.input=noisy", "--model.init_args.output=two", f"--seed_everything={seed}")
    assert shell(*predict(*options)) == 0
    assert "restored 4 of 4 (" in shell.out
    assert " MiB) into two\n" in shell.out
    assert list(audio(work / "one")) == ["a.mp3", "a.wav", "deep/b.flac", "deep/er/c.d.wav"]
    assert audio(work / "one") == audio(work / "two")


def without_times(folder: Path) -> dict[str, bytes]:
    """All files, without what changes from run to run: seconds in summaries, the date of peaks in audio."""
    return {
        name: re.sub(rb"PEAK.{12}", b"", re.sub(rb'"seconds": [0-9.]+', b"", content), flags=re.DOTALL)
        for name, content in audio(folder).items()
    }


@pytest.mark.parametrize("task", ["separate", pytest.param("joint", marks=pytest.mark.slow)])
def test_talkers_of_predict_and_restore_are_the_same_bytes(shell, work: Path, task: str, monkeypatch) -> None:
    monkeypatch.setattr("diffsr.recipes.by_name.PRESETS", {"default": 3})
    for name in ("a.mp3", "deep/er/c.d.wav"):
        (work / "noisy" / name).unlink()
    assert shell("restore", "noisy", "one", "--prior=run", f"--task={task}", "--talkers=3") == 0
    assert "restored 2 of 2" in shell.out
    # With the levels after the search, or each talker by himself, of what is made of 4 restarts and of these.
    n_calls = {"separate": 4 * (3 + 2), "joint": 4 * 3 + (1 + 4) * 3 * 3}[task]
    assert f"{n_calls} network calls each" in shell.out
    options = ("--data.init_args.input=noisy", "--model.init_args.output=two", "--model.init_args.talkers=3")
    steps = ["--model.init_args.sampler.init_args.n_steps=3"]
    if task == "joint":
        each = "--model.init_args.each_talker.init_args"
        steps += [f"{each}.n_samples=1", f"{each}.sampler.init_args.n_steps=3"]
        steps += [f"{each}.sampler.init_args.churn=0.0"]
    assert shell(*predict(*options, *steps, task=task)) == 0
    parts = ("json", "residual.wav", "talker1.wav", "talker2.wav", "talker3.wav")
    assert [name for name in audio(work / "one") if "deep" not in name] == [f"a.{part}" for part in parts]
    assert without_times(work / "one") == without_times(work / "two")


def test_predict_of_one_file_one_channel_and_again(shell, work: Path) -> None:
    assert shell("restore", "noisy/deep/b.flac", "one", "--prior=run/prior", "--channels=1") == 0
    options = (
        "--data.init_args.input=noisy/deep/b.flac", "--model.init_args.output=noisy/out",
        "--model.init_args.channels=1",
    )  # fmt: skip
    assert shell(*predict(*options)) == 0
    assert audio(work / "one") == audio(work / "noisy" / "out")
    assert shell(*predict(*options)) == 0
    assert "restored 0 of 1 into noisy/out, 1 skipped, there already" in shell.out
    assert shell(*predict("--data.init_args.input=noisy", "--model.init_args.output=noisy/out")) == 0
    assert "restored 4 of 4" in shell.out  # not what earlier runs wrote there


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("noisy/deep", "noisy", "noisy/deep holds no recordings outside noisy"),
        ("noisy", "noisy", "noisy would be overwritten by its own restoration"),
        ("noisy/a.wav", "noisy", "noisy/a.wav would be overwritten by its own restoration"),
    ],
)
def test_recordings_that_lie_in_the_output_folder(
    shell, work: Path, source: str, target: str, words: str
) -> None:
    before = audio(work)
    assert words in shell.fails("restore", source, target, "--prior=run")
    options = (f"--data.init_args.input={source}", f"--model.init_args.output={target}")
    assert words in shell.fails(*predict(*options))
    assert audio(work / "noisy") == {k.removeprefix("noisy/"): v for k, v in before.items() if k[0] == "n"}


def test_predict_of_one_file_into_a_folder_above(shell, work: Path) -> None:
    assert shell("restore", "noisy/deep/b.flac", ".", "--prior=run") == 0
    (work / "b.flac").rename(work / "expected.flac")
    assert shell(*predict("--data.init_args.input=noisy/deep/b.flac", "--model.init_args.output=.")) == 0
    assert (work / "b.flac").read_bytes() == (work / "expected.flac").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["enhance", *SEVERAL])
def test_two_devices_write_what_one_does_and_tell_of_all_files(shell, work: Path, task: str) -> None:
    few = "--model.init_args.sampler.init_args.n_steps=8"
    for name in ("a.ogg", "ab.wav"):  # second and fourth by path: both are the second device's
        (work / "noisy" / name).write_text("no recording")
    one, two = (
        predict("--data.init_args.input=noisy", f"--model.init_args.output={name}", few, task=task)
        for name in ("one", "two")
    )
    assert shell(*one) == 2
    devices = ("--trainer.devices=2", "--trainer.strategy=ddp")
    done = subprocess.run(
        [sys.executable, "-m", "diffsr", *two, *devices], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count(" into two\n") == done.stdout.count("restored 4 of 6 (") == 1
    assert "2 of 6 files failed:" in done.stderr
    for name in ("a.ogg", "ab.wav"):
        assert f"noisy/{name}" in done.stderr
    assert without_times(work / "one") == without_times(work / "two")


def test_python_and_the_command_line_agree(shell, work: Path) -> None:
    from diffsr import Restorer, restore
    from diffsr.files import restore_path

    assert (
        shell("restore", "noisy", "one", "--prior=run", "--seed=3", "--preset=fast", "--channels=mean") == 0
    )
    restorer = Restorer("run", preset="fast", seed=3, channels="mean")
    restore_path("noisy", "two", restorer)
    assert audio(work / "one") == audio(work / "two")
    wave, _ = soundfile.read("noisy/a.wav", dtype="float32")
    same = Restorer("run", preset="fast", seed=3).restore(torch.from_numpy(wave)[None], 16000, "a").wave
    from_file = restore("noisy/a.wav", prior="run", preset="fast", seed=3)
    assert torch.equal(same, from_file.wave)
    from_file.save("saved.wav")
    assert Path("saved.wav").read_bytes() == (work / "one" / "a.wav").read_bytes()


# What is seen meanwhile --------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_and_takes_it_away(shell, work: Path, monkeypatch) -> None:
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        assert shell("restore", "noisy", "out", "--prior=run", "--preset=fast") == 0
    shown, rest = terminal.getvalue().split("diffsr: nothing above 8 kHz")
    assert "\n" not in shown
    assert rest.count("\n") == 1
    assert "restoring 1/4 a.mp3" in shown
    assert "restoring 4/4 deep/er/c.d.wav" in shown
    assert " left" in shown
    assert shown.rstrip("\r").endswith(" ")  # the line is blank at the end


def show(monkeypatch, terminal: Terminal, *calls: tuple[int, int, str, int, int]) -> list[str]:
    """The states of the line after each call, ten seconds apart."""
    clock = iter(range(1000, 10**6, 10))
    now = [next(clock)]
    for home in ("time.time", "tqdm.std.time"):
        monkeypatch.setattr(home, lambda: now[0])
    monkeypatch.setattr(sys, "stderr", terminal)
    states = []
    with command.Progress() as progress:
        for call in calls:
            now[0] = next(clock)
            progress(*call)
            states.append(terminal.getvalue().rsplit("\r", 1)[-1].rstrip())
    return states


def test_percent_and_time_left(monkeypatch) -> None:
    calls = [(0, 2, "a.wav", 1, 2), (1, 2, "a.wav", 0, 2), (1, 2, "b.wav", 1, 2), (2, 2, "b.wav", 0, 2)]
    states = show(monkeypatch, Terminal(), *calls)
    for state, name, share, left in zip(
        states, ("1/2 a", "1/2 a", "2/2 b", "2/2 b"), (25, 50, 75, 100), (30, 20, 10, 0), strict=True
    ):
        assert state.startswith(f"restoring {name}.wav")
        assert f"{share}%" in state
        assert state.endswith(f"00:{left:02d} left")


def test_skipped_files_do_not_make_the_rest_look_fast(monkeypatch) -> None:
    skipped = [(number, 10, "x.wav", 0, 1) for number in range(1, 8)]
    calls = [(7, 10, "h.wav", 1, 2), (8, 10, "h.wav", 0, 2), (9, 10, "i.wav", 0, 1), (9, 10, "j.wav", 1, 2)]
    states = show(monkeypatch, Terminal(), *skipped, *calls)[len(skipped) :]
    # 80, 90, 100 and 110 s after the start 0.5, 1, 1 and 1.5 files are done, and 2.5, 2, 1 and 0.5 are left.
    for state, left in zip(states, ("06:40", "03:00", "01:40", "00:36"), strict=True):
        assert state.endswith(f"{left} left")


def test_without_a_terminal_a_line_for_each_file(shell, work: Path) -> None:
    assert shell("restore", "noisy", "out", "--prior=run", "--preset=fast") == 0
    expected = [
        "diffsr: 1/4 a.mp3",
        "diffsr: 2/4 a.wav",
        "diffsr: 3/4 deep/b.flac",
        "diffsr: 4/4 deep/er/c.d.wav",
        "diffsr: nothing above 8 kHz is in the restored speech: the prior is for 16 kHz",
    ]
    assert shell.err.splitlines() == expected
    assert shell("restore", "noisy/a.wav", "out2", "--prior=run", "--preset=fast") == 0
    assert shell.err == ""
    assert shell.out.startswith("restored 1 of 1 (0.4 s of audio in ")
    assert shell.out.endswith(f": out2{os.sep}a.wav\n")


def test_without_a_terminal_a_long_file_tells_every_half_minute_how_far_it_is(monkeypatch, capsys) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    with command.Progress() as progress:
        for step in range(1, 10):
            now[0] += 10
            progress(0, 2, "a.wav", step, 10)
        progress(1, 2, "a.wav", 0, 10)
    assert capsys.readouterr().err.splitlines() == [
        "diffsr: 0/2 a.wav: 30% of it, 2.8 min left in all",  # 10 s a step, 17 of 20 left
        "diffsr: 0/2 a.wav: 60% of it, 2.3 min left in all",
        "diffsr: 0/2 a.wav: 90% of it, 1.8 min left in all",
        "diffsr: 1/2 a.wav",
    ]


def test_several_recordings_are_no_output(shell, work: Path) -> None:
    message = shell.fails("restore", "noisy/a.wav", "noisy/a.mp3", "out/")
    assert "3 paths are given: noisy/a.wav, noisy/a.mp3, out/; expected one IN and one OUT" in message


def test_without_an_output_that_alone_is_asked_for(shell) -> None:
    assert "arguments are required: OUT. See `diffsr restore --help`" in shell.fails("restore", "a.wav")


def test_clipped_recordings_are_named_but_by_what_repairs_them(shell, work: Path, make_speech) -> None:
    clipped = make_speech(0.4).T.clip(-0.05, 0.05)
    soundfile.write(work / "noisy" / "loud.wav", clipped, 16000)
    read = abs(soundfile.read(work / "noisy" / "loud.wav")[0])
    share = (read == read.max()).mean()
    assert shell("restore", "noisy", "out", "--prior=run", "--preset=fast") == 0
    advice = "--task declip raises them in recordings of 16 kHz"
    assert f"peaks look cut off: loud.wav ({share:.1%} of its samples); {advice}" in shell.err
    assert shell("restore", "noisy/loud.wav", "out2", "--prior=run", "--preset=fast", "--task=declip") == 0
    assert shell.err == ""


def test_formats_that_cannot_be_read_are_named(shell, work: Path) -> None:
    (work / "noisy" / "call 1.m4a").touch()
    assert shell("restore", "noisy", "out", "--prior=run", "--preset=fast") == 0
    assert "1 recording of other formats (such as call 1.m4a) cannot be read" in shell.err
    (work / "phone").mkdir()
    (work / "phone" / "x.aac").touch()
    assert "convert them, as by `ffmpeg -i x.aac x.wav`" in shell.fails("restore", "phone", "out")
