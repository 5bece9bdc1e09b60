"""What was found out about a recording, as files: numbers, the room response, a picture."""

from __future__ import annotations

import json
import re
from typing import Any

import torch
from torch import Tensor

from diffsr.io.atomic import write_text
from diffsr.io.audio import write_audio
from diffsr.report.physics_picture import draw_physics
from diffsr.report.pictures import save_png, spectrogram_sheet
from diffsr.restoration import Restoration
from diffsr.restoration.physics import one_sided_psd
from diffsr.restoration.result import Section
from diffsr.restoration.side_files import SideFiles
from diffsr.restoration.spread import variance_of
from diffsr.signal.levels import LEAST_POWER, power_db
from diffsr.signal.stft import STFT

PIECE = 2**20
"""Samples of a long recording that are looked at together, up to twice as many."""


def write_summary(restoration: Restoration, name: str, audio: str, sides: SideFiles) -> None:
    """Write the numbers, see `summary`.

    Args:
        restoration: With its physics.
        name: Of the recording.
        audio: Name of the result.
        sides: Where.

    Raises:
        DataError: The file cannot be written.
    """
    write_text(sides.summary, _readable({"audio": audio, **summary(restoration, name)}))


def write_pictures(restoration: Restoration, wave: Tensor, rate_hz: int, sides: SideFiles) -> None:
    """Write the picture, and the room response where a room was part of the model.

    Several talkers have a picture of the mixture, each of them and the residual.

    Args:
        restoration: With its physics.
        wave: The channels of the recording that were chosen `[C, T]`.
        rate_hz: Its sampling rate.
        sides: Where.

    Raises:
        DataError: The picture cannot be written.
        AudioError: The room response cannot be written.
        ConfigError: matplotlib is not installed.
    """
    physics = restoration.physics
    if physics is not None and physics.room_response is not None:
        write_audio(sides.response, physics.room_response, physics.rate_hz, "FLOAT")
    if (talkers := restoration.talkers) is None:
        save_png(draw_physics(restoration, wave, rate_hz), sides.picture)
        return
    apart = {f"talker {k}": one for k, one in enumerate(torch.as_tensor(restoration.wave), start=1)}
    rows = {"recording": wave[0], **apart, "residual": torch.as_tensor(talkers.residual)}
    spectrogram_sheet(rows, rate_hz, sides.picture)


def summary(restoration: Restoration, name: str) -> dict[str, Any]:
    """What the `.json` file holds; levels are those of the recording, re full scale.

    Args:
        restoration: With its physics.
        name: Of the recording.
    """
    physics, samples = restoration.physics, restoration.samples
    found: dict[str, Any] = {
        "recording": name,
        "rate_hz": restoration.rate_hz,
        "network_calls": restoration.n_calls,
        "seconds": round(restoration.seconds, 2),
        "samples": 1 if samples is None else len(samples),
        "channels": [] if physics is None else physics.summary(),
    }
    if restoration.sections:
        found["sections"] = [_of_section(one) for one in restoration.sections]
    if restoration.talkers is not None:
        found |= restoration.talkers.summary()
    elif samples is not None:
        spread = spread_of(torch.as_tensor(samples), restoration.rate_hz)
        for channel, place in zip(found["channels"], [] if physics is None else physics.places, strict=True):
            channel["spread"] = spread[place]
    return found


def _of_section(section: Section) -> dict[str, Any]:
    channels = [] if section.physics is None else section.physics.summary()
    return {"start_s": round(section.start_s, 2), "end_s": round(section.end_s, 2), "channels": channels}


def spread_of(samples: Tensor, rate_hz: int) -> list[dict[str, Any]]:
    """Standard deviation of posterior samples `[R, C, T]` for each channel: over all, and by frequency.

    `relative_db` is its RMS over that of the mean; `psd_db_per_hz` is its power per Hz, mean over time.
    """
    stft = STFT()
    found = []
    for channel in samples.swapaxes(0, 1):
        variance = variance_of(channel).mean()
        signal = channel.mean(0).square().mean()
        psd = one_sided_psd(_mean_variance(channel, stft), stft, rate_hz)
        found.append(
            {
                "level_db": _rounded_db(variance),
                "relative_db": _rounded_db(variance / signal.clamp_min(LEAST_POWER)),
                "frequency_hz": [round(k * rate_hz / stft.n_fft, 2) for k in range(stft.n_bins)],
                "psd_db_per_hz": [_rounded_db(value) for value in psd],
            }
        )
    return found


def _mean_variance(samples: Tensor, stft: STFT) -> Tensor:
    """Of the STFT bins of samples `[R, T]`, mean over time `[F]`; minute by minute, which saves memory."""
    total, n_frames = torch.zeros(()), 0
    for piece in samples.tensor_split(max(samples.shape[-1] // PIECE, 1), dim=-1):
        variance = variance_of(stft(one) for one in piece)
        total, n_frames = total + variance.sum(-1), n_frames + variance.shape[-1]
    return total / n_frames


def _readable(found: dict[str, Any]) -> str:
    """JSON with each list of numbers on one line."""
    text = json.dumps(found, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda numbers: f"[{' '.join(numbers[0][1:-1].split())}]", text) + "\n"


def _rounded_db(power: Tensor) -> float:
    return round(power_db(float(power)), 2)
