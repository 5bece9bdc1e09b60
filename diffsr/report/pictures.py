"""Figures, png files and spectrograms. matplotlib is imported on first use and never touches a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffsr.errors import ConfigError, DataError
from diffsr.io.atomic import replacing, unwritable
from diffsr.signal.stft import STFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DOTS_PER_INCH = 100
N_FFT = 512
HOP_SAMPLES = 128
RANGE_DB = 80.0
_QUIETEST_DB = -120.0
_MAX_FRAMES = 6000


def spectrogram_db(wave: Tensor, hop_samples: int = HOP_SAMPLES) -> Tensor:
    """Log-magnitude spectrogram, [T] -> [F, N] in dB; 0 dB is a sine of full scale.

    Values are floored at -120 dB, so silence and zero samples are finite.
    """
    stft = STFT(N_FFT, hop_samples)
    return magnitude_db(stft(wave.detach().to("cpu", torch.float32)).abs(), stft)


def magnitude_db(magnitude: Tensor, stft: STFT) -> Tensor:
    """Magnitudes of STFT bins in dB, as `spectrogram_db` has them."""
    of_sine = magnitude * (2.0 / stft.window.sum())
    return 20.0 * of_sine.clamp_min(10.0 ** (_QUIETEST_DB / 20.0)).log10()


def spectrogram_sheet(waves: Mapping[str, Tensor], rate_hz: int, path: str | Path) -> Path:
    """Draw one spectrogram per row, all with one colour scale (80 dB) and one time axis.

    Args:
        waves: Title of the row -> samples [T] (or [1, T]); lengths may differ.
        rate_hz: Sample rate of all of them.
        path: Picture to write (.png); parent folders are made.

    Returns:
        `path`.

    Raises:
        ValueError: There is no wave, or one is not [T] with T > 0 finite samples.
        ConfigError: matplotlib is not installed.
        DataError: The picture cannot be written.
    """
    rows = {title: _checked(title, wave) for title, wave in waves.items()}
    if not rows:
        raise ValueError("No waveform to draw: expected at least one.")
    return save_png(_sheet(rows, rate_hz), path)


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """An empty figure with 100 pixels an inch that no display is needed for.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"Pictures need matplotlib, which cannot be imported ({error}). Run: pip install matplotlib"
        ) from error
    figure = Figure(figsize=(width_inch, height_inch), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write a picture completely or not at all; parent folders are made.

    Raises:
        DataError: The picture cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"Cannot write {path}: it is a folder, expected the name of a .png file.")
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png")
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def draw_spectrograms(axes: Sequence[Axes], waves: Sequence[Tensor], rate_hz: int) -> AxesImage:
    """Draw one wave [T] on each axis, all with one colour scale (80 dB) and one time axis.

    Returns:
        One of the images, which stands for all where a colour bar is wanted.
    """
    longest = max(len(wave) for wave in waves)
    hop_samples = hop_for(longest)
    spectra = [spectrogram_db(wave, hop_samples) for wave in waves]
    return draw_spectra(axes, spectra, hop_samples, rate_hz, longest / rate_hz)


def hop_for(n_samples: int) -> int:
    """The hop to draw with: long recordings have more frames than a picture has pixels."""
    return HOP_SAMPLES * -(-n_samples // (_MAX_FRAMES * HOP_SAMPLES))


def draw_spectra(
    axes: Sequence[Axes], spectra: Sequence[Tensor], hop_samples: int, rate_hz: int, duration_s: float
) -> AxesImage:
    """Draw one spectrogram [F, N] in dB on each axis, see `draw_spectrograms`."""
    top_db = max(_QUIETEST_DB + RANGE_DB, *(float(spectrum.max()) for spectrum in spectra))
    images = [
        _draw(axis, spectrum, hop_samples, rate_hz, top_db)
        for axis, spectrum in zip(axes, spectra, strict=True)
    ]
    for axis in axes:
        axis.set_xlim(0.0, duration_s)
    return images[0]


def _checked(title: str, wave: Tensor) -> Tensor:
    """The wave as [T]."""
    row = wave[0] if wave.ndim == 2 and wave.shape[0] == 1 else wave
    if row.ndim != 1 or len(row) == 0 or not bool(row.isfinite().all()):
        raise ValueError(f"{title} has shape {list(wave.shape)}; expected [T] with T > 0 finite samples.")
    return row


def _sheet(rows: Mapping[str, Tensor], rate_hz: int) -> Figure:
    figure = new_figure(10.0, 0.6 + 1.9 * len(rows))
    axes = list(figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0])
    image = draw_spectrograms(axes, list(rows.values()), rate_hz)
    for axis, title in zip(axes, rows, strict=True):
        axis.set_title(title, loc="left", fontsize=10, parse_math=False)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("time (s)")
    figure.colorbar(image, ax=axes, label="dB re full scale", pad=0.01, aspect=12 * len(rows))
    return figure


def _draw(axis: Axes, spectrum: Tensor, hop_samples: int, rate_hz: int, top_db: float) -> AxesImage:
    hop_s, bin_khz = hop_samples / rate_hz, rate_hz / N_FFT / 1000.0
    n_bins, n_frames = spectrum.shape
    # Frames and bins are centred on their time and frequency, hence the halves.
    extent = (-hop_s / 2, (n_frames - 0.5) * hop_s, -bin_khz / 2, (n_bins - 0.5) * bin_khz)
    image = axis.imshow(
        spectrum.numpy(),
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="magma",
        vmin=top_db - RANGE_DB,
        vmax=top_db,
    )
    axis.set_ylim(0.0, rate_hz / 2000.0)
    return image
