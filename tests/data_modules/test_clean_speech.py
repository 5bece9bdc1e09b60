import logging
import math

import numpy as np
import pytest
import torch
from lightning import LightningDataModule

from data_modules import CleanSpeech
from data_modules.crops import CropMaker, ValidCrops
from data_modules.plans import Plans
from diffsr.errors import ConfigError, DataError
from diffsr.io.audio import write_audio
from diffsr.io.manifest import Utterance, read_manifest, write_manifest
from diffsr.prepare.overlap import n_shared
from diffsr.signal.levels import active_rms, db, rms

RATE_HZ = 16000
PLAIN = {"speed_share": 0.0, "equaliser_db": 0.0, "polarity": False}
SMALL = {"crop_s": 0.5, "batch_size": 4, "crops_per_epoch": 24, "n_valid_crops": 8, **PLAIN}


def voice(seconds, frequency_hz, amplitude=0.1):
    time = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return amplitude * torch.sin(2 * torch.pi * frequency_hz * time).unsqueeze(0)


def dominant_hz(wave):
    return float(torch.fft.rfft(wave).abs().argmax()) * RATE_HZ / wave.shape[-1]


def ready(data, **options):
    module = CleanSpeech(str(data), **{**SMALL, **options})
    module.setup("fit")
    return module


def rendered(loader):
    """The batches that a step gets."""
    for batch in loader:
        yield loader.dataset.maker.render(batch) if isinstance(batch, Plans) else batch


def one(crops, epoch, number):
    """A crop alone."""
    return crops.maker.crop(crops[epoch, number])


def waves(loader):
    return torch.cat([batch["wave"] for batch in rendered(loader)])


def test_batches_have_the_promised_shape(corpus):
    module = ready(corpus)
    assert isinstance(module, LightningDataModule)
    batches = list(rendered(module.train_dataloader()))
    assert len(batches) == 6
    for batch in batches:
        assert batch["wave"].shape == (4, 8000)
        assert batch["wave"].dtype == torch.float32
        assert batch["speaker"].shape == (4,)
        assert batch["speaker"].dtype == torch.int64
    (first, second) = list(module.val_dataloader())
    assert first["wave"].shape == second["wave"].shape == (4, 8000)
    assert module.valid_crops().shape == (8, 8000)


def test_every_crop_is_of_the_talker_that_its_label_names(corpus):
    module = ready(corpus, crops_per_epoch=60)
    assert module.speakers == [f"t{index}" for index in range(6)]
    loaders = [module.train_dataloader(), module.val_dataloader()]
    for batch in (batch for loader in loaders for batch in rendered(loader)):
        for wave, speaker in zip(batch["wave"], batch["speaker"], strict=True):
            assert dominant_hz(wave) == pytest.approx(300 + 100 * int(speaker), abs=10)


def test_held_out_talkers_do_not_train(corpus):
    module = ready(corpus, crops_per_epoch=100)
    train = {int(s) for batch in rendered(module.train_dataloader()) for s in batch["speaker"]}
    valid = {int(s) for batch in module.val_dataloader() for s in batch["speaker"]}
    assert len(train) == 4
    assert len(valid) == 2
    assert not train & valid


def test_rates_and_levels_are_made_equal(corpus):
    levels = active_rms(waves(ready(corpus, gain_db=0.0).train_dataloader()), RATE_HZ)
    assert db(levels / 0.05).abs().max() < 0.5


def test_the_gain_is_random_within_its_limits(corpus):
    gains = db(active_rms(waves(ready(corpus, crops_per_epoch=200).train_dataloader()), RATE_HZ) / 0.05)
    assert gains.abs().max() < 6.5
    assert gains.min() < -4
    assert gains.max() > 4


def test_validation_is_fixed_and_without_gain(corpus):
    module = ready(corpus)
    first = module.valid_crops()
    assert torch.equal(first, waves(module.val_dataloader()))
    assert torch.equal(first, ready(corpus).valid_crops())
    levels = db(active_rms(first, RATE_HZ) / 0.05)
    assert levels.median().abs() < 0.01
    assert levels.abs().max() < 3


def test_validation_deals_talkers_evenly_and_repeats_nothing(corpus):
    module = ready(corpus)
    crops = module.val_dataloader().dataset
    assert len(set(crops.items)) == len(crops.items) == 8
    speakers = [int(crops[index]["speaker"]) for index in range(8)]
    assert speakers.count(speakers[0]) == speakers.count(speakers[1]) == 4
    # Per talker: 3 + 2 whole crops and one joined; asking for more gives what there is.
    assert len(ready(corpus, n_valid_crops=1000).valid_crops()) == 12


