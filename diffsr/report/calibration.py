"""The calibration of a prior as a table and a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from diffsr.diffusion.calibration import LEVEL_ENDS_DB, SIGMA_ENDS, Calibration
from diffsr.diffusion.calibration_measure import Agreement
from diffsr.evaluation.tables import markdown_table, number, text_table
from diffsr.report.pictures import new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

N_BANDS_SHOWN = 4
LEGEND = (
    "Ratio: true over predicted squared error of the denoised estimate, all bins; 1 is perfect. "
    "Score: mean of ln r2 + err / r2 in units of the white prediction; lower is better. "
    "The table predicts crops that it was not measured on."
)


def agreement_text(agreement: Agreement) -> str:
    """For the terminal."""
    return text_table(_header(agreement), _rows(agreement)) + "\n\n" + LEGEND


def agreement_markdown(agreement: Agreement) -> str:
    """For documents."""
    return markdown_table(_header(agreement), _rows(agreement)) + "\n\n" + LEGEND


def calibration_picture(calibration: Calibration, agreement: Agreement, path: str | Path) -> Path:
    """Draw the table for some frequencies, and how well it predicts beside the formulas.

    Args:
        calibration: The table.
        agreement: Its cross-validation.
        path: Picture to write (.png).

    Returns:
        `path`.

    Raises:
        ConfigError: matplotlib is not installed.
        DataError: The picture cannot be written.
    """
    figure = new_figure(13.0, 7.5)
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.1, 1.0])[:, 0]
    _draw_tables(parts[0], calibration)
    axes = parts[1].subplots(1, 2)
    titles = ("true / predicted error", "score: mean of ln r$^2$ + err / r$^2$ (lower is better)")
    for axis, values, title in zip(axes, (agreement.ratio, agreement.score), titles, strict=True):
        for name, curve in values.items():
            axis.semilogx(agreement.sigmas, curve, "o-", markersize=3, label=name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("sigma")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_yscale("log")
    axes[0].axhline(1.0, color="black", linewidth=0.8)
    return save_png(figure, path)


def _draw_tables(figure: SubFigure, calibration: Calibration) -> None:
    """One heat map for each of some frequencies: sigma to the right, local power upwards."""
    ratio_db = 10 / math.log(10) * calibration.log_ratio.cpu()
    n_bands = ratio_db.shape[1]
    shown = torch.linspace(1, n_bands - 1, N_BANDS_SHOWN).round().long().tolist()
    axes = figure.subplots(1, len(shown), sharey=True)
    low, high = (math.log10(end) for end in SIGMA_ENDS)
    edges = (*_edges(low, high, ratio_db.shape[0]), *_edges(*LEVEL_ENDS_DB, ratio_db.shape[2]))
    limits = {"vmin": float(ratio_db.min()), "vmax": float(ratio_db.max())}
    for axis, band in zip(axes, shown, strict=True):
        image = axis.imshow(
            ratio_db[:, band].T.numpy(),
            origin="lower",
            aspect="auto",
            extent=edges,
            cmap="magma",
            **limits,
        )
        frequency_hz = 700 * ((1 + calibration.rate_hz / 1400) ** (band / (n_bands - 1)) - 1)
        axis.set_title(f"{frequency_hz / 1000:.1f} kHz", fontsize=10)
        axis.set_xlabel("log10 sigma")
    axes[0].set_ylabel("local |X0|$^2$ (dB re u)")
    figure.colorbar(image, ax=list(axes), label="error (dB re u)", pad=0.01)
    figure.suptitle(
        "E|X - X0|$^2$, u: white Gaussian uncertainty" + f"; {calibration.source}" * bool(calibration.source),
        fontsize=10,
    )


def _header(agreement: Agreement) -> list[str]:
    return [
        "sigma",
        *(f"ratio, {name}" for name in agreement.ratio),
        *(f"score, {n}" for n in agreement.score),
    ]


def _rows(agreement: Agreement) -> list[list[str]]:
    curves = [*agreement.ratio.values(), *agreement.score.values()]
    rows = [
        [f"{sigma:.2g}", *(number(curve[index], 2) for curve in curves)]
        for index, sigma in enumerate(agreement.sigmas)
    ]
    means = [number(sum(curve) / len(curve), 3) for curve in agreement.score.values()]
    return [*rows, ["mean", *("" for _ in agreement.ratio), *means]]


def _edges(first: float, last: float, n_nodes: int) -> tuple[float, float]:
    """Ends of a picture whose outer cells have their middles at the outer nodes."""
    half = (last - first) / (n_nodes - 1) / 2
    return first - half, last + half
