"""A room whose response is known."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from diffsr.degradations.base import Degradation, per_row
from diffsr.errors import DataError
from diffsr.io.audio import read_audio
from diffsr.signal.filtering import fft_convolve, fft_correlate
from diffsr.signal.resampling import resample
from diffsr.signal.room_acoustics import direct_path_sample


class Room(Degradation):
    """`y_c = sum_k h_ck * x_k` with known responses.

    Each talker's responses are shifted and scaled together, so that the direct path at the first microphone
    is at lag 0 with the factor 1: x_k is what that microphone would hear without the room. The direct path is
    the first clear peak (`direct_path_sample`), not the largest, which may be a reflection. What comes before
    it is kept, at negative lags: the ringing of a resampler, or microphones that are nearer.

    Args:
        response: `[C, L]`, or of items and talkers `[B, S, C, L]`; one item or talker serves all.
        rate_hz: Sample rate.

    Raises:
        DataError: A response has another shape, is silent, or holds NaN.
    """

    mixes = True
    known: Tensor

    def __init__(self, response: Tensor, rate_hz: int = 16000) -> None:
        super().__init__()
        if response.ndim not in (2, 4) or response.numel() == 0:
            raise DataError(
                f"The room response has the shape {list(response.shape)}, expected [C, L] or [B, S, C, L] "
                "with B recordings, S talkers, C microphones, L samples."
            )
        self.rate_hz = rate_hz
        full = response[None, None] if response.ndim == 2 else response
        self.known, self.lead_samples = _align(full, rate_hz)
        self.aligned = self.known
        """Responses of this batch `[rows, S, C, L']`, with the direct path at `lead_samples`."""

    def reset(self, y: Tensor, n_sources: int) -> None:
        """Known responses.

        Raises:
            DataError: The responses have other microphones or talkers than the recording.
        """
        super().reset(y, n_sources)
        n_talkers, n_microphones = self.known.shape[1:3]
        if n_microphones != y.shape[1]:
            raise DataError(
                f"The room response has {n_microphones} channels, the recording {y.shape[1]}. Give a "
                "response with a channel for each of them (read_response(..., channel=0) takes the first)."
            )
        if n_talkers not in (1, n_sources):
            raise DataError(
                f"There are room responses of {n_talkers} talkers, expected {n_sources}: one for each "
                "talker, or one for all."
            )
        rows = per_row(self.known, y, "room responses").to(y.dtype)
        self.aligned = rows.expand(-1, n_sources, -1, -1)

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, S, T] -> [rows, C, T]`, as long as x."""
        return fft_convolve(x[:, :, None], self.aligned, self.lead_samples).sum(1)

    def adjoint(self, r: Tensor) -> Tensor:
        """Correlation with the responses."""
        return fft_correlate(r[:, None], self.aligned, self.lead_samples).sum(2)

    def response(self) -> Tensor:
        """From the direct path on, `[rows, S, C, L'']`."""
        return self.aligned[..., self.lead_samples :]

    def describe(self) -> dict[str, Tensor]:
        """`room_response [rows, S, C, L'']`."""
        return {"room_response": self.response()}


class RoomFile(Room):
    """`Room` with the response of a file of one channel, for experiments.

    Args:
        path: Any audio file; it is resampled to the rate.
        rate_hz: Sample rate of the prior.

    Raises:
        DataError: The response has several channels or a lower rate, or is silent.
        AudioError: The file cannot be read.
    """

    def __init__(self, path: str, rate_hz: int = 16000) -> None:
        response = read_response(path, rate_hz)
        if len(response) != 1:
            raise DataError(
                f"The room response {path} has {len(response)} channels, expected one: every channel of a "
                "recording is restored by itself. Write the channel of its microphone into a file."
            )
        super().__init__(response, rate_hz)


def read_response(path: str | Path, rate_hz: int, channel: int | None = None) -> Tensor:
    """Read a measured room response, `[C, L]`.

    Args:
        path: Any audio file.
        rate_hz: Rate of the recordings; the response is resampled to it.
        channel: Keep only this channel, from 0; None keeps all.

    Raises:
        DataError: The response has a lower rate, is silent, or lacks the channel.
        AudioError: The file cannot be read.
    """
    wave, info = read_audio(path)
    if info.rate_hz < rate_hz:
        raise DataError(
            f"The room response {path} has {info.rate_hz} Hz, expected at least the {rate_hz} Hz of the "
            "prior: its upper band would be silent. Use a response of a higher rate, or a prior of this rate."
        )
    if channel is not None:
        if not 0 <= channel < len(wave):
            raise DataError(
                f"The room response {path} has {len(wave)} channels, found no channel {channel}. Choose one "
                f"of 0 to {len(wave) - 1}."
            )
        wave = wave[channel : channel + 1]
    if not bool(wave[0].any()):
        raise DataError(
            f"The room response {path} is silent in its first channel. Choose another file or channel."
        )
    return _resampled(wave, info.rate_hz, rate_hz)


def _resampled(response: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Responses `[C, L]` at another rate, moved so that the direct path lies on a sample there.

    Between two samples it would be smaller than it is, and all that is divided by it too loud.
    """
    step = from_hz // math.gcd(from_hz, to_hz)  # samples until both rates have one at the same time
    lead = -direct_path_sample(response[0], from_hz) % step
    moved = resample(F.pad(response, (lead, 0)), from_hz, to_hz)
    return moved[:, lead * to_hz // from_hz :]


def _align(response: Tensor, rate_hz: int) -> tuple[Tensor, int]:
    """`[B, S, C, L]` -> with a unit direct path at the first microphone, and the place of all of them."""
    if not bool(response.isfinite().all()):
        raise DataError("The room response holds NaN or infinite samples, expected numbers. Write it again.")
    flat = response.flatten(0, 1)
    onsets = [direct_path_sample(one[0], rate_hz) for one in flat]
    first, last = min(onsets), max(onsets)
    placed = []
    for one, onset in zip(flat, onsets, strict=True):
        direct = float(one[0, onset])
        if direct == 0:
            raise DataError(
                "The room response is silent at the first microphone. Give a response with sound."
            )
        placed.append(F.pad(one / direct, (last - onset, onset - first)))
    return torch.stack(placed).unflatten(0, response.shape[:2]), last
