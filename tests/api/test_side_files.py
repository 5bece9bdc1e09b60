"""What lies beside a restoration: whose it is, what may take its place, and what must not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diffsr import Restorer
from diffsr.errors import ConfigError
from diffsr.files import restore_path
from diffsr.io.audio import write_audio
from diffsr.likelihoods import WhiteNoise
from diffsr.recipes import Recipe
from diffsr.restoration import Restoration, UnfinishedError
from diffsr.restoration.choice import check_choice
from diffsr.restoration.side_files import AudioFiles, SideFiles
from diffsr.samplers import AnnealedSampler, Proximal, Renoise


def restorer(prior, n_talkers: int = 1, n_samples: int | None = None) -> Restorer:
    sampler = AnnealedSampler(Proximal(), Renoise(), [], 2, 1.5, churn=0.0)
    recipe = Recipe(sampler, WhiteNoise(1e-4), n_sources=n_talkers)
    return Restorer(prior, recipe=recipe, n_samples=n_samples)


@pytest.fixture
def recording(make_speech, tmp_path) -> Path:
    path = tmp_path / "mix.wav"
    write_audio(path, torch.from_numpy(make_speech(0.3)), 16000)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_task_for_one_talker_leaves_what_belongs_to_the_talkers(tiny_prior, recording, tmp_path):
    out = tmp_path / "out"
    restore_path(recording, out, restorer(tiny_prior, 2, 2))
    before = contents(out)
    assert {"mix.json", "mix.talker1.wav", str(Path("mix.samples", "1.talker2.wav"))} <= set(before)
    [report] = restore_path(recording, out, restorer(tiny_prior))
    assert report.status == "restored"
    assert before.items() <= contents(out).items()
    [report] = restore_path(recording, out, restorer(tiny_prior, 1, 2), overwrite=True)
    after = contents(out)  # with samples of its own beside those of the talkers
    assert before.items() <= after.items()
    assert str(Path("mix.samples", "2.wav")) in after


def test_talkers_leave_the_samples_of_one_talker(tiny_prior, recording, tmp_path):
    out = tmp_path / "out"
    restore_path(recording, out, restorer(tiny_prior, 1, 2))
    before = contents(out)
    restore_path(recording, out, restorer(tiny_prior, 2))
    assert before.items() <= contents(out).items()


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_numbers_of_another_task_are_replaced_only_when_asked_to(
    tiny_prior, recording, tmp_path, first, then
):
    out = tmp_path / "out"
    restore_path(recording, out, restorer(tiny_prior, first), physics=True)
    before = contents(out)
    [report] = restore_path(recording, out, restorer(tiny_prior, then), physics=True)
    assert report.status == "failed"
    assert "mix.json tells of" in report.message
    assert "--overwrite" in report.message
    assert contents(out) == before
    [report] = restore_path(recording, out, restorer(tiny_prior, then), overwrite=True, physics=True)
    assert report.status == "restored"
    assert ("talkers" in json.loads((out / "mix.json").read_text())) == (then == 2)


def test_numbers_of_another_format_are_replaced_only_when_asked_to(tiny_prior, recording, tmp_path):
    out = tmp_path / "out"
    restore_path(recording, out / "mix.wav", restorer(tiny_prior), physics=True)
    before = contents(out)
    assert json.loads(before["mix.json"])["audio"] == "mix.wav"
    [report] = restore_path(recording, out / "mix.flac", restorer(tiny_prior))
    assert report.status == "restored"
    assert before.items() <= contents(out).items()
    [report] = restore_path(recording, out / "mix.mp3", restorer(tiny_prior), physics=True)
    assert report.status == "failed"
    assert "mix.json tells of" in report.message
    assert before.items() <= contents(out).items()
    for odd in ('{"network_calls": 1, "audio": ""}', "[" * 100_000):
        (tmp_path / "odd").mkdir(exist_ok=True)
        (tmp_path / "odd" / "mix.json").write_text(odd)
        [report] = restore_path(recording, tmp_path / "odd" / "mix.wav", restorer(tiny_prior), True)
        assert report.status == "restored"
    (out / "mix.wav").unlink()  # now they are of nothing any more
    [report] = restore_path(recording, out / "mix.mp3", restorer(tiny_prior), physics=True)
    assert report.status == "restored"
    assert json.loads((out / "mix.json").read_text())["audio"] == "mix.mp3"


def test_a_result_that_cannot_be_written_leaves_the_earlier_one_whole(tiny_prior, make_speech, tmp_path):
    clipped = 4.0 * torch.from_numpy(make_speech(0.3))
    write_audio(tmp_path / "mix.flac", clipped.clamp(-0.3, 0.3) / 0.3, 16000)
    out = tmp_path / "out"
    first = restorer(tiny_prior, n_samples=2)
    restore_path(tmp_path / "mix.flac", out, first, physics=True)
    before = contents(out)
    assert {"mix.flac", "mix.json", str(Path("mix.samples", "1.flac"))} <= set(before)
    declip = Restorer(tiny_prior, task="declip", preset="fast")
    [report] = restore_path(tmp_path / "mix.flac", out, declip, overwrite=True, physics=True)
    assert report.status == "failed"
    assert "cannot hold" in report.message
    assert contents(out) == before


def test_what_cannot_be_written_beside_the_audio_is_named(tiny_prior, recording, tmp_path):
    (tmp_path / "out" / "mix.samples").mkdir(parents=True)
    (tmp_path / "out" / "mix.samples" / "1.wav").mkdir()
    [report] = restore_path(recording, tmp_path / "out", restorer(tiny_prior, n_samples=2))
    assert report.status == "failed"
    assert str(Path("mix.samples", "1.wav")) in report.message
    assert not [path for path in contents(tmp_path / "out") if ".part" in path]


def test_estimates_of_more_talkers_that_failed_go_as_well(tmp_path):
    theirs = {"a.failed.txt", "a.failed.talkers.wav", "a.failed.talker-notes.wav", "a.failed.wav"}
    for name in ("a.failed.talker1.wav", "a.failed.talker3.wav", "a.failed.residual.wav", *theirs):
        (tmp_path / name).touch()
    output = tmp_path / "a.wav"
    SideFiles.of(output).remove_earlier(AudioFiles(output, 2), has_summary=True, has_physics=True)
    assert set(contents(tmp_path)) == theirs


@pytest.mark.parametrize("name", ["mix.json", "mix.png"])
def test_a_file_of_somebody_else_is_replaced_only_when_asked_to(tiny_prior, recording, tmp_path, name):
    theirs = tmp_path / "out" / name
    theirs.parent.mkdir()
    theirs.write_text('{"mine": 1}')
    [report] = restore_path(recording, theirs.parent, restorer(tiny_prior), physics=True)
    assert report.status == "failed"
    assert f"{name} is no restoration's" in report.message
    assert contents(theirs.parent) == {name: theirs.read_bytes()}
    [report] = restore_path(recording, theirs.parent, restorer(tiny_prior))  # which writes none
    assert report.status == "restored"
    assert theirs.read_text() == '{"mine": 1}'
    [report] = restore_path(recording, theirs.parent, restorer(tiny_prior), overwrite=True, physics=True)
    assert report.status == "restored"
    assert theirs.read_bytes() != b'{"mine": 1}'


@pytest.mark.parametrize("n_talkers", [1, 2])
def test_an_earlier_picture_goes_with_what_it_shows(tiny_prior, recording, tmp_path, n_talkers):
    out = tmp_path / "out"
    restore_path(recording, out, restorer(tiny_prior, n_talkers), physics=True)
    assert (out / "mix.png").exists()
    restore_path(recording, out, restorer(tiny_prior, n_talkers), overwrite=True)
    assert not (out / "mix.png").exists()
    assert (out / "mix.json").exists() == (n_talkers == 2)


@pytest.mark.parametrize("name", ["a.failed.wav", "a.response.wav", "a.samples/3.wav"])
def test_a_recording_that_has_the_name_of_a_side_file_is_left_alone(tiny_prior, recording, name):
    source = recording.parent / name
    source.parent.mkdir(exist_ok=True)
    recording.rename(source)
    held = source.read_bytes()
    with pytest.raises(ConfigError, match=r"has the name of what is written as .*a\.wav or beside it"):
        restore_path(source, recording.parent / "a.wav", restorer(tiny_prior), overwrite=True)
    assert source.read_bytes() == held


@pytest.mark.parametrize(("name", "output"), [("a.response.wav", "a.wav"), ("rir.wav", "rir.wav")])
def test_so_is_a_given_room_response(tiny_prior, recording, tmp_path, name, output):
    response = tmp_path / name
    write_audio(response, torch.eye(1, 800), 16000, "FLOAT")
    held = response.read_bytes()
    informed = Restorer(tiny_prior, task="dereverb", preset="fast", rir=response)
    with pytest.raises(ConfigError, match=rf"{re.escape(name)} has the name"):
        restore_path(recording, tmp_path / output, informed, overwrite=True)
    assert response.read_bytes() == held


def test_names_are_refused_before_anything_is_restored(tiny_prior, make_speech, tmp_path):
    for name in "abc":
        write_audio(tmp_path / "in" / f"{name}.wav", torch.from_numpy(make_speech(0.3)), 16000)
    response = tmp_path / "out" / "c.response.wav"
    write_audio(response, torch.eye(1, 800), 16000, "FLOAT")
    informed = Restorer(tiny_prior, task="dereverb", preset="fast", rir=response)
    with pytest.raises(ConfigError, match=r"c\.response\.wav has the name"):
        restore_path(tmp_path / "in", tmp_path / "out", informed)
    assert set(contents(tmp_path / "out")) == {"c.response.wav"}


def test_samples_are_saved_beside_files_of_the_user(tmp_path):
    for name in ("2.wav", "17.wav", "notes.txt"):
        (tmp_path / name).write_text("mine")
    one = Restoration(torch.zeros(1, 1600), 16000, 1, 0.0)
    assert one.save_samples(tmp_path) == []
    several = Restoration(torch.zeros(1, 1600), 16000, 1, 0.0, samples=torch.zeros(1, 1, 1600))
    assert several.save_samples(tmp_path) == [tmp_path / "1.wav"]
    assert all((tmp_path / name).read_text() == "mine" for name in ("2.wav", "17.wav", "notes.txt"))


def test_a_file_that_diverges_keeps_its_best_estimate(tiny_prior, recording, monkeypatch):
    best = Restoration(torch.ones(1, 3), 16000, 1, 0.0)

    def diverges(*args, **others):
        raise UnfinishedError("The sampler diverged.", best)

    one = restorer(tiny_prior)
    monkeypatch.setattr(one, "restore", diverges)
    with pytest.raises(UnfinishedError, match=rf"^{recording}: The sampler diverged\.$") as caught:
        one.restore_file(recording)
    assert caught.value.best.wave is best.wave
    assert caught.value.best.subtype == "PCM_16"


def test_a_format_that_cannot_be_written_is_refused_before_the_work(tiny_prior, make_speech, tmp_path):
    source = tmp_path / "talk.sph"
    soundfile.write(source, make_speech(0.3).T.astype(np.float64), 16000, format="NIST", subtype="PCM_16")
    one = restorer(tiny_prior)
    with pytest.raises(ConfigError, match=r"talk\.sph, and \.sph is not a format that can be written"):
        restore_path(source, tmp_path / "out", one)
    [report] = restore_path(source, tmp_path / "out.wav", one)
    assert report.status == "restored"


@pytest.mark.parametrize("preset", ["default", "experiments/enhance/default.yaml"])
def test_a_task_that_is_none_is_refused_with_any_preset(preset):
    with pytest.raises(ConfigError, match="There is no task 'seperate'; choose one of: enhance,"):
        check_choice("seperate", preset)
