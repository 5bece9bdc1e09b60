import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from diffsr.errors import AudioError, DataError
from diffsr.io.audio import (
    AUDIO_SUFFIXES,
    OTHER_SUFFIXES,
    can_hold,
    find_audio,
    probe,
    read_audio,
    write_audio,
)


def tone(seconds=1.0, rate_hz=16000, channels=1, amplitude=0.5):
    time = torch.arange(round(seconds * rate_hz)) / rate_hz
    return torch.stack([amplitude * torch.sin(2 * math.pi * 220 * (c + 1) * time) for c in range(channels)])


@pytest.mark.parametrize(
    ("name", "subtype", "rate_hz", "channels", "tolerance"),
    [
        ("a.wav", None, 16000, 1, 1 / 32768),
        ("a.wav", "PCM_24", 44100, 2, 1e-6),
        ("a.wav", "FLOAT", 8000, 1, 0.0),
        ("a.flac", None, 48000, 3, 1 / 32768),
        ("a.FLAC", "PCM_24", 16000, 1, 1e-6),
        ("a.ogg", None, 16000, 1, 0.05),
        ("a.opus", None, 16000, 1, 0.05),
        ("a.aiff", None, 22050, 2, 1 / 32768),
        ("a.rf64", None, 48000, 2, 1 / 32768),
    ],
)
def test_what_was_written_is_read(tmp_path, name, subtype, rate_hz, channels, tolerance):
    wave = tone(0.5, rate_hz, channels)
    write_audio(tmp_path / "new" / name, wave, rate_hz, subtype)
    back, info = read_audio(tmp_path / "new" / name)
    assert back.dtype == torch.float32
    assert (info.rate_hz, info.n_samples, info.n_channels) == (rate_hz, wave.shape[1], channels)
    assert info == probe(tmp_path / "new" / name)
    assert info.duration_s == pytest.approx(0.5)
    assert (back - wave)[:, 500:-500].abs().max() <= tolerance
    assert os.listdir(tmp_path / "new") == [name]


def test_mp3_is_read(tmp_path):
    write_audio(tmp_path / "a.mp3", tone(1.0), 16000)
    back, info = read_audio(tmp_path / "a.mp3")
    assert info.format == "MP3"
    assert back.square().mean().sqrt() == pytest.approx(0.5 / math.sqrt(2), rel=0.05)


def test_no_format_both_can_and_cannot_be_read():
    assert AUDIO_SUFFIXES.isdisjoint(OTHER_SUFFIXES)


def test_a_minute_of_opus_survives_block_writing(tmp_path):
    wave = tone(60.0)
    write_audio(tmp_path / "a.opus", wave, 16000)
    back, _ = read_audio(tmp_path / "a.opus")
    assert back.shape == wave.shape
    assert (back - wave)[:, 1000:-1000].abs().max() < 0.05


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.opus"])
def test_a_part_is_the_part_of_the_whole(tmp_path, name):
    write_audio(tmp_path / name, tone(2.0, channels=2), 16000)
    whole, _ = read_audio(tmp_path / name)
    part, info = read_audio(tmp_path / name, 0.5, 1.25)
    assert torch.equal(part, whole[:, 8000:20000])
    assert info.n_samples == 32000
    assert torch.equal(read_audio(tmp_path / name, 1.5, 99.0)[0], whole[:, 24000:])


@pytest.mark.parametrize("times", [(5.0, None), (0.5, 0.5), (0.6, 0.2)])
def test_an_empty_part_is_an_error(tmp_path, times):
    write_audio(tmp_path / "a.wav", tone(1.0), 16000)
    with pytest.raises(AudioError, match="nothing lies between"):
        read_audio(tmp_path / "a.wav", *times)


def test_one_sample_and_silence_are_read(tmp_path):
    write_audio(tmp_path / "one.wav", torch.tensor([[0.25]]), 16000)
    write_audio(tmp_path / "silent.wav", torch.zeros(1, 1600), 16000)
    assert read_audio(tmp_path / "one.wav")[0].tolist() == [[0.25]]
    assert read_audio(tmp_path / "silent.wav")[0].abs().max() == 0


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_integer_formats_clip_and_never_wrap(tmp_path, subtype):
    wave = torch.tensor([[0.0, 1.0, 1.5, 300.0, -1.0, -1.5, -300.0]])
    write_audio(tmp_path / "a.wav", wave, 16000, subtype)
    back, _ = read_audio(tmp_path / "a.wav")
    assert (back - wave.clamp(-1, 1)).abs().max() < 1e-4


def test_float_formats_keep_what_lies_beyond_full_scale(tmp_path):
    write_audio(tmp_path / "a.wav", torch.tensor([[1.5, -3.0]]), 16000, "FLOAT")
    assert read_audio(tmp_path / "a.wav")[0].tolist() == [[1.5, -3.0]]


