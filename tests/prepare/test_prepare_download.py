"""Downloads with a stand-in for torchaudio's classes: the network is never touched."""

import shutil
import sys
import tarfile
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffsr.errors import DataError
from diffsr.prepare import download as module
from diffsr.prepare.download import SOURCES, download


@pytest.fixture
def fetched(monkeypatch):
    """Replaces torchaudio's datasets; the calls are listed, `fail` is raised half-way."""
    state = SimpleNamespace(calls=[], fail=None)

    def dataset(top, part_folder):
        def fetch(root, url="", download=False):
            assert download
            state.calls.append(url)
            part = Path(root) / top / part_folder.format(url=url)
            assert not part.exists(), "torchaudio would take a half unpacked folder for complete"
            part.mkdir(parents=True)
            (part / "first.flac").touch()
            if state.fail:
                raise state.fail
            (part / "second.flac").touch()
            (Path(root) / top / "README.TXT").touch()
            (Path(root) / "archive.tar.gz").touch()

        return fetch

    datasets = SimpleNamespace(
        LIBRISPEECH=dataset("LibriSpeech", "{url}"),
        VCTK_092=dataset("VCTK-Corpus-0.92", "txt"),
        CMUARCTIC=dataset("ARCTIC", "cmu_us_{url}_arctic"),
    )
    monkeypatch.setattr(module, "import_torchaudio", lambda: SimpleNamespace(datasets=datasets))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1e12))  # any disk will do
    return state


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_classes_are_torchaudios():
    datasets = module.import_torchaudio().datasets
    for source in SOURCES.values():
        assert hasattr(datasets, source.dataset)
    known = sys.modules[datasets.LIBRISPEECH.__module__]._DATA_SUBSETS
    assert set(SOURCES["librispeech"].sizes_gb) == set(known)
    for talker in SOURCES["cmu_arctic"].sizes_gb:
        assert f'"{talker}"' in datasets.CMUARCTIC.__doc__


def test_size_and_licence_come_first(tmp_path, fetched):
    said = []

    def announce(text):
        said.append((text, list(fetched.calls)))

    home = download(SOURCES["librispeech"], tmp_path, ["dev-clean", "test-clean"], announce)
    assert home == tmp_path / "LibriSpeech"
    assert [(calls, "0.34 GB" in text, "CC BY 4.0" in text) for text, calls in said] == [
        ([], True, True),
        (["dev-clean"], False, True),
    ]
    assert names(tmp_path) == [
        "LibriSpeech/README.TXT",
        *(
            f"LibriSpeech/{part}/{n}.flac"
            for part in ("dev-clean", "test-clean")
            for n in ("first", "second")
        ),
    ]


def test_what_is_there_is_not_fetched_again(tmp_path, fetched):
    said = []
    for _ in range(2):
        download(SOURCES["cmu_arctic"], tmp_path, ["slt"], said.append)
    download(SOURCES["cmu_arctic"], tmp_path / "ARCTIC", ["bdl"], said.append)
    assert fetched.calls == ["slt", "bdl"]
    assert "is there already" in said[1]
    assert (tmp_path / "ARCTIC" / "cmu_us_bdl_arctic" / "second.flac").is_file()
    download(SOURCES["vctk"], tmp_path, [], said.append)
    assert (tmp_path / "VCTK-Corpus-0.92" / "txt" / "second.flac").is_file()


def test_parts_have_to_be_named(tmp_path, fetched):
    with pytest.raises(DataError, match=r"Cannot download all.*--subset: dev-clean \(0.34 GB\)"):
        download(SOURCES["librispeech"], tmp_path, [], print)
    with pytest.raises(DataError, match="Cannot download train-clean of LibriSpeech"):
        download(SOURCES["librispeech"], tmp_path, ["train-clean"], print)
    assert not fetched.calls


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (urllib.error.URLError("name or service not known"), "name or service not known"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset"),
        (RuntimeError('invalid hash value (expected "76", got "77")'), "invalid hash value"),
        (tarfile.ReadError("unexpected end of data"), "unexpected end of data"),
    ],
)
def test_a_failure_is_one_message_and_leaves_nothing_half_there(tmp_path, fetched, error, words):
    fetched.fail = error
    with pytest.raises(DataError, match=words) as caught:
        download(SOURCES["librispeech"], tmp_path, ["dev-clean"], lambda text: None)
    assert "Check the network connection" in str(caught.value)
    assert "openslr.org/12" in str(caught.value)
    assert not (tmp_path / "LibriSpeech").exists()
    fetched.fail = None
    download(SOURCES["librispeech"], tmp_path, ["dev-clean"], lambda text: None)
    assert names(tmp_path)[-1] == "LibriSpeech/dev-clean/second.flac"


def test_a_stop_is_not_an_error(tmp_path, fetched):
    fetched.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        download(SOURCES["librispeech"], tmp_path, ["dev-clean"], lambda text: None)
    assert not (tmp_path / "LibriSpeech").exists()


def test_a_stopped_part_does_not_pass_for_complete_with_the_next(tmp_path, fetched):
    for corpus, first, second, folder in (
        ("librispeech", "dev-clean", "test-clean", "LibriSpeech/dev-clean"),
        ("cmu_arctic", "slt", "bdl", "ARCTIC/cmu_us_slt_arctic"),
    ):
        fetched.fail = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            download(SOURCES[corpus], tmp_path, [first], lambda text: None)
        fetched.fail = None
        download(SOURCES[corpus], tmp_path, [second], lambda text: None)
        assert not (tmp_path / folder).exists()
        download(SOURCES[corpus], tmp_path, [first], lambda text: None)
        assert (tmp_path / folder / "second.flac").is_file()


def test_archives_of_a_stopped_run_are_used_again_and_removed_in_the_end(tmp_path, fetched):
    archive = tmp_path / ".diffsr-download-cmuarctic" / "ARCTIC" / "cmu_us_slt_arctic.tar.bz2"
    fetched.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        download(SOURCES["cmu_arctic"], tmp_path, ["slt"], lambda text: None)
    archive.touch()  # torchaudio puts it beside the talkers
    with pytest.raises(KeyboardInterrupt):
        download(SOURCES["cmu_arctic"], tmp_path, ["slt"], lambda text: None)
    assert archive.is_file()
    fetched.fail = None
    download(SOURCES["cmu_arctic"], tmp_path, ["slt"], lambda text: None)
    assert not any(".tar" in name for name in names(tmp_path))


def test_no_room_on_the_disk(tmp_path, fetched, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10e9))
    with pytest.raises(DataError, match=r"10.0 GB are free, 13.9 GB are needed"):
        download(SOURCES["librispeech"], tmp_path, ["train-clean-100"], lambda text: None)
    assert not fetched.calls
