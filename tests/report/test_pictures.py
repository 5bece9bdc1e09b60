import numpy as np
import pytest
import torch

from diffsr.errors import DataError
from diffsr.report.pictures import spectrogram_db, spectrogram_sheet

RATE_HZ = 16000


def tone(hz=1000.0, seconds=1.0):
    return torch.sin(2 * np.pi * hz * torch.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def image_of(path):
    from matplotlib.image import imread

    return imread(path)


def test_full_scale_sine_is_zero_db_in_its_bin():
    spectrum = spectrogram_db(tone())
    assert spectrum.shape == (257, 16000 // 128 + 1)
    middle = spectrum[:, 60]
    assert int(middle.argmax()) == 32  # 1000 Hz / (16000 / 512)
    assert float(middle.max()) == pytest.approx(0.0, abs=0.01)
    assert float(spectrogram_db(0.1 * tone())[32, 60]) == pytest.approx(-20.0, abs=0.01)
    assert float(spectrogram_db(torch.zeros(1000)).max()) == -120.0


@pytest.mark.parametrize("n_rows", [1, 3, 8])
def test_height_follows_the_rows(tmp_path, n_rows):
    waves = {f"row {i} $x_1": 0.1**i * tone(500.0 * (i + 1)) for i in range(n_rows)}
    path = spectrogram_sheet(waves, RATE_HZ, tmp_path / "new" / "sheet.png")
    height, width, _ = image_of(path).shape
    assert width == 1000
    assert height == round(60 + 190 * n_rows)
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    "wave",
    [torch.zeros(RATE_HZ), tone(seconds=0.1), torch.zeros(1), torch.ones(1, 400), 100 * tone(seconds=0.3)],
)
def test_silent_short_and_loud_input(tmp_path, wave):
    assert image_of(spectrogram_sheet({"a": wave}, RATE_HZ, tmp_path / "a.png")).std() > 0


def test_rows_share_one_colour_scale(tmp_path):
    from diffsr.report.pictures import _sheet

    figure = _sheet({"loud": tone(), "quiet": 0.01 * tone(seconds=0.5)}, RATE_HZ)
    images = [axis.images[0] for axis in figure.axes if axis.images]
    limits = [image.get_clim() for image in images]
    assert limits[0] == limits[1]
    assert limits[0][1] - limits[0][0] == pytest.approx(80.0)
    assert limits[0][1] == pytest.approx(0.0, abs=0.5)
    assert [axis.get_title(loc="left") for axis in figure.axes[:2]] == ["loud", "quiet"]
    assert figure.axes[1].get_xlim() == (0.0, 1.0)
    assert figure.axes[0].get_ylim() == (0.0, 8.0)


def test_long_recordings_stay_small():
    from diffsr.report.pictures import _sheet

    figure = _sheet({"long": torch.randn(130 * RATE_HZ)}, RATE_HZ)
    image = figure.axes[0].images[0]
    assert image.get_array().shape[1] <= 6001
    assert image.get_extent()[1] == pytest.approx(130.0, abs=0.1)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        spectrogram_sheet({}, RATE_HZ, tmp_path / "a.png")
    for wave in (torch.zeros(0), torch.zeros(2, 100), torch.full((10,), torch.nan)):
        with pytest.raises(ValueError, match="expected"):
            spectrogram_sheet({"a": wave}, RATE_HZ, tmp_path / "a.png")
    with pytest.raises(DataError, match="folder"):
        spectrogram_sheet({"a": tone()}, RATE_HZ, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        spectrogram_sheet({"a": tone()}, RATE_HZ, tmp_path / "file" / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