def test_unusable_files_name_what_was_found(tmp_path):
    (tmp_path / "text.wav").write_text("this is no recording, only some words " * 20)
    (tmp_path / "zero.wav").write_bytes(b"")
    soundfile.write(tmp_path / "nothing.wav", torch.zeros(0).numpy(), 16000)
    nan = torch.zeros(100)
    nan[7], nan[8] = math.nan, math.inf
    soundfile.write(tmp_path / "nan.wav", nan.numpy(), 16000, "FLOAT")
    for name, words in {
        "missing.wav": "does not exist",
        "": "is a folder",
        "text.wav": "is not audio that can be read",
        "zero.wav": "is empty",
        "nothing.wav": "holds no samples",
        "nan.wav": "2 NaN or infinite",
    }.items():
        with pytest.raises(AudioError, match=words) as caught:
            read_audio(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_file_without_permission(tmp_path, monkeypatch):
    write_audio(tmp_path / "a.wav", tone(), 16000)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(AudioError, match="may not be read"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.opus"])
def test_a_file_cut_short_is_read_in_part_or_refused(tmp_path, name):
    write_audio(tmp_path / name, tone(2.0), 16000)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    try:
        wave, _ = read_audio(tmp_path / name)
    except AudioError:
        return
    assert 0 < wave.shape[1] <= 32000


@pytest.mark.parametrize(
    ("name", "wave", "rate_hz", "subtype", "words"),
    [
        ("a.xyz", torch.zeros(1, 10), 16000, None, "suffix '.xyz' is not known"),
        ("a", torch.zeros(1, 10), 16000, None, "suffix '' is not known"),
        ("a.wav", torch.zeros(10), 16000, None, "expected \\[C, T\\]"),
        ("a.wav", torch.zeros(1, 0), 16000, None, "Nothing to write"),
        ("a.wav", torch.full((1, 9), math.nan), 16000, None, "NaN or infinite"),
        ("a.wav", torch.zeros(1, 10), 16000, "OPUS", "Cannot write"),
        ("a.wav", torch.zeros(1, 10), 16000, "NONSENSE", "Cannot write"),
        ("a.opus", torch.zeros(1, 10), 44100, None, "44100 Hz"),
    ],
)
def test_unwritable_content_leaves_nothing_behind(tmp_path, name, wave, rate_hz, subtype, words):
    with pytest.raises(AudioError, match=words):
        write_audio(tmp_path / name, wave, rate_hz, subtype)
    assert os.listdir(tmp_path) == []


def test_unwritable_targets(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AudioError, match="Cannot write"):
        write_audio(tmp_path / "file" / "a.wav", tone(), 16000)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match="it is a folder"):
        write_audio(tmp_path / "folder.wav", tone(), 16000)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.wav"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    write_audio(path, tone(), 16000)
    before = path.read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(AudioError, match="No space left"):
        write_audio(path, tone(2.0), 16000)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.wav"]


def test_find_audio_lists_recordings_sorted_and_skips_the_hidden(tmp_path):
    for name in ("b.wav", "a/z.FLAC", "a/b.mp3", ".hidden.wav", ".cache/c.wav", "notes.txt", "c.opus"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert found == ["a/b.mp3", "a/z.FLAC", "b.wav", "c.opus"]


def test_find_audio_leaves_out_what_lies_beside_a_restoration(tmp_path):
    restored = ["a.wav", "deep/b.wav", "deep/b.mp3", "mix.talker1.wav", "mix.residual.wav"]
    beside = ["a.samples/1.wav", "a.response.wav", "a.failed.wav", "deep/b.mp3.samples/1.mp3"]
    beside += ["mix.samples/1.talker1.wav", "mix.failed.talker2.wav", "mix.failed.residual.wav"]
    others = [
        "c.response.wav",
        "c.samples/1.wav",
        "d.failed.flac",
        "a.responses.wav",
    ]  # their owner is not there
    for name in (*restored, *beside, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert sorted(found) == sorted(restored + others)
    assert find_audio(tmp_path / "a.samples") == [tmp_path / "a.samples" / "1.wav"]  # asked for by name


def test_find_audio_follows_links_to_folders(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.wav").touch()
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "store", target_is_directory=True)
    assert find_audio(tmp_path / "corpus") == [tmp_path / "corpus" / "link" / "a.wav"]


def test_find_audio_without_recordings(tmp_path):
    (tmp_path / "notes.txt").touch()
    for folder, words in {
        tmp_path: "No recording in",
        tmp_path / "missing": "does not exist",
        tmp_path / "notes.txt": "is a file",
    }.items():
        with pytest.raises(DataError, match=words):
            find_audio(folder)


def test_input_and_output_do_not_import_heavy_packages():
    code = (
        "import sys, diffsr.io.manifest, diffsr.prepare.folder;"
        "heavy = {'lightning', 'librosa', 'torchaudio', 'matplotlib', 'wandb', 'scipy'} & set(sys.modules);"
        "sys.exit(' '.join(heavy) or 0)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_flac_that_does_not_say_how_long_it_is_is_refused(tmp_path):
    path = tmp_path / "pipe.flac"
    write_audio(path, tone(1.0), 16000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the lower 36 bits of bytes 21 to 25 are the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    for look in (probe, read_audio):
        with pytest.raises(AudioError, match=r"pipe.flac does not say how long it is.*ffmpeg -i IN out.wav"):
            look(path)


@pytest.mark.parametrize(("layer", "expected"), [("I", False), ("II", False), ("III", True)])
def test_only_the_layer_that_can_be_written_is_kept(layer, expected):
    assert can_hold("a.mp3", f"MPEG_LAYER_{layer}") is expected
    assert not can_hold("a.wav", f"MPEG_LAYER_{layer}")


def test_a_long_name_of_characters_of_several_bytes_can_be_written(tmp_path):
    path = tmp_path / ("\u8a9e" * 80 + ".wav")  # 244 bytes of the 255 that a file system takes
    write_audio(path, tone(0.1), 16000)
    assert probe(path).n_samples == 1600


def test_a_name_that_cannot_be_looked_up_is_one_that_is_not_there(tmp_path):
    with pytest.raises(AudioError, match="does not exist"):
        read_audio(tmp_path / ("a" * 300 + ".wav"))
