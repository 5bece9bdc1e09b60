import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pesq
import pystoi
import pytest
import torch

import diffsr
from diffsr.errors import ConfigError
from diffsr.evaluation.metrics import (
    DEFAULT_METRICS,
    METRICS,
    estoi,
    pesq_nb,
    pesq_wb,
    remarks,
    score_pair,
    sdr_db,
    select_metrics,
    si_sdr_db,
    stoi,
)
from diffsr.signal.resampling import resample

RATE_HZ = 16000
QUICK = tuple(name for name, metric in METRICS.items() if not metric.requires)


def voice(seconds, seed=0, rate_hz=RATE_HZ):
    """Harmonics with moving pitch and formants in syllables of 4 Hz: enough speech for PESQ and ESTOI."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 120 + 20 * np.sin(2 * np.pi * 0.7 * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    formant_hz = 900 + 500 * np.sin(2 * np.pi * 1.3 * t + rng.uniform(0, 6))
    wave = sum(np.sin(k * phase) / (1 + ((k * pitch_hz - formant_hz) / 400) ** 2) for k in range(1, 40))
    syllables = np.clip(np.sin(2 * np.pi * 4 * t), 0, 1) * (np.sin(2 * np.pi * 0.5 * t + 1) > -0.6)
    return torch.from_numpy((0.05 * wave * syllables).astype(np.float32))


def noisy(wave, seed=1, level=0.01):
    return wave + level * torch.from_numpy(
        np.random.default_rng(seed).standard_normal(wave.shape).astype(np.float32)
    )


class OnMPS(torch.Tensor):
    """Behaves like a tensor on Apple's GPUs where this matters: no float64."""

    device = property(lambda self: torch.device("mps"))  # type: ignore[assignment]

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def si_sdr_by_hand(est, ref):
    est, ref = (np.asarray(x, dtype=np.float64) for x in (est, ref))
    est, ref = est - est.mean(), ref - ref.mean()
    target = est @ ref / (ref @ ref) * ref
    return 10 * np.log10(target @ target / ((target - est) @ (target - est)))


@pytest.fixture(scope="module")
def pair():
    ref = voice(3.0)
    return noisy(ref), ref


def test_si_sdr_is_the_formula(pair):
    est, ref = pair
    est = 0.3 * est + 0.02
    assert float(si_sdr_db(est, ref)) == pytest.approx(si_sdr_by_hand(est, ref), abs=1e-4)


def test_si_sdr_of_a_known_ratio():
    ref, noise = voice(2.0).double(), torch.randn(2 * RATE_HZ, dtype=torch.float64)
    ref, noise = ref - ref.mean(), noise - noise.mean()
    noise -= noise @ ref / (ref @ ref) * ref
    noise *= (ref.norm() / noise.norm()) * 10 ** (-7 / 20)
    assert float(si_sdr_db(5 * (ref + noise) + 0.1, ref)) == pytest.approx(7.0, abs=1e-4)


def test_pesq_is_the_package(pair):
    est, ref = pair
    assert float(pesq_wb(est, ref, RATE_HZ)) == pytest.approx(
        pesq.pesq(RATE_HZ, ref.numpy(), est.numpy(), "wb"), abs=1e-5
    )


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_narrow_band_pesq_is_the_package(rate_hz):
    ref = voice(3.0, rate_hz=rate_hz)
    est = noisy(ref)
    low = [wave if rate_hz == 8000 else resample(wave, rate_hz, 8000) for wave in (ref, est)]
    expected = pesq.pesq(8000, low[0].numpy(), low[1].numpy(), "nb")
    assert float(pesq_nb(est, ref, rate_hz)) == pytest.approx(expected, abs=1e-5)