def test_validation_passes_over_pauses(tmp_path):
    wave = torch.cat([voice(0.1, 300), torch.zeros(1, RATE_HZ), voice(1.0, 300)], dim=1)
    for talker in ("a", "b", "c", "d"):
        write_audio(tmp_path / talker / "1.wav", wave, RATE_HZ)
    crops = ready(tmp_path).valid_crops()
    assert len(crops) == 6  # of four half seconds in each of two files, the second is silent
    assert active_rms(crops, RATE_HZ).min() > 0.04


def test_crops_stay_within_the_speech_span(tmp_path):
    wave = torch.cat([voice(1.0, 900), voice(1.0, 300), voice(1.0, 900)], dim=1)
    write_audio(tmp_path / "a.wav", wave, RATE_HZ)
    write_audio(tmp_path / "b.wav", wave, RATE_HZ)
    rows = [Utterance(n, tmp_path / f"{n}.wav", n, 1.0, 2.0, "valid" if n == "b" else None) for n in "ab"]
    write_manifest(tmp_path / "m.jsonl", rows)
    crops = waves(ready(tmp_path / "m.jsonl", crops_per_epoch=40).train_dataloader())
    assert all(dominant_hz(wave) == pytest.approx(300, abs=5) for wave in crops)


def test_the_span_is_computed_when_the_manifest_has_none(tmp_path):
    wave = torch.cat([torch.zeros(1, 5 * RATE_HZ), voice(1.0, 300), torch.zeros(1, 5 * RATE_HZ)], dim=1)
    for name in "ab":
        write_audio(tmp_path / f"{name}.wav", wave, RATE_HZ)
    (tmp_path / "m.csv").write_text("path,speech_start_s,speech_end_s\na.wav,,\nb.wav,5.0,\n")
    crops = waves(ready(tmp_path / "m.csv", crops_per_epoch=40, gain_db=0.0).train_dataloader())
    assert rms(crops).min() > 0.03  # at most a tenth of a second of the silence comes along


def test_short_utterances_of_a_talker_are_joined_with_pauses(tmp_path):
    for talker, frequency_hz in {"low": 300, "high": 1200, "v1": 500, "v2": 700}.items():
        for index in range(6):
            write_audio(
                tmp_path / talker / f"{index}.wav", voice(0.3, frequency_hz, 0.02 * (index + 1)), RATE_HZ
            )
    module = ready(tmp_path, crop_s=2.0, crops_per_epoch=40, gain_db=0.0)
    for batch in rendered(module.train_dataloader()):
        for wave, speaker in zip(batch["wave"], batch["speaker"], strict=True):
            expected = {"low": 300, "high": 1200, "v1": 500, "v2": 700}[module.speakers[int(speaker)]]
            assert dominant_hz(wave) == pytest.approx(expected, abs=5)
            frames = rms(wave.unfold(0, 320, 320))
            loud = frames > 0.03
            assert frames[loud].max() < 0.055  # matched, although the files differ by 15 dB
            runs = pauses(loud)
            assert len(runs) >= 2
            assert min(runs) >= 3  # 0.1 s, of which frames at the ends may be partly filled
            assert max(runs) <= 31


def pauses(loud):
    """Lengths of the pauses between loud frames."""
    runs, current, started = [], 0, False
    for frame in loud.tolist():
        if frame:
            if started and current:
                runs.append(current)
            started, current = True, 0
        else:
            current += 1
    return runs


