"""`diffsr report listen`: what the page holds, what it says of bad input, and that its script works."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from diffsr.cli import main
from diffsr.evaluation.evaluate import evaluate
from diffsr.report.listening import _track
from diffsr.report.listening_items import Track

RATE_HZ = 16000
METRICS = "si_sdr_db,estoi"


@pytest.fixture
def folders(tmp_path, make_speech):
    """Two items: `clean`, `noisy`, and what two systems made of them, one better than the other."""
    rng = np.random.default_rng(0)
    for name in ("a", "deep/b"):
        speech = 0.5 * make_speech(0.8)[0]
        noise = 0.05 * rng.standard_normal(len(speech))
        for folder, part in (("clean", 0.0), ("good", 0.1), ("bad", 0.5), ("noisy", 1.0)):
            path = tmp_path / folder / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, speech + part * noise, RATE_HZ)
    return tmp_path


def page(folder: Path, *arguments: str, code: int = 0) -> dict:
    """What the page of a command holds."""
    output = folder / "page" / "listen.html"
    found = main(["report", "listen", *(str(one) for one in arguments), f"--output={output}"])
    assert found == code
    return data_of(output)


def data_of(output: Path) -> dict:
    text = output.read_text(encoding="utf-8")
    held = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    return json.loads(held[1], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def wave_of(track: dict) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(base64.b64decode(track["audio"])))


def test_a_page_has_the_audio_and_the_scores_that_evaluate_finds(folders, capsys):
    found = page(
        folders,
        f"ours={folders / 'good'}",
        folders / "bad",
        f"--input={folders / 'noisy'}",
        f"--clean={folders / 'clean'}",
        f"--metrics={METRICS}",
        "--title=Two <systems>",
    )
    assert "2 of 2 items" in capsys.readouterr().out
    assert [item["id"] for item in found["items"]] == ["a", "deep/b"]
    assert found["systems"] == ["ours", "bad"]
    for item in found["items"]:
        names = ["recording", "ours", "bad", "clean"]
        assert [track["name"] for track in item["tracks"]] == names
        assert [track["role"] for track in item["tracks"]] == ["input", "system", "system", "clean"]
        for track, folder in zip(item["tracks"], ("noisy", "good", "bad", "clean"), strict=True):
            wave, rate_hz = wave_of(track)
            expected, _ = soundfile.read(folders / folder / f"{item['id']}.wav")
            assert rate_hz == track["rate_hz"] == RATE_HZ
            np.testing.assert_allclose(wave, expected, atol=2**-15)
            assert track["peak"] == pytest.approx(np.abs(expected).max(), abs=1e-4)
    for system, folder in (("ours", "good"), ("bad", "bad")):
        scored = evaluate(folders / folder, folders / "clean", folders / "noisy", metrics=METRICS.split(","))
        line = next(line for line in found["summary"] if line["name"] == system)
        assert line["scores"]["si_sdr_db"]["mean"] == f"{scored.summary('si_sdr_db').mean:.2f}"
        assert line["scores"]["si_sdr_db"]["more"].endswith("0 of 2 worse")
        for item, row in zip(found["items"], scored.rows, strict=True):
            assert item["scores"][system]["output"] == pytest.approx(dict(row.output))
            assert item["scores"][system]["gain"]["estoi"] == pytest.approx(row.improvement("estoi"))
            track = next(track for track in item["tracks"] if track["system"] == system)
            assert track["scores"] == item["scores"][system]["output"]
    assert found["summary"][0]["name"] == "recording"


def test_the_page_stands_alone_and_no_name_breaks_it(folders):
    odd = "</script><b>&amp; __DATA__ \udcff"
    shutil.copy(folders / "good" / "a.wav", folders / "good" / "x.wav")
    shutil.copy(folders / "clean" / "a.wav", folders / "clean" / "x.wav")
    found = page(
        folders, f"{odd}={folders / 'good'}", f"--title={odd}", f"--clean={folders / 'clean'}", "--count=1"
    )
    assert found["systems"] == [found["title"]] == [odd.replace("\udcff", "\\udcff")]
    assert len(found["items"]) == 1
    text = (folders / "page" / "listen.html").read_text(encoding="utf-8")
    assert "<title>&lt;/script&gt;&lt;b&gt;&amp;amp; __DATA__ \\udcff</title>" in text
    assert text.count("</script>") == 2
    assert not re.search(r"(src|href)=|url\(|https?://|@import", text)
    assert "default-src 'none'" in text


def test_talkers_stand_in_the_order_of_their_references(tmp_path, make_speech):
    speech = [0.3 * make_speech(0.8)[0], 0.3 * make_speech(0.8)[0][::-1]]
    for folder in ("clean/s1", "clean/s2", "noisy", "out"):
        (tmp_path / folder).mkdir(parents=True)
    soundfile.write(tmp_path / "noisy/a.wav", sum(speech), RATE_HZ)
    for k in range(2):
        soundfile.write(tmp_path / f"clean/s{k + 1}/a.wav", speech[k], RATE_HZ)
        soundfile.write(tmp_path / f"out/a.talker{2 - k}.wav", speech[k] + 0.1 * speech[1 - k], RATE_HZ)
    numbers = {"network_calls": 1, "scores": [0.1, None, 0.3], "confidence": 0.5, "channels": [{}]}
    (tmp_path / "out/a.json").write_text(json.dumps(numbers))
    [item] = page(
        tmp_path, tmp_path / "out", f"--input={tmp_path / 'noisy'}", f"--clean={tmp_path / 'clean'}"
    )["items"]
    names = ["recording", "out, talker 1", "out, talker 2", "clean, talker 1", "clean, talker 2"]
    assert [track["name"] for track in item["tracks"]] == names
    assert [track["talker"] for track in item["tracks"]] == [0, 1, 2, 1, 2]
    assert [track["file"] for track in item["tracks"][1:3]] == ["a.talker2.wav", "a.talker1.wav"]
    for track in item["tracks"][1:3]:
        assert track["scores"]["si_sdr_db"] > 15
        assert track["gains"]["si_sdr_db"] > 10
    assert item["tracks"][1]["facts"] == ["best restart scores 0.30", "confidence 0.50"]
    [alone] = page(tmp_path, tmp_path / "out")["items"]
    assert [track["name"] for track in alone["tracks"]] == ["out, talker 1", "out, talker 2"]
    assert alone["scores"] == {}
    assert alone["in_order"]


def write_talkers(folder: Path, waves: list[np.ndarray], names: str = "{folder}/a.talker{k}.wav") -> None:
    for k, wave in enumerate(waves, start=1):
        path = Path(names.format(folder=folder, k=k))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, RATE_HZ)


def test_talkers_are_in_order_without_scores_too(tmp_path, make_speech):
    speech = [(0.2 + 0.1 * k) * make_speech(0.8, seed=k)[0] for k in range(3)]
    write_talkers(tmp_path / "one", speech[:2])
    write_talkers(tmp_path / "two", speech[1::-1])
    write_talkers(tmp_path / "three", [speech[2], *speech[:2]])
    write_talkers(tmp_path / "clean", speech[1::-1], "{folder}/s{k}_anechoic/a.wav")
    given = [f"--clean={tmp_path / 'clean'}", "--talkers=talker1:s1_anechoic,talker2:s2_anechoic"]
    [item] = page(tmp_path, tmp_path / "one", tmp_path / "two", *given, "--metrics=")["items"]
    files = [track["file"] for track in item["tracks"] if track["role"] == "system"]
    assert files == ["a.talker2.wav", "a.talker1.wav", "a.talker1.wav", "a.talker2.wav"]
    [item] = page(tmp_path, tmp_path / "one", tmp_path / "two")["items"]  # in the order of the first
    files = [track["file"] for track in item["tracks"]]
    assert files == ["a.talker1.wav", "a.talker2.wav", "a.talker2.wav", "a.talker1.wav"]
    assert item["in_order"]
    [item] = page(tmp_path, tmp_path / "one", tmp_path / "three")["items"]
    assert not item["in_order"]
    assert item["notes"] == ["talkers of one number need not be the same in all systems"]
    [item] = page(tmp_path, tmp_path / "one", *given, "--metrics=si_sdr_db,si_sdr_64ms_db")["items"]
    assert set(item["tracks"][0]["scores"]) == {"si_sdr_db", "si_sdr_64ms_db"}


def test_what_is_beyond_full_scale_is_played_softer_not_clipped(folders):
    wave, _ = soundfile.read(folders / "clean" / "a.wav")
    loud = 1.6 * wave / np.abs(wave).max()
    for folder, content in (("clean", loud), ("good", loud), ("noisy", loud.clip(-1, 1))):
        soundfile.write(folders / folder / "a.wav", content, RATE_HZ, "FLOAT")
    options = [f"--input={folders / 'noisy'}", f"--clean={folders / 'clean'}", f"--metrics={METRICS}"]
    first = page(folders, folders / "good", *options)["items"][0]
    assert first["notes"][-1].startswith("all tracks are played 4.1 dB softer")
    for track, expected in zip(first["tracks"], (loud.clip(-1, 1), loud, loud), strict=True):
        np.testing.assert_allclose(wave_of(track)[0], expected / 1.6, atol=2**-14)


def test_means_are_of_the_items_that_all_systems_are_scored_on(folders):
    wave, _ = soundfile.read(folders / "bad" / "a.wav")
    soundfile.write(folders / "bad" / "a.wav", wave[::2], RATE_HZ // 2)
    options = [f"--input={folders / 'noisy'}", f"--clean={folders / 'clean'}", "--metrics=si_sdr_db,delay_ms"]
    found = page(folders, folders / "good", folders / "bad", *options)
    assert found["compared"] == "1 item of 2, those that all systems are scored on"
    scored = found["items"][1]["scores"]
    for line in found["summary"][1:]:
        expected = scored[line["name"]]["output"]["si_sdr_db"]
        assert line["scores"]["si_sdr_db"]["mean"] == f"{expected:.2f}"
        assert line["scores"]["delay_ms"]["more"] == ""  # neither direction is better
    other = page(folders, folders / "good", *options)
    assert other["compared"] == "2 items"
    assert other["key"] != found["key"]  # ratings of other sounds are others


def test_what_a_restoration_found_out_stands_beside_it(folders):
    told = {
        "network_calls": 30,
        "channels": [
            {
                "channel": 0,
                "noise": {"level_db": -41.2},
                "room": {"rt60_s": 0.456, "drr_db": 3.0},
                "cutoff_hz": None,
            }
        ],
    }
    (folders / "good" / "a.json").write_text(json.dumps(told))
    strange = {"network_calls": 1, "scores": 5, "channels": {}, "confidence": "high"}
    (folders / "good" / "deep" / "b.json").write_text(json.dumps(strange))
    first, second = page(folders, folders / "good")["items"]
    assert first["tracks"][0]["facts"] == ["T60 0.46 s", "direct to reverberant +3.0 dB", "noise -41 dB"]
    assert second["tracks"][0]["facts"] == []


def test_items_that_some_lack_are_named_and_broken_ones_do_not_stop_the_others(folders, capsys):
    (folders / "bad" / "deep" / "b.wav").unlink()
    for name in ("c", "d"):
        for folder in ("good", "bad", "clean"):
            shutil.copy(folders / "good" / "a.wav", folders / folder / f"{name}.wav")
    (folders / "bad" / "c.wav").write_text("no audio")
    silence = np.zeros(int(0.8 * RATE_HZ))
    soundfile.write(folders / "bad" / "d.wav", silence, RATE_HZ)
    found = page(folders, folders / "good", folders / "bad", f"--clean={folders / 'clean'}", code=2)
    assert [item["id"] for item in found["items"]] == ["a", "d"]
    out, err = capsys.readouterr()
    assert "2 of 3 items" in out
    assert "not in all folders (1): deep/b" in out
    assert "c.wav is not audio that can be read" in err
    silent = found["items"][1]
    assert silent["scores"]["bad"]["output"]["si_sdr_db"] is None
    assert silent["tracks"][1]["level_db"] is None


def test_a_system_that_cannot_be_scored_can_still_be_heard(folders):
    wave, _ = soundfile.read(folders / "bad" / "a.wav")
    soundfile.write(folders / "bad" / "a.wav", wave[::2], RATE_HZ // 2)
    found = page(folders, folders / "good", folders / "bad", f"--clean={folders / 'clean'}")
    first = found["items"][0]
    assert set(first["scores"]) == {"good"}
    assert "bad could not be scored" in first["notes"][0]
    assert [track["rate_hz"] for track in first["tracks"]] == [RATE_HZ, RATE_HZ // 2, RATE_HZ]


def test_single_files_and_a_cut(folders):
    [item] = page(
        folders,
        f"ours={folders / 'good/a.wav'}",
        f"other={folders / 'bad/deep/b.wav'}",
        f"--input={folders / 'noisy/a.wav'}",
        "--crop_s=0.25",
    )["items"]
    assert [track["name"] for track in item["tracks"]] == ["recording", "ours", "other"]
    assert all(len(wave_of(track)[0]) == RATE_HZ // 4 for track in item["tracks"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["good", "--output=page.pdf"], "expected a name that ends in .html"),
        (["good", "--count=-1"], "--count is -1; expected 1 or more"),
        (["good", "--crop_s=0"], "--crop_s is 0; expected seconds above 0"),
        (["good", "./good"], "./good: 'good' is the name of another track"),
        (["clean=good"], "'clean' is the name of another track"),
        (["good", "--output=bad"], "expected a name that ends in .html"),
        (["good", "--output=good.html"], "good.html: it is a folder"),
        (["good", "--output=clean/a.wav/x.html"], "Cannot write clean/a.wav/x.html: "),
        (["good", "--metrics=estoi"], "estoi cannot do without references. Give them with --clean"),
        (["good", "--metrics=loudness"], "Unknown metric 'loudness'"),
        (["nowhere"], "nowhere does not exist"),
        (["good", "clean/a.wav"], "good is a folder, clean/a.wav is a file: expected only files"),
        (["good", "--clean=other"], "No item is complete"),
        (["good", "other"], "No item is in all folders: good has a; other has z and so on"),
    ],
)
def test_what_cannot_be_shown(folders, arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(folders)
    (folders / "other").mkdir()
    (folders / "good.html").mkdir()
    shutil.copy(folders / "good" / "a.wav", folders / "other" / "z.wav")
    assert main(["report", "listen", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (folders / "listen.html").exists()


SCRIPT = Path(__file__).parents[2] / "diffsr" / "assets" / "listening" / "page.js"
HERE = Path(__file__).parent


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which runs the script of the page")
def test_the_script_transforms_sorts_shuffles_and_counts(folders, tmp_path):
    options = [f"--input={folders / 'noisy'}", f"--clean={folders / 'clean'}", f"--metrics={METRICS}"]
    held = page(folders, folders / "good", folders / "bad", *options)
    program = tmp_path / "page_test.js"
    data = f"made.data.textContent = {json.dumps(json.dumps(held))};\n"
    script = SCRIPT.read_text(encoding="utf-8").replace('"use strict";', "")
    before, after = ((HERE / f"listening_{part}.js").read_text() for part in ("before", "after"))
    program.write_text(before + data + script + after, encoding="utf-8")
    run = subprocess.run(["node", str(program)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("n_channels", [1, 2, 8])
def test_the_level_is_that_of_what_one_hears(n_channels):
    rng = torch.Generator().manual_seed(0)
    alike = 0.1 * torch.randn(n_channels, RATE_HZ, generator=rng)
    opposite = alike[:1] * torch.tensor([1.0, -1.0])[:, None]
    for wave in (alike, opposite):
        track = Track("a", "system", "a", 0, Path("a.wav"), wave, RATE_HZ)
        assert _track(track, wave, None)["level_db"] == pytest.approx(-20.0, abs=0.2)