def test_stoi_is_the_package(pair):
    est, ref = pair
    expected = pystoi.stoi(ref.numpy(), est.numpy(), RATE_HZ)
    assert float(stoi(est, ref, RATE_HZ)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("level", [1e-4, 0.01, 1.0])
def test_sdr_is_bsseval(pair, level):
    """Two independent implementations: fast_bss_eval, and mir_eval's translation of the original."""
    import fast_bss_eval
    import mir_eval

    ref = pair[1]
    echo = torch.nn.functional.pad(ref, (300, 0))[: len(ref)]  # inside the filter: not a distortion
    est = noisy(0.5 * ref - 0.2 * echo, level=level)
    found = float(sdr_db(est, ref))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        by_mir_eval = mir_eval.separation.bss_eval_sources(ref[None].numpy(), est[None].numpy())[0][0]
    assert found == pytest.approx(by_mir_eval, abs=0.01)
    by_fast = fast_bss_eval.sdr(ref[None].double(), est[None].double(), use_cg_iter=None, load_diag=None)
    assert found == pytest.approx(float(by_fast[0]), abs=1e-3)
    assert found > float(si_sdr_db(est, ref)) + 1


def test_sdr_of_a_tone_is_a_number():
    t = torch.arange(RATE_HZ) / RATE_HZ
    tone = torch.sin(2 * np.pi * 440 * t)
    assert float(sdr_db(tone + 0.01 * torch.randn(RATE_HZ), tone)) > 30


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_estoi_is_the_package(rate_hz):
    ref = voice(1.5, rate_hz=rate_hz)
    est = noisy(ref)
    expected = pystoi.stoi(ref.numpy(), est.numpy(), rate_hz, extended=True)
    assert float(estoi(est, ref, rate_hz)) == pytest.approx(expected, abs=1e-5)


def test_on_the_starter_corpus():
    from diffsr.io.audio import read_audio
    from diffsr.io.manifest import read_manifest

    manifest = Path(diffsr.__file__).parent / "assets" / "starter" / "manifest.jsonl"
    wave, info = read_audio(read_manifest(manifest)[0].path)
    ref = diffsr_resample(wave[0], info.rate_hz)
    scores = [score_pair(noisy(ref, level=level), ref, RATE_HZ) for level in (0.001, 0.01, 0.1)]
    for name in DEFAULT_METRICS:
        assert scores[0][name] > scores[1][name] > scores[2][name]
    est = noisy(ref, level=0.01)
    assert scores[1]["pesq_wb"] == pytest.approx(pesq.pesq(RATE_HZ, ref.numpy(), est.numpy(), "wb"), abs=1e-5)
    expected = pystoi.stoi(ref.numpy(), est.numpy(), RATE_HZ, extended=True)
    assert scores[1]["estoi"] == pytest.approx(expected, abs=1e-5)
    assert scores[1]["si_sdr_db"] == pytest.approx(si_sdr_by_hand(est, ref), abs=1e-4)


def diffsr_resample(wave, from_hz):
    return resample(wave, from_hz, RATE_HZ)[: 10 * RATE_HZ]


def test_perfect_estimate(pair):
    scores = score_pair(pair[1], pair[1], RATE_HZ, QUICK)
    assert scores["si_sdr_db"] > 150
    assert scores["sdr_db"] > 100
    assert scores["si_sdr_aligned_db"] > 150
    assert (scores["delay_ms"], scores["gain_db"]) == (0, pytest.approx(0, abs=1e-6))
    assert scores["pesq_nb"] == pytest.approx(4.55, abs=0.01)
    assert scores["stoi"] == pytest.approx(1.0, abs=1e-4)
    assert scores["pesq_wb"] == pytest.approx(4.64, abs=0.01)
    assert scores["estoi"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("level", [1e-3, 30.0])
def test_level_does_not_matter(pair, level):
    est, ref = pair
    expected = score_pair(est, ref, RATE_HZ, QUICK)
    found = score_pair(level * est, level * ref, RATE_HZ, QUICK)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-3)


@pytest.mark.parametrize("silent", [torch.zeros(RATE_HZ), torch.full((RATE_HZ,), 0.3)])
def test_silence_and_constants_are_nan(silent):
    ref = voice(1.0)
    for est, reference in ((silent, ref), (ref, silent), (silent, silent)):
        assert all(math.isnan(score) for score in score_pair(est, reference, RATE_HZ, QUICK).values())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_not_finite_give_nan(pair, bad):
    est, ref = pair[0][:RATE_HZ].clone(), pair[1][:RATE_HZ]
    est[5] = bad
    assert all(math.isnan(score) for score in score_pair(est, ref, RATE_HZ, QUICK).values())


@pytest.mark.parametrize("n_samples", [1, 2, 100, 255, 256, 1000, 3999, 4000, 6144, 6300])
def test_short_input_never_crashes(pair, n_samples):
    start = 9000  # inside a syllable
    est, ref = (x[start : start + n_samples] for x in pair)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score_pair(est, ref, RATE_HZ, QUICK)
    assert math.isnan(scores["estoi"])
    assert math.isnan(scores["stoi"])
    assert math.isfinite(scores["sdr_db"]) == (n_samples >= 1024)
    assert math.isnan(scores["pesq_wb"]) or n_samples >= 4000
    assert math.isfinite(scores["si_sdr_db"]) == (n_samples > 1)
    assert math.isfinite(scores["si_sdr_aligned_db"]) == (n_samples > 1)


def test_pesq_without_speech_in_the_reference_is_nan():
    rng, n = np.random.default_rng(0), 2 * RATE_HZ
    clicks = (np.arange(n) / RATE_HZ % 0.4) < 0.1  # too short to count as utterances
    ref = torch.from_numpy((0.1 * clicks * rng.standard_normal(n)).astype(np.float32))
    with pytest.raises(pesq.NoUtterancesError):
        pesq.pesq(RATE_HZ, ref.numpy(), noisy(ref).numpy(), "wb")
    assert math.isnan(float(pesq_wb(noisy(ref), ref, RATE_HZ)))


def test_pesq_at_other_rates():
    ref = voice(3.0, rate_hz=48000)
    est = noisy(ref)
    low = [diffsr_resample(x, 48000) for x in (est, ref)]
    assert float(pesq_wb(est, ref, 48000)) == pytest.approx(float(pesq_wb(*low, RATE_HZ)), abs=1e-3)
    assert math.isnan(float(pesq_wb(est, ref, 8000)))
    assert remarks(8000, 8000)


def test_pesq_of_a_long_recording_survives():
    """More than 50 utterances overrun a table in the C code of `pesq`: alone, this file ends the process."""
    rng, n = np.random.default_rng(0), 42 * RATE_HZ
    bursts = (np.arange(n) / RATE_HZ % 0.6) < 0.35
    ref = torch.from_numpy((0.1 * bursts * rng.standard_normal(n)).astype(np.float32))
    est = noisy(ref)
    pieces = [pesq_wb(e, r, RATE_HZ) for e, r in zip(est.tensor_split(3), ref.tensor_split(3), strict=True)]
    assert float(pesq_wb(est, ref, RATE_HZ)) == pytest.approx(float(torch.stack(pieces).mean()), abs=1e-5)
    assert remarks(n, RATE_HZ) == ["PESQ is the mean of 3 pieces"]
    assert remarks(20 * RATE_HZ, RATE_HZ) == []


def test_a_lost_stretch_of_a_long_recording_counts_in_pesq():
    ref = voice(24.0)
    whole = noisy(ref, level=0.002)
    lost, faint = whole.clone(), whole.clone()
    lost[len(ref) // 2 :] = 0
    faint[len(ref) // 2 :] *= 1e-5
    assert float(pesq_wb(lost, ref, RATE_HZ)) == pytest.approx(float(pesq_wb(faint, ref, RATE_HZ)), abs=0.05)
    assert float(pesq_wb(lost, ref, RATE_HZ)) < float(pesq_wb(whole, ref, RATE_HZ)) - 0.1
    ref[len(ref) // 2 :] = 0  # a pause of the reference is none of its speech
    first = [wave[: len(ref) // 2] for wave in (whole, ref)]
    assert float(pesq_wb(whole, ref, RATE_HZ)) == pytest.approx(float(pesq_wb(*first, RATE_HZ)), abs=1e-5)


def test_one_bad_row_leaves_the_others():
    ref = torch.stack([voice(1.0, seed) for seed in range(4)]).reshape(2, 2, -1)
    est = noisy(ref)
    est[1, 0] = 0
    for metric in select_metrics(QUICK):
        scores = metric.score(est, ref, RATE_HZ)
        assert scores.shape == (2, 2)
        assert scores.isnan().tolist() == [[False, False], [True, False]]
        assert float(scores[0, 1]) == pytest.approx(
            float(metric.score(est[0, 1], ref[0, 1], RATE_HZ)), abs=1e-4
        )


def test_channels_are_averaged():
    ref = torch.stack([voice(1.0, 0), voice(1.0, 1)])
    est = torch.stack([noisy(ref[0], level=0.001), noisy(ref[1], level=0.05)])
    both, alone = score_pair(est, ref, RATE_HZ), [score_pair(est[c], ref[c], RATE_HZ) for c in (0, 1)]
    for name in DEFAULT_METRICS:
        assert both[name] == pytest.approx(sum(scores[name] for scores in alone) / 2, abs=1e-4)


def test_estoi_is_repeatable_and_leaves_the_global_generator_alone():
    ref = voice(1.0)
    est = torch.zeros_like(ref)
    est[8000:] = ref[8000:]  # bands that are exactly zero get pystoi's random dither
    np.random.seed(7)  # noqa: NPY002
    first = float(estoi(est, ref, RATE_HZ))
    drawn = np.random.rand()  # noqa: NPY002
    assert float(estoi(est, ref, RATE_HZ)) == first
    np.random.seed(7)  # noqa: NPY002
    assert np.random.rand() == drawn  # noqa: NPY002


@pytest.mark.parametrize("metric", select_metrics(QUICK), ids=lambda metric: metric.name)
def test_different_shapes_are_an_error(metric):
    with pytest.raises(ValueError, match="same"):
        metric.score(torch.ones(10), torch.ones(11), RATE_HZ)
    with pytest.raises(ValueError, match="T > 0"):
        metric.score(torch.ones(0), torch.ones(0), RATE_HZ)


def test_metrics_are_selected_by_name():
    assert [metric.name for metric in select_metrics(("estoi", "sdr_db", "estoi"))] == ["estoi", "sdr_db"]
    assert list(score_pair(voice(1.0), voice(1.0), RATE_HZ, ("sdr_db",))) == ["sdr_db"]
    with pytest.raises(
        ConfigError, match="Unknown metric 'sisdr', 'mos'; expected some of si_sdr_db, sdr_db,"
    ):
        select_metrics(("sisdr", "estoi", "mos"))
    with pytest.raises(ConfigError, match="No metric is named"):
        select_metrics(())


def test_improvement_has_the_sign_of_the_metric():
    from diffsr.evaluation.metrics import ALL_METRICS

    assert ALL_METRICS["estoi"].improvement(0.7, 0.5) == pytest.approx(0.2)
    assert ALL_METRICS["rt60_error_s"].improvement(0.1, 0.3) == pytest.approx(0.2)
    assert math.isnan(ALL_METRICS["delay_ms"].improvement(1.0, 0.0))


def test_narrow_band_material():
    ref = voice(3.0, rate_hz=8000)
    scores = score_pair(noisy(ref), ref, 8000, QUICK)
    assert [name for name, score in scores.items() if math.isnan(score)] == ["pesq_wb"]
    assert remarks(24000, 8000) == ["no wide-band PESQ at 8000 Hz (needs 16000 Hz, pesq_nb does not)"]
    assert remarks(24000, 8000, ("pesq_nb", "dnsmos_sig")) == ["no DNSMOS at 8000 Hz (needs 16000 Hz)"]


def test_import_is_light():
    heavy = (
        "scipy",
        "speechmos",
        "onnxruntime",
        "torchaudio",
        "torchmetrics",
        "pesq",
        "pystoi",
        "librosa",
        "matplotlib",
        "lightning",
    )
    modules = "sys, diffsr.evaluation.evaluate, diffsr.report.pictures"
    code = f"import {modules}; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_device_without_float64():
    ref = voice(1.0)
    est = noisy(ref)
    on_device = score_pair(est.as_subclass(OnMPS), ref.as_subclass(OnMPS), RATE_HZ, QUICK)
    assert on_device == score_pair(est, ref, RATE_HZ, QUICK)