def test_joining_uses_all_others_before_any_comes_again(tmp_path):
    frequencies = [300, 500, 700, 900]
    lines = ["path,speaker,split"]
    for talker, split in {"one": "", "two": "valid"}.items():
        for frequency_hz in frequencies:
            write_audio(tmp_path / talker / f"{frequency_hz}.wav", voice(0.2, frequency_hz), RATE_HZ)
            lines.append(f"{talker}/{frequency_hz}.wav,{talker},{split}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    module = ready(tmp_path / "m.csv", crop_s=4.0, crops_per_epoch=10, gain_db=0.0)
    for wave in waves(module.train_dataloader()):
        frames = wave.unfold(0, 800, 200)
        heard = [round(dominant_hz(frame) / 100) * 100 for frame in frames if rms(frame) > 0.045]
        order = [value for value, before in zip(heard, [0, *heard], strict=False) if value != before]
        assert sorted(order[:4]) == frequencies
        assert order[4] == order[0]


@pytest.mark.parametrize("labelled", [True, False])
def test_a_short_utterance_alone_is_padded_at_a_random_place(tmp_path, labelled):
    for index in range(5):
        write_audio(tmp_path / f"{index}.wav", voice(0.2, 300 + 100 * index), RATE_HZ)
    rows = [Utterance(str(i), tmp_path / f"{i}.wav", f"t{i}" if labelled else None) for i in range(5)]
    write_manifest(tmp_path / "m.jsonl", rows)
    module = ready(tmp_path / "m.jsonl", crops_per_epoch=40, gain_db=0.0)
    starts = set()
    for batch in rendered(module.train_dataloader()):
        assert bool((batch["speaker"] >= 0).all()) is labelled
        for wave in batch["wave"]:
            sounding = wave.nonzero()[:, 0]
            assert sounding[-1] - sounding[0] < 3200  # in one piece: not wrapped, not repeated
            assert rms(wave[sounding[0] : sounding[-1]]) == pytest.approx(0.05, rel=0.1)
            starts.add(int(sounding[0]))
    assert len(starts) > 30


def test_crops_of_an_epoch_differ_and_epochs_differ(corpus):
    module = ready(corpus)
    loader = module.train_dataloader()
    first = waves(loader)
    assert torch.equal(waves(loader), first)
    loader.sampler.set_epoch(1)
    second = waves(loader)
    both = torch.cat([first, second])
    assert len(torch.unique(both, dim=0)) == len(both) == 48


@pytest.mark.parametrize("workers", [0, 2])
def test_crops_are_a_pure_function_of_seed_epoch_and_number(corpus, workers):
    module = ready(corpus, seed=3)
    loader = module.train_dataloader()
    again = torch.utils.data.DataLoader(
        loader.dataset,
        batch_size=8,
        sampler=loader.sampler,
        num_workers=workers,
        collate_fn=loader.collate_fn,
    )
    loader.sampler.set_epoch(5)
    torch.manual_seed(99)
    expected = torch.stack([one(loader.dataset, 5, number)["wave"] for number in range(24)])
    assert torch.equal(waves(again), expected)
    assert not torch.equal(one(ready(corpus, seed=4).train_dataloader().dataset, 5, 0)["wave"], expected[0])


def test_stereo_takes_the_louder_channel(tmp_path):
    for name in "abcd":
        wave = torch.cat([voice(1.0, 300, 0.01), voice(1.0, 700, 0.2)])
        write_audio(tmp_path / f"{name}.wav", wave, RATE_HZ)
    assert all(dominant_hz(w) == pytest.approx(700, abs=5) for w in ready(tmp_path).valid_crops())


def test_quiet_recordings_keep_their_resolution(tmp_path):
    for name in "ab":
        write_audio(tmp_path / f"{name}.wav", voice(1.0, 500, 1e-3), RATE_HZ, "FLOAT")
    crop = ready(tmp_path).valid_crops()[0]
    clean = voice(1.0, 500, 0.05 * 2**0.5)[0, :8000]
    assert db(rms(crop - clean) / rms(clean)) < -70


def test_rows_marked_valid_and_test_do_not_train(corpus):
    rows = read_manifest(corpus)
    splits = {"t0": "valid", "t1": "test"}
    write_manifest(
        corpus / "m.jsonl", [Utterance(r.id, r.path, r.speaker, split=splits.get(r.speaker)) for r in rows]
    )
    module = ready(corpus / "m.jsonl", crops_per_epoch=100)
    names = {
        module.speakers[int(s)] for batch in rendered(module.train_dataloader()) for s in batch["speaker"]
    }
    assert names == {"t2", "t3", "t4", "t5"}
    assert {module.speakers[int(s)] for batch in module.val_dataloader() for s in batch["speaker"]} == {"t0"}


def test_a_validation_corpus_of_its_own(corpus, tmp_path):
    write_audio(tmp_path / "v" / "x" / "1.wav", voice(1.0, 1500), RATE_HZ)
    module = ready(corpus, valid=str(tmp_path / "v"), crops_per_epoch=100)
    names = {
        module.speakers[int(s)] for batch in rendered(module.train_dataloader()) for s in batch["speaker"]
    }
    assert names == {f"t{index}" for index in range(6)}
    assert dominant_hz(module.valid_crops()[0]) == pytest.approx(1500, abs=5)


def test_validation_speech_that_also_trains_is_told(corpus, caplog):
    with caplog.at_level(logging.WARNING):
        module = ready(corpus, valid=str(corpus / ".." / corpus.name / "t5"))
    assert "3 of 3 validation recordings in " in caplog.text
    assert "also train: " in caplog.text
    assert module.valid_summary == "6 crops; speech that also trained"


def test_the_card_says_what_is_held_out(corpus, tmp_path):
    assert ready(corpus).valid_summary == "8 crops; held-out talkers"
    rows = [row for row in read_manifest(corpus) if row.speaker in ("t0", "t1", "t2")]
    write_manifest(tmp_path / "few.jsonl", rows)
    assert ready(tmp_path / "few.jsonl").valid_summary.endswith(
        "; held-out recordings, of talkers who may also have trained"
    )


def test_a_corpus_is_called_by_its_folder(corpus, monkeypatch):
    write_manifest(corpus / "manifest.jsonl", read_manifest(corpus))
    assert ready(corpus / "manifest.jsonl").summary.startswith("corpus: ")
    monkeypatch.chdir(corpus)
    for source in (".", "manifest.jsonl", "t0/.."):
        assert ready(source).summary.startswith("corpus: ")


def test_speech_without_the_upper_band_is_counted(tmp_path, caplog):
    for number, rate_hz in enumerate((8000, 8000, 11025, 16000, 48000)):
        wave = 0.1 * torch.randn(1, rate_hz, generator=torch.Generator().manual_seed(number))
        write_audio(tmp_path / "train" / f"{number}.wav", wave, rate_hz)
    write_audio(tmp_path / "valid" / "v.wav", voice(1.0, 300), RATE_HZ)
    with caplog.at_level(logging.WARNING):
        module = ready(tmp_path / "train", valid=str(tmp_path / "valid"))
    assert len(caplog.records) == 1
    assert "3 of 5 speech files have less than 16000 Hz (2 at 8000 Hz, 1 at 11025 Hz)" in caplog.text
    assert module.summary.endswith(", 3 utterances below 16000 Hz")


def test_bad_files_are_skipped_and_counted(corpus, tmp_path, caplog):
    write_audio(tmp_path / "v" / "x" / "1.wav", voice(1.0, 1500), RATE_HZ)
    (corpus / "t0" / "bad.wav").write_text("no recording")
    write_audio(corpus / "t1" / "silent.wav", torch.zeros(1, 16000), RATE_HZ)
    soundless = 1e-6 * torch.randn(1, 16000)
    write_audio(corpus / "t2" / "nearly.wav", soundless, RATE_HZ, "FLOAT")
    with caplog.at_level(logging.WARNING):
        module = ready(corpus, valid=str(tmp_path / "v"))
    assert len(caplog.records) == 1
    assert "3 of 21 speech files cannot be used; first: " in caplog.text
    assert waves(module.train_dataloader()).shape == (24, 8000)


def test_a_mostly_bad_corpus_is_refused(tmp_path):
    write_audio(tmp_path / "good.wav", voice(1.0, 300), RATE_HZ)
    for name in ("x", "y", "z"):
        (tmp_path / f"{name}.wav").write_text("no recording")
    with pytest.raises(DataError, match=r"More than half|none"):
        ready(tmp_path, valid=str(tmp_path))


def test_corpora_that_cannot_be_split(tmp_path):
    write_audio(tmp_path / "only.wav", voice(1.0, 300), RATE_HZ)
    with pytest.raises(DataError, match="expected at least 2"):
        ready(tmp_path)
    (tmp_path / "m.csv").write_text("path,split\nonly.wav,test\n")
    with pytest.raises(DataError, match="expected some to train on"):
        ready(tmp_path / "m.csv")
    with pytest.raises(DataError, match="does not exist"):
        ready(tmp_path / "missing.csv")


def test_where_all_crops_are_pauses_the_loudest_is_validated_with(memory_corpus):
    """All of the speech lies behind the last whole crop."""
    quiet, louder, speech = (np.full(n, value) for n, value in ((8000, 100), (8000, 200), (7000, 30_000)))
    utterances = [np.concatenate([quiet, middle, speech]) for middle in (quiet, louder)]
    crops = ValidCrops(CropMaker(memory_corpus(utterances, [0, 1]), RATE_HZ, 8000, level=0.05), 4)
    assert crops.items == [(1, 8000)]
    assert crops[0]["wave"].shape == (8000,)


def test_settings_that_make_no_sense():
    for options in (
        {"crop_s": 1e-5},
        {"crop_s": 131072.0},
        {"crop_s": 0.0},
        {"batch_size": 0},
        {"rate_hz": -1},
        {"level": 0.0},
        {"gain_db": -1.0},
        {"reference_s": -1.0},
        {"speed_share": 1.5},
        {"equaliser_db": math.nan},
    ):
        name = next(iter(options))
        with pytest.raises(ConfigError, match=name):
            CleanSpeech(**options)


def test_the_corpus_is_read_once(corpus, monkeypatch):
    module = ready(corpus)
    monkeypatch.setattr("data_modules.clean_speech.train_and_valid", lambda *_: pytest.fail("read again"))
    module.setup("validate")
    assert len(module.valid_crops()) == 8


def test_loading_is_quiet(corpus, capfd):
    ready(corpus)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize(("start_s", "end_s", "expected"), [(None, None, 1), (0.2, 0.5, 1), (0.6, None, 0)])
def test_what_overlaps_with_training_speech_is_shared(tmp_path, start_s, end_s, expected):
    train = [Utterance("a", tmp_path / "a.wav", speech_start_s=0.1, speech_end_s=0.6)]
    valid = [
        Utterance("b", tmp_path / "x" / ".." / "a.wav", speech_start_s=start_s, speech_end_s=end_s),
        Utterance("c", tmp_path / "c.wav"),
    ]
    assert n_shared(train, valid) == expected
