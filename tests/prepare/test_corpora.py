"""Each corpus on a small tree with its real layout: what its paths say, what is left out or missing."""

import json

import numpy as np
import pytest
import soundfile

from diffsr.commands.prepare import HELP
from diffsr.errors import DataError
from diffsr.io.manifest import read_manifest
from diffsr.prepare.build import prepare
from diffsr.prepare.corpora import CORPORA
from diffsr.prepare.corpus import Selection

RATE_HZ = 16000
SPAN = {"speech_start_s": 0.0, "speech_end_s": 0.5}


def refused(corpus, folder, parts=()):
    """The message for a folder that is not this corpus; it holds the expected tree."""
    with pytest.raises(DataError) as caught:
        prepare(CORPORA[corpus], folder, selection=Selection(tuple(parts)))
    assert CORPORA[corpus].tree in str(caught.value)
    assert not list(folder.rglob("*manifest*"))
    return str(caught.value)


def test_the_command_line_knows_all_corpora():
    assert set(HELP) == {*CORPORA, "folder"}


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_wrong_folder_is_answered_with_the_tree(corpus, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "notes.txt").touch()
    assert "found holiday/, notes.txt" in refused(corpus, tmp_path)
    assert "found nothing" in refused(corpus, tmp_path / "holiday")
    with pytest.raises(DataError, match="does not exist") as caught:
        prepare(CORPORA[corpus], tmp_path / "gone")
    assert CORPORA[corpus].tree in str(caught.value)


@pytest.fixture
def librispeech(tmp_path, record):
    for subset, speaker in {"train-clean-100": "103", "dev-clean": "84", "test-other": "367"}.items():
        chapter = f"LibriSpeech/{subset}/{speaker}/1240"
        for number in range(2):
            record(f"{chapter}/{speaker}-1240-000{number}.flac")
        lines = f"{speaker}-1240-0000 CHAPTER ONE\n{speaker}-1240-0001 MISSUS RACHEL\n"
        (tmp_path / chapter / f"{speaker}-1240.trans.txt").write_text(lines)
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").write_text("103 | F\n")
    return tmp_path / "LibriSpeech"


def test_librispeech(librispeech, listed):
    rows = listed("librispeech", librispeech)
    assert len(rows) == 6
    assert rows["103-1240-0001"] == {
        "path": "train-clean-100/103/1240/103-1240-0001.flac",
        "speaker": "103",
        "split": "train",
        "text": "MISSUS RACHEL",
        "corpus": "librispeech",
        **SPAN,
    }
    assert {row["speaker"]: row["split"] for row in rows.values()} == {
        "103": "train",
        "84": "valid",
        "367": "test",
    }
    assert len(read_manifest(librispeech)) == 6


def test_librispeech_from_above_and_from_a_subset(librispeech, listed):
    assert len(listed("librispeech", librispeech.parent)) == 6
    assert set(listed("librispeech", librispeech / "dev-clean")) == {"84-1240-0000", "84-1240-0001"}
    some = listed("librispeech", librispeech, selection=Selection(("dev-clean", "test-other")))
    assert {row["split"] for row in some.values()} == {"valid", "test"}


def test_links_to_subsets_keep_their_names(librispeech, listed, tmp_path):
    home = tmp_path / "links" / "LibriSpeech"
    home.mkdir(parents=True)
    for name in ("train-clean-100", "test-other"):
        (tmp_path / f"disk of {name[:4]}").symlink_to(librispeech / name)  # a link to a link, of other names
        (home / name).symlink_to((librispeech / name).rename(tmp_path / f"store-{name[:5]}"))
    rows = listed("librispeech", home)
    assert {row["speaker"]: row["split"] for row in rows.values()} == {"103": "train", "367": "test"}
    assert {row["split"] for row in listed("librispeech", home / "test-other").values()} == {"test"}


def test_librispeech_half_there(librispeech):
    words = refused("librispeech", librispeech, ["dev-other"])
    assert "dev-other is not there; found dev-clean, test-other, train-clean-100" in words
    (librispeech / "train-clean-360").mkdir()
    assert "train-clean-360 has no recordings of speakers, found nothing" in refused(
        "librispeech", librispeech
    )


