"""One picture of a restoration: before, after, noise, room, and how sure the result is."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffsr.report.pictures import N_FFT, draw_spectra, hop_for, magnitude_db, new_figure, spectrogram_db
from diffsr.restoration import Physics, Restoration
from diffsr.restoration.spread import variance_of
from diffsr.signal.levels import power_db
from diffsr.signal.resampling import resample
from diffsr.signal.room_acoustics import energy_decay_db, rt60_s
from diffsr.signal.stft import STFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, NOISE, ROOM = "#222222", "#D55E00", "#0072B2"
"""Vermilion and blue of Okabe and Ito, which colour-blind readers can tell apart."""
DECAY_FLOOR_DB = -70.0
Panel = Callable[["Axes"], None]


def draw_physics(restoration: Restoration, wave: Tensor, rate_hz: int) -> Figure:
    """Draw the first restored channel: spectrograms before and after, and what was found out.

    Args:
        restoration: With its physics.
        wave: The channels of the recording that were chosen `[C, T]`.
        rate_hz: Its sampling rate.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    physics, samples = restoration.physics, restoration.samples
    place = physics.places[0] if physics is not None else 0
    rate_hz_out, after = restoration.rate_hz, torch.as_tensor(restoration.wave)[place]
    hop_samples = hop_for(len(after))
    spectra = {
        "before": spectrogram_db(resample(wave[place], rate_hz, rate_hz_out, len(after)), hop_samples),
        "after": spectrogram_db(after, hop_samples),
    }
    if samples is not None:
        stft = STFT(N_FFT, hop_samples)
        deviation = variance_of(stft(one) for one in torch.as_tensor(samples)[:, place]).sqrt()
        spectra[f"standard deviation of {len(samples)} samples"] = magnitude_db(deviation, stft)
    panels = {} if physics is None else _panels(physics)
    n_rows = len(spectra) + (len(panels) + 1) // 2
    figure = new_figure(10.0, 0.6 + 1.9 * len(spectra) + 2.6 * (n_rows - len(spectra)))
    ratios = [1.9] * len(spectra) + [2.6] * (n_rows - len(spectra))
    grid = figure.add_gridspec(n_rows, 2, height_ratios=ratios)
    axes = [figure.add_subplot(grid[row, :]) for row in range(len(spectra))]
    duration_s = len(after) / rate_hz_out
    image = draw_spectra(axes, list(spectra.values()), hop_samples, rate_hz_out, duration_s)
    for axis, title in zip(axes, spectra, strict=True):
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("time (s)")
    figure.colorbar(image, ax=axes, label="dB re full scale", pad=0.01, aspect=12 * len(axes))
    for index, (title, draw) in enumerate(panels.items()):
        row, column = len(spectra) + index // 2, index % 2
        is_alone = index == len(panels) - 1 and column == 0
        axis = figure.add_subplot(grid[row, :] if is_alone else grid[row, column])
        draw(axis)
        axis.set_title(title, loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure


def _panels(physics: Physics) -> dict[str, Panel]:
    """Titles and drawings of what there is, for the first restored channel."""
    found: dict[str, Panel] = {}
    if (psd := physics.noise_psd) is not None and (level_db := physics.noise_level_db) is not None:
        title = f"noise, mean over time; {float(level_db[0]):.1f} dB re full scale in all"
        found[title] = partial(_draw_noise, frequency_hz=physics.frequency_hz, psd=psd[0])
    if (responses := physics.room_response) is not None:
        response, rate_hz = responses[0], physics.rate_hz
        found["room: response"] = partial(_draw_response, response=response, rate_hz=rate_hz)
        time_s = float(rt60_s(response, rate_hz))
        told = f"T60 {time_s:.2f} s" if math.isfinite(time_s) else "T60 cannot be told"
        title = f"room: energy decay; {told}"
        found[title] = partial(_draw_decay, response=response, rate_hz=rate_hz)
        if "rt60_s" in physics.values and "band_hz" in physics.values:
            times, bands = physics.values["rt60_s"][0, :, 0], physics.values["band_hz"][0, 0, 0]
            longest = physics.values.get("rt60_at_limit")
            unsure = torch.zeros(len(bands), dtype=torch.bool) if longest is None else longest[0, :, 0].any(0)
            title = "room: T60 by frequency" + ("; circles: maybe longer" if bool(unsure.any()) else "")
            found[title] = partial(_draw_times, times=times, band_hz=bands, unsure=unsure)
    return found


def _draw_noise(axis: Axes, frequency_hz: Tensor, psd: Tensor) -> None:
    axis.plot(frequency_hz / 1000.0, power_db(psd), color=NOISE, linewidth=1.4)
    axis.set_xlim(0.0, float(frequency_hz[-1]) / 1000.0)
    axis.set_xlabel("kHz")
    axis.set_ylabel("dB per Hz")


def _draw_response(axis: Axes, response: Tensor, rate_hz: int) -> None:
    time_ms = torch.arange(len(response)) * (1000.0 / rate_hz)
    axis.plot(time_ms, response, color=ROOM, linewidth=0.7)
    axis.set_xlim(-5.0, min(200.0, float(time_ms[-1])))
    axis.set_xlabel("ms after the direct path")


def _draw_decay(axis: Axes, response: Tensor, rate_hz: int) -> None:
    time_s = torch.arange(len(response)) / rate_hz
    axis.plot(time_s, energy_decay_db(response), color=ROOM, linewidth=1.4)
    axis.set_xlim(0.0, float(time_s[-1]))
    axis.set_ylim(DECAY_FLOOR_DB, 2.0)
    axis.set_xlabel("s after the direct path")
    axis.set_ylabel("dB")


def _draw_times(axis: Axes, times: Tensor, band_hz: Tensor, unsure: Tensor) -> None:
    """`times [R, bands]`: the mean, each sample thin where there are several, and circles where `unsure`."""
    for sample in times if len(times) > 1 else []:
        axis.plot(band_hz / 1000.0, sample, color=ROOM, linewidth=0.5, alpha=0.5)
    mean = times.mean(0)
    axis.plot(band_hz / 1000.0, mean, color=INK, marker="o", markersize=3, linewidth=1.4)
    if bool(unsure.any()):
        khz = band_hz[unsure] / 1000.0
        axis.plot(khz, mean[unsure], "o", markersize=5, markerfacecolor="white", markeredgecolor=INK)
    axis.set_ylim(bottom=0.0)
    axis.set_xlabel("kHz")
    axis.set_ylabel("s")
