"""The measured uncertainty: lookup, fill, what it measures on priors that are known, and its file."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffsr.diffusion import Prior
from diffsr.diffusion import prior as prior_module
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.diffusion.calibration import (
    FILE,
    LEVEL_ENDS_DB,
    SIGMA_ENDS,
    Calibration,
    level_position,
    load_calibration,
    local_power,
    local_uncertainty,
    save_calibration,
    white_uncertainty,
)
from diffsr.diffusion.calibration_measure import ErrorSums, _fill, _rising
from diffsr.errors import CheckpointError
from diffsr.networks import TFTransformer
from diffsr.signal.stft import STFT

SD = 0.05


def random_table(n_sigmas: int = 4, n_bands: int = 3, n_levels: int = 6, seed: int = 0) -> Calibration:
    table = torch.randn(n_sigmas, n_bands, n_levels, generator=torch.Generator().manual_seed(seed))
    return Calibration(table, 16_000, SD, "noise")


# Lookup -----------------------------------------------------------------------------------------


def test_nodes_are_hit_exactly_and_the_middle_is_the_geometric_mean() -> None:
    calibration, stft = random_table(), STFT(256, 1)  # a hop of one sample: impulses fill every frame alike
    low, high = (math.log(end) for end in SIGMA_ENDS)
    for row, column in ((0, 0), (1, 2), (3, 5), (1, 2.5), (1.5, 2)):
        sigma = math.exp(low + (high - low) * row / 3)
        level_db = LEVEL_ENDS_DB[0] + (LEVEL_ENDS_DB[1] - LEVEL_ENDS_DB[0]) * column / 5
        wave = torch.zeros(1, 600)
        wave[:, 300] = 1.0
        unit = float(stft.bin_variance(white_uncertainty(torch.tensor(sigma), SD)))
        frame = 300  # the impulse lies in the middle of the window there, and nearly so in its neighbours
        wave *= float((10 ** (level_db / 10) * unit / local_power(wave, stft)[0, 0, frame]).sqrt())
        found = calibration(wave, torch.tensor([sigma]), stft)[0, :, frame] / unit
        nodes = calibration.log_ratio
        for band, bin_index in ((0, 0), (2, 128)):
            below, above = (nodes[f(row), band, f(column)] for f in (math.floor, math.ceil))
            assert float(found[bin_index].log()) == pytest.approx(float(below + above) / 2, abs=2e-3)


def test_it_is_continuous_and_clamped_beyond_its_ends() -> None:
    calibration, stft = random_table(), STFT(256, 64)
    wave = 0.05 * torch.randn(1, 600, generator=torch.Generator().manual_seed(1))
    gains_db = torch.linspace(-120, 100, 401)
    waves = wave * 10 ** (gains_db[:, None] / 20)
    ratio = calibration(waves, torch.full((401,), 0.03), stft)[:, 40, 5].log()
    node_db = (LEVEL_ENDS_DB[1] - LEVEL_ENDS_DB[0]) / 5
    steepest = float(calibration.log_ratio.diff(dim=-1).abs().max()) / node_db
    assert float(ratio.diff().abs().max()) < 1.01 * steepest * float(gains_db[1] - gains_db[0])
    assert ratio[0] == ratio[1]
    assert ratio[-1] == ratio[-2]
    for outside, end in ((1e-9, 1e-4), (1e4, 10.0)):
        far = calibration(0 * wave, torch.tensor([outside]), stft) / white_uncertainty(
            torch.tensor(outside), SD
        )
        near = calibration(0 * wave, torch.tensor([end]), stft) / white_uncertainty(torch.tensor(end), SD)
        torch.testing.assert_close(far, near, rtol=1e-3, atol=0)


def test_a_batch_is_its_rows_and_leading_dimensions_are_kept() -> None:
    calibration, stft = random_table(16, 16, 21), STFT()
    rng = torch.Generator().manual_seed(2)
    x0 = 0.05 * torch.randn(3, 2, 6000, generator=rng)
    sigma = torch.logspace(-5, 2, 6).reshape(3, 2)
    together = calibration(x0, sigma, stft)
    assert together.shape == stft(x0).shape
    for index in range(3):
        for source in range(2):
            alone = calibration(x0[index, source], sigma[index, source], stft)
            torch.testing.assert_close(together[index, source], alone, rtol=1e-5, atol=0)
    expanded = calibration(x0, sigma[:, :1].expand(3, 2), stft)
    torch.testing.assert_close(
        expanded[1], calibration(x0[1], sigma[1, :1].expand(2), stft), rtol=1e-5, atol=0
    )


def test_silence_and_gradients_are_finite() -> None:
    calibration, stft = random_table(), STFT()
    x0 = torch.cat([torch.zeros(3000), 0.1 * torch.randn(3000)])[None].requires_grad_()
    r2 = calibration(x0, torch.tensor([0.1]), stft)
    r2.log().sum().backward()
    assert bool(r2.isfinite().all())
    assert bool((r2 > 0).all())
    assert x0.grad is not None
    assert bool(x0.grad[:, 3300:].isfinite().all())


def test_a_row_that_is_not_a_number_spoils_no_other() -> None:
    calibration, stft = random_table(), STFT()
    x0 = 0.05 * torch.randn(3, 2000, generator=torch.Generator().manual_seed(3))
    sigma = torch.full((3,), 0.1)
    expected = calibration(x0, sigma, stft)
    for bad in (math.nan, math.inf):
        lost = torch.cat([x0[:1], torch.full_like(x0[1:2], bad), x0[2:]])
        found = calibration(lost, sigma, stft)
        torch.testing.assert_close(found[[0, 2]], expected[[0, 2]])
        assert not bool(found[1].isfinite().any())


@pytest.mark.parametrize("bad", [torch.zeros(3, 4), torch.zeros(1, 3, 4), torch.full((2, 2, 2), torch.nan)])
def test_tables_that_are_none(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected"):
        Calibration(bad, 16_000, SD)


# Measurement ------------------------------------------------------------------------------------


class KnownPrior(Prior):
    """The Wiener gain of the white Gaussian prior, with the face of a network."""

    def __init__(self) -> None:
        super().__init__(TFTransformer(width=16, depth=1, heads=2))
        self.exact = WhiteGaussianPrior(SD)

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return self.exact.denoise(z, sigma)


@pytest.fixture(scope="module")
def gaussian() -> ErrorSums:
    """Sums over white crops, for which everything is known."""
    sums, prior = ErrorSums(), KnownPrior()
    for seed in range(4):
        sums.add(prior, SD * torch.randn(32_000, generator=torch.Generator().manual_seed(100 + seed)))
    return sums


def test_the_table_of_a_gaussian_prior_is_its_exact_uncertainty(gaussian: ErrorSums) -> None:
    calibration = gaussian.table(16_000, SD)
    weight = gaussian.count.sum(0)
    # Nothing but sampling error: the cells that most bins fall into say u, and so does the mean of all.
    often = weight > 3000
    assert int(often.sum()) > 100
    torch.testing.assert_close(
        calibration.log_ratio[often].double(), torch.zeros(int(often.sum())).double(), rtol=0, atol=0.25
    )
    mean = (weight * calibration.log_ratio.exp()).sum((1, 2)) / weight.sum((1, 2))
    torch.testing.assert_close(mean, torch.ones_like(mean), rtol=0.03, atol=0)


def test_another_stft_reads_the_same_from_the_table(gaussian: ErrorSums) -> None:
    calibration, exact = gaussian.table(16_000, SD), WhiteGaussianPrior(SD)
    rng = torch.Generator().manual_seed(7)
    for level in (0.003, 0.05, 0.7):
        sigma = torch.tensor([level])
        x0 = exact.denoise((SD**2 + level**2) ** 0.5 * torch.randn(1, 32_000, generator=rng), sigma)
        for stft in (STFT(), STFT(256, 64), STFT(1024, 256), STFT(512, 256, "sqrt_hann"), STFT(400, 100)):
            found = calibration(x0, sigma, stft).mean() / exact.uncertainty(x0, sigma, stft).mean()
            assert float(found) == pytest.approx(1.0, abs=0.04)


def test_agreement_of_a_gaussian_prior(gaussian: ErrorSums) -> None:
    agreement = gaussian.agreement()
    assert len(agreement.sigmas) == 16
    for name, tolerance in (("white", 0.03), ("table", 0.03), ("local", 0.15)):
        assert agreement.ratio[name] == pytest.approx([1.0] * 16, abs=tolerance)
    assert agreement.score["white"] == pytest.approx([1.0] * 16, abs=0.03)  # ln 1 + 1
    assert agreement.score["table"] == pytest.approx([1.0] * 16, abs=0.03)
    assert sum(agreement.score["local"]) > sum(agreement.score["white"])  # which is the truth


def test_frequencies_are_told_apart() -> None:
    class Mute(KnownPrior):
        """Wrong by the whole signal."""

        def denoise(self, z: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            return 0 * z

    spectrum = torch.fft.rfft(SD * torch.randn(32_000, generator=torch.Generator().manual_seed(0)))
    spectrum[: len(spectrum) // 2] /= 3  # below 4 kHz
    sums = ErrorSums((2, 16, 6))
    sums.add(Mute(), torch.fft.irfft(spectrum))
    ratio = sums.table(16_000, SD).log_ratio.exp()[1, :, 0]  # at sigma 10, where u is sd^2
    torch.testing.assert_close(ratio[14:], torch.ones(2), rtol=0.1, atol=0)
    torch.testing.assert_close(ratio[:9], torch.full((9,), 1 / 9), rtol=0.3, atol=0)


def test_crops_give_the_same_table_whatever_prior_calls_were_made_before() -> None:
    wave = SD * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    tables = []
    for _ in range(2):
        sums = ErrorSums((3, 4, 5))
        sums.add(KnownPrior(), wave)
        tables.append(sums.table(16_000, SD).log_ratio)
        torch.randn(5)
    assert torch.equal(*tables)


# Filling ----------------------------------------------------------------------------------------


def test_isotonic_regression_agrees_with_pooling_of_violators() -> None:
    rng = torch.Generator().manual_seed(0)
    values, weight = (
        torch.randn(20, 9, generator=rng).double(),
        torch.rand(20, 9, generator=rng).double() + 0.01,
    )

    def pooled(row: list[float], mass: list[float]) -> list[float]:
        blocks: list[tuple[float, float, int]] = []
        for value, m in zip(row, mass, strict=True):
            blocks.append((value, m, 1))
            while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
                (a, m_a, n_a), (b, m_b, n_b) = blocks[-2:]
                blocks[-2:] = [((a * m_a + b * m_b) / (m_a + m_b), m_a + m_b, n_a + n_b)]
        return [value for value, _, n in blocks for _ in range(n)]

    expected = [pooled(v, w) for v, w in zip(values.tolist(), weight.tolist(), strict=True)]
    torch.testing.assert_close(_rising(values, weight), torch.tensor(expected).double())


def test_empty_cells_are_filled_and_the_error_never_falls_with_the_power() -> None:
    count, mean = torch.zeros(1, 3, 8), torch.tensor([0.1, 0.2, 0.4, 0.3, 0.8])
    count[0, :2, 2:7] = 1e6  # the last band is empty, and so are levels 0, 1 and 7
    error = count.clone()
    error[..., 2:7] *= mean
    found = _fill(count.double(), error.double())[0]
    assert bool((found.diff(dim=-1) >= 0).all())
    expected = torch.tensor([0.1, 0.1, 0.1, 0.2, 0.35, 0.35, 0.8, 0.8]).double()
    for band in range(3):
        torch.testing.assert_close(found[band], expected, rtol=1e-3, atol=0)


def test_a_cell_with_few_bins_leans_on_its_level() -> None:
    count = torch.tensor([[[1e6, 1e6], [1.0, 1e6]]]).double()
    error = count * torch.tensor([[[0.5, 0.6], [100.0, 0.6]]])
    assert float(_fill(count, error)[0, 1, 0]) < 1.6


# With the prior ---------------------------------------------------------------------------------


def prior_with_table() -> Prior:
    torch.manual_seed(0)
    prior = Prior(TFTransformer(width=16, depth=1, heads=2), window_s=1.0).eval()
    prior.calibration = random_table()
    return prior


def test_a_prior_serves_its_table_and_without_one_the_formula() -> None:
    prior, stft = prior_with_table(), STFT()
    x0, sigma = 0.05 * torch.randn(2, 5000), torch.tensor([0.1, 0.01])
    assert torch.equal(prior.uncertainty(x0, sigma, stft), random_table()(x0, sigma, stft))
    prior.calibration = None
    assert torch.equal(prior.uncertainty(x0, sigma, stft), local_uncertainty(x0, sigma, stft))


def test_the_table_comes_back_with_the_prior_and_leaves_with_it(tmp_path: Path) -> None:
    prior = prior_with_table()
    folder = prior.save_pretrained(tmp_path)
    loaded = Prior.from_pretrained(folder)
    assert loaded.calibration is not None
    assert prior.calibration is not None
    assert torch.equal(loaded.calibration.log_ratio, prior.calibration.log_ratio)
    assert loaded.calibration.source == "noise"
    assert "calibration" not in " ".join(
        loaded.state_dict()
    )  # training and its checkpoints know nothing of it
    prior.calibration = None
    prior.save_pretrained(folder)  # other weights in the same place
    assert not (folder / FILE).exists()
    assert Prior.from_pretrained(folder).calibration is None


def test_a_folder_whose_weights_cannot_be_replaced_keeps_its_table(tmp_path: Path, monkeypatch) -> None:
    prior = prior_with_table()
    folder = prior.save_pretrained(tmp_path)

    def full(*_: object, **__: object) -> Path:
        raise CheckpointError("No space left on device")

    monkeypatch.setattr(prior_module, "write_model", full)
    prior.calibration = None
    with pytest.raises(CheckpointError, match="No space"):
        prior.save_pretrained(folder)
    assert Prior.from_pretrained(folder).calibration is not None


def test_moving_a_prior_moves_its_table_and_changes_no_number() -> None:
    prior, stft = prior_with_table(), STFT()
    x0, sigma = 0.05 * torch.randn(2, 5000), torch.tensor([0.1, 0.01])
    before = prior.uncertainty(x0, sigma, stft)
    assert torch.equal(before, prior.to("cpu").uncertainty(x0, sigma, stft))
    moved = deepcopy(prior).to("meta")
    assert moved.calibration is not None
    assert moved.calibration.log_ratio.device.type == "meta"


# Bad files --------------------------------------------------------------------------------------


def refused(folder: Path, rate_hz: int = 16_000, sigma_data: float = SD) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_calibration(folder, rate_hz, sigma_data)
    message = str(caught.value)
    assert FILE in message
    assert "Remove it: the prior works without" in message
    return message


def test_no_file_is_no_table(tmp_path: Path) -> None:
    assert load_calibration(tmp_path, 16_000, SD) is None
    assert load_calibration(tmp_path / "a.ckpt", 16_000, SD) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_short(tmp_path: Path, share: float) -> None:
    save_calibration(random_table(), tmp_path)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: int(share * len(content))])
    assert "cannot be read" in refused(tmp_path)


def test_a_file_of_another_version_or_content(tmp_path: Path) -> None:
    save_calibration(random_table(), tmp_path)
    tensors = load_file(tmp_path / FILE)
    notes = {"rate_hz": "16000", "sigma_data": "0.05"}
    save_file(tensors, tmp_path / FILE, {**notes, "format": "diffsr-calibration/9"})
    assert "found format 'diffsr-calibration/9', expected 'diffsr-calibration/1'" in refused(tmp_path)
    notes["format"] = "diffsr-calibration/1"
    save_file({"log_ratio": torch.zeros(2, 3)}, tmp_path / FILE, notes)
    assert "shape [2, 3]; expected [S, K, L]" in refused(tmp_path)
    save_file({"other": torch.zeros(2, 3)}, tmp_path / FILE, notes)
    assert "no tensor named log_ratio" in refused(tmp_path)


def test_a_table_of_another_prior(tmp_path: Path) -> None:
    save_calibration(random_table(), tmp_path)
    assert "measured for rate_hz 16000; this prior has 8000" in refused(tmp_path, rate_hz=8000)
    assert "measured for sigma_data 0.05; this prior has 0.1" in refused(tmp_path, sigma_data=0.1)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_calibration(random_table(), tmp_path / "file")


def test_levels_are_in_db_of_power() -> None:
    ends = torch.tensor([10 ** (end / 10) for end in LEVEL_ENDS_DB])
    torch.testing.assert_close(level_position(ends, 21), torch.tensor([0.0, 20.0]), atol=1e-5, rtol=1e-5)