def test_vctk(tmp_path, record, listed):
    home = tmp_path / "VCTK-Corpus-0.92"
    for speaker in ("p225", "s5"):
        for microphone in (1, 2):
            record(
                f"{home.name}/wav48_silence_trimmed/{speaker}/{speaker}_001_mic{microphone}.flac",
                rate_hz=48000,
            )
    (home / "wav48_silence_trimmed" / "log.txt").touch()
    (home / "txt" / "p225").mkdir(parents=True)
    (home / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.\n")
    rows = listed("vctk", tmp_path)
    assert rows["p225_001_mic1"] == {
        "path": "VCTK-Corpus-0.92/wav48_silence_trimmed/p225/p225_001_mic1.flac",
        "speaker": "p225",
        "text": "Please call Stella.",
        "corpus": "vctk",
        **SPAN,
    }
    assert set(rows) == {"p225_001_mic1", "s5_001_mic1"}
    assert "text" not in rows["s5_001_mic1"]
    assert prepare(CORPORA["vctk"], home).found.set_aside == {"second microphone": 2}
    both = listed("vctk", home / "wav48_silence_trimmed", selection=Selection(everything=True))
    assert len(both) == 4
    assert both["p225_001_mic2"]["text"] == "Please call Stella."


def test_old_vctk(tmp_path, record, listed):
    record("VCTK-Corpus/wav48/p225/p225_001.wav", rate_hz=48000)
    (tmp_path / "VCTK-Corpus" / "txt").mkdir()
    assert listed("vctk", tmp_path / "VCTK-Corpus")["p225_001"]["speaker"] == "p225"
    (tmp_path / "empty" / "wav48").mkdir(parents=True)
    assert "no talkers with recordings" in refused("vctk", tmp_path / "empty")


@pytest.fixture
def sphere(tone):
    """Writes a NIST SPHERE file; the compressed one has the header of the discs and no sound in it."""

    def sphere(path, compressed=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(), RATE_HZ, format="NIST", subtype="PCM_16")
        if compressed:
            header = path.read_bytes()[:1024]
            coding = b"sample_coding -s26 pcm,embedded-shorten-v2.00"
            header = header.replace(b"sample_coding -s3 pcm", coding)[:1024]
            noise = np.random.default_rng(0).integers(0, 256, 9000, dtype=np.uint8)
            path.write_bytes(header + b"ajkg" + noise.tobytes())

    return sphere


def test_wsj0(tmp_path, record, listed, sphere):
    record("wsj0/si_tr_s/011/011c0201.wav")
    sphere(tmp_path / "wsj0/si_tr_s/011/011c0201.wv1")  # its original: not listed twice
    record("wsj0/si_dt_05/050/050c0101.wav")
    record("wsj0/si_et_05/440/440c0201.wav")
    record("wsj0/si_et_20/440/440c0202.wav")
    for folder in (tmp_path, tmp_path / "wsj0"):
        rows = listed("wsj0", folder)
        assert {name: (row["speaker"], row["split"]) for name, row in rows.items()} == {
            "si_tr_s/011/011c0201": ("011", "train"),
            "si_dt_05/050/050c0101": ("050", "valid"),
            "si_et_05/440/440c0201": ("440", "test"),
        }


def test_wsj0_as_the_discs_hold_it(tmp_path, listed, sphere):
    sphere(tmp_path / "11-1.1/wsj0/si_tr_s/01a/01ac0201.wv1")
    sphere(tmp_path / "11-2.1/wsj0/si_tr_s/01b/01bc0201.wv1")
    sphere(tmp_path / "11-2.1/wsj0/si_tr_s/01b/01bc0201.wv2")
    rows = listed("wsj0", tmp_path)
    assert set(rows) == {"si_tr_s/01a/01ac0201", "si_tr_s/01b/01bc0201"}
    assert rows["si_tr_s/01a/01ac0201"]["speech_end_s"] == 0.5
    found = prepare(CORPORA["wsj0"], tmp_path).found
    assert found.notes == ("si_dt_05 (valid) is not there", "si_et_05 (test) is not there")


def test_compressed_wsj0(tmp_path, sphere):
    sphere(tmp_path / "wsj0/si_tr_s/011/011c0201.wv1", compressed=True)
    words = refused("wsj0", tmp_path)
    assert "All 1 .wv1 files" in words
    assert "sph2pipe" in words
    sphere(tmp_path / "wsj0/si_tr_s/011/011c0202.wv1")
    done = prepare(CORPORA["wsj0"], tmp_path)
    assert [row.id for row in done.rows] == ["si_tr_s/011/011c0202"]
    assert done.found.set_aside == {"compressed .wv1": 1}


def test_wham_noise(tmp_path, record, listed, tone):
    quiet = tone(channels=2) * 10 ** (-50 / 20)
    for name, stem in {
        "tr": "011a_1.2_441c_-1.2",
        "cv": "20ca_0.3_20ga_-0.3",
        "tt": "440o_1_447c_-1",
    }.items():
        record(f"wham_noise/{name}/{stem}.wav", quiet, subtype="FLOAT")
    record("wham_noise/tr/011a_1.2_441c_-1.2sp08.wav", quiet)
    table = (
        "utterance_id,Noise Band,File ID,L to R Width (cm),Reverberation Level,Location ID,Location Day ID\n"
    )
    (tmp_path / "wham_noise" / "metadata").mkdir()
    (tmp_path / "wham_noise/metadata/noise_meta_tr.csv").write_text(
        table + "011a_1.2_441c_-1.2.wav,2,0054,16 cm,h,l12,d3\n"
    )
    (tmp_path / "wham_noise/metadata/noise_meta_tt.csv").write_text(table + "440o_1_447c_-1.wav,2\n")  # cut
    rows = listed("wham", tmp_path)
    assert rows["tr/011a_1.2_441c_-1.2"] == {
        "path": "wham_noise/tr/011a_1.2_441c_-1.2.wav",
        "split": "train",
        "category": "high reverberation",
        "room": "l12",
        "corpus": "wham",
    }
    assert rows["cv/20ca_0.3_20ga_-0.3"]["split"] == "valid"
    assert set(rows["tt/440o_1_447c_-1"]) == {"path", "split", "corpus"}
    assert len(listed("wham", tmp_path / "wham_noise", selection=Selection(everything=True))) == 4
    for path in (tmp_path / "wham_noise" / "cv").iterdir():
        path.unlink()
    for manifest in tmp_path.rglob("manifest.jsonl"):
        manifest.unlink()
    assert "No recordings in" in refused("wham", tmp_path)


@pytest.fixture
def whamr(tmp_path, record):
    for name in ("tr", "cv", "tt"):
        for signal in ("mix_both_reverb", "s1_anechoic", "s2_anechoic", "s1_reverb", "s2_reverb", "noise"):
            for stem in ("011a0101_1.2_441c020a_-1.2", "012a0101_0.5_442c020a_-0.5"):
                record(f"whamr/wav8k/min/{name}/{signal}/{stem}.wav", rate_hz=8000)
    return tmp_path / "whamr"


def test_whamr(whamr, listed):
    (whamr / "wav8k/min/tt/s2_anechoic/012a0101_0.5_442c020a_-0.5.wav").unlink()
    rows = listed("whamr", whamr.parent)
    assert rows["wav8k/min/tr/011a0101_1.2_441c020a_-1.2"] == {
        "path": "whamr/wav8k/min/tr/mix_both_reverb/011a0101_1.2_441c020a_-1.2.wav",
        "speaker": "011+441",
        "split": "train",
        "category": "mix_both_reverb",
        "corpus": "whamr",
    }
    assert len(rows) == 5
    done = prepare(CORPORA["whamr"], whamr, selection=Selection(("wav8k/min",)))
    assert done.found.set_aside == {"mixture without its targets": 1}


def test_whamr_half_there(whamr):
    assert "wav16k/max is not there; found wav8k/min" in refused("whamr", whamr, ["wav16k/max"])
    for path in (whamr / "wav8k/min/cv/s1_anechoic").iterdir():
        path.unlink()
    words = refused("whamr", whamr)
    assert "No recordings in" in words
    assert "cv/s1_anechoic" in words


def test_ears(tmp_path, record, listed):
    for talker in ("p001", "p099", "p100", "p101", "p102", "p107"):
        record(f"EARS/{talker}/emo_anger_sentences.wav", rate_hz=48000)
    for style in ("vegetative_eating", "nonverbal_laugh", "interjection_greetings", "melodic_singing"):
        record(f"EARS/p001/{style}.wav", rate_hz=48000)
    record("EARS/p001/freeform_speech_01.wav", rate_hz=48000)
    texts = {"emo_anger_sentences": "I'm so mad right now."}
    (tmp_path / "EARS" / "transcripts.json").write_text(json.dumps(texts))
    rows = listed("ears", tmp_path / "EARS")
    assert rows["p001/emo_anger_sentences"] == {
        "path": "p001/emo_anger_sentences.wav",
        "speaker": "p001",
        "split": "train",
        "text": "I'm so mad right now.",
        "corpus": "ears",
        **SPAN,
    }
    assert "text" not in rows["p001/freeform_speech_01"]
    assert {row["speaker"]: row["split"] for row in rows.values()} == {
        "p001": "train",
        "p099": "train",
        "p100": "valid",
        "p101": "valid",
        "p102": "test",
        "p107": "test",
    }
    assert len(rows) == 7
    assert len(listed("ears", tmp_path, selection=Selection(everything=True))) == 11
    record("coughs/p001/nonverbal_cough.wav")
    with pytest.raises(DataError, match="left out: 1 x no speech"):
        prepare(CORPORA["ears"], tmp_path / "coughs")
    (tmp_path / "half" / "p003").mkdir(parents=True)
    assert "p003, found nothing" in refused("ears", tmp_path / "half")


@pytest.fixture
def dns(tmp_path, record):
    clean = "datasets_fullband/clean_fullband"
    for name in (
        f"{clean}/read_speech/book_00000_chp_0009_reader_06709_0_seg_1_seg1.wav",
        f"{clean}/vctk_wav48_silence_trimmed/p225/p225_001_mic1.wav",
        f"{clean}/german_speech/M-AILABS_Speech_Dataset/de_DE/by_book/female/eva_k/grimm/wavs/grimm_f1.wav",
        f"{clean}/emotional_speech/crema_d/1001_DFA_ANG_XX.wav",
        f"{clean}/VocalSet_48kHz_mono/female1/arpeggios/f1.wav",
        "datasets_fullband/noise_fullband/door_Freesound_validated_371362_0.wav",
        "datasets_fullband/impulse_responses/SLR26/simulated_rirs_48k/smallroom/Room001/Room001-00001.wav",
        "datasets_fullband/impulse_responses/SLR28/RIRS_NOISES/real_rirs_isotropic_noises/air_aula_0_1.wav",
        "datasets_fullband/impulse_responses/SLR28/RIRS_NOISES/real_rirs_isotropic_noises/"
        "RVB2014_type1_noise_largeroom1_1.wav",
    ):
        record(name, rate_hz=48000)
    return tmp_path


def test_dns_speech(dns, listed):
    for folder in (dns, dns / "datasets_fullband", dns / "datasets_fullband" / "clean_fullband"):
        rows = listed("dns", folder)
        assert {name.rpartition("/")[2]: row.get("speaker") for name, row in rows.items()} == {
            "book_00000_chp_0009_reader_06709_0_seg_1_seg1": "reader_06709",
            "p225_001_mic1": "p225",
            "grimm_f1": "eva_k",
            "1001_DFA_ANG_XX": None,
        }
        assert all(row["speech_end_s"] == 0.5 for row in rows.values())
    assert (dns / "datasets_fullband" / "clean_fullband" / "manifest.jsonl").is_file()
    assert len(listed("dns", dns, selection=Selection(everything=True))) == 5


def test_dns_noise_and_responses(dns, listed):
    noise = listed("dns", dns, selection=Selection(("noise",)))
    assert noise == {
        "noise/door_Freesound_validated_371362_0": {
            "path": "door_Freesound_validated_371362_0.wav",
            "corpus": "dns",
        }
    }
    responses = listed("dns", dns, selection=Selection(("rir",)))
    assert [row["room"] for row in responses.values()] == [
        "smallroom/Room001",
        "RIRS_NOISES/real_rirs_isotropic_noises",
    ]
    with pytest.raises(DataError, match="Part music: expected one of clean, noise, rir"):
        prepare(CORPORA["dns"], dns, selection=Selection(("music",)))


def test_cmu_arctic(tmp_path, record, listed):
    for talker in ("slt", "bdl"):
        record(f"ARCTIC/cmu_us_{talker}_arctic/wav/arctic_a0001.wav")
    etc = tmp_path / "ARCTIC/cmu_us_slt_arctic/etc"
    etc.mkdir()
    (etc / "txt.done.data").write_text('( arctic_a0001 "Author of the danger trail, Philip Steels, etc." )\n')
    rows = listed("cmu_arctic", tmp_path)
    assert rows["slt/arctic_a0001"] == {
        "path": "ARCTIC/cmu_us_slt_arctic/wav/arctic_a0001.wav",
        "speaker": "slt",
        "text": "Author of the danger trail, Philip Steels, etc.",
        "corpus": "cmu_arctic",
        **SPAN,
    }
    assert set(rows) == {"slt/arctic_a0001", "bdl/arctic_a0001"}
    one = tmp_path / "ARCTIC" / "cmu_us_bdl_arctic"
    assert set(listed("cmu_arctic", one)) == {"bdl/arctic_a0001"}
    (one / "wav" / "arctic_a0001.wav").unlink()
    with pytest.raises(DataError, match="No recordings in .*bdl_arctic/wav, found manifest.jsonl, wav/"):
        prepare(CORPORA["cmu_arctic"], one)
