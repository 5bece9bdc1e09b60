"""Spectrogram pictures. matplotlib is imported on first use and never touches a display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffsr.errors import DataError
from diffsr.io.atomic import replacing
from diffsr.signal.stft import STFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

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
    magnitude = stft(wave.detach().to("cpu", torch.float32)).abs() * (2.0 / stft.window.sum())
    return 20.0 * magnitude.clamp_min(10.0 ** (_QUIETEST_DB / 20.0)).log10()


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
        DataError: The picture cannot be written.
    """
    rows = {title: _checked(title, wave) for title, wave in waves.items()}
    if not rows:
        raise ValueError("No waveform to draw: expected at least one.")
    path = Path(path)
    if path.is_dir():
        raise DataError(f"Cannot write {path}: it is a folder, expected the name of a .png file.")
    figure = _sheet(rows, rate_hz)
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=100, format="png")
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"Cannot write {path}: {reason}. Choose a folder that you may write to.") from error
    return path


def _checked(title: str, wave: Tensor) -> Tensor:
    """The wave as [T]."""
    row = wave[0] if wave.ndim == 2 and wave.shape[0] == 1 else wave
    if row.ndim != 1 or len(row) == 0 or not bool(row.isfinite().all()):
        raise ValueError(f"{title} has shape {list(wave.shape)}; expected [T] with T > 0 finite samples.")
    return row


def _sheet(rows: Mapping[str, Tensor], rate_hz: int) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    longest = max(len(wave) for wave in rows.values())
    # Long recordings have more frames than the picture has pixels: a wider hop saves memory.
    hop_samples = HOP_SAMPLES * -(-longest // (_MAX_FRAMES * HOP_SAMPLES))
    spectra = {title: spectrogram_db(wave, hop_samples) for title, wave in rows.items()}
    top_db = max(_QUIETEST_DB + RANGE_DB, *(float(spectrum.max()) for spectrum in spectra.values()))

    figure = Figure(figsize=(10.0, 0.6 + 1.9 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    images = [
        _draw(axis, title, spectrum, hop_samples, rate_hz, top_db)
        for axis, (title, spectrum) in zip(axes, spectra.items(), strict=True)
    ]
    axes[-1].set_xlim(0.0, longest / rate_hz)
    axes[-1].set_xlabel("time (s)")
    figure.colorbar(images[0], ax=list(axes), label="dB re full scale", pad=0.01, aspect=12 * len(rows))
    return figure


def _draw(
    axis: Axes, title: str, spectrum: Tensor, hop_samples: int, rate_hz: int, top_db: float
) -> AxesImage:
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
    axis.set_ylabel("kHz")
    axis.set_title(title, loc="left", fontsize=10, parse_math=False)
    return image
