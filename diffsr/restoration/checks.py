"""What of a recording can be restored, and which channels of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffsr.errors import AudioError, ConfigError
from diffsr.signal.levels import active_rms

SHORTEST_S = 0.1
CLIPPED_SHARE, CLIPPED_SHARE_TO_REPAIR = 0.5, 0.9
"""Of samples at the peak, at most. Repair still gains 3 dB SI-SDR where it is 0.55, and 2 dB at 0.85."""
CANCELLED_DB = 40.0
"""The mean of channels is that much below the loudest: one of them has the opposite polarity."""
LOWEST_RATE_HZ = 1000
"""Below it there is no speech. A wrong header: at the prior's rate such a file could fill the memory."""
HIGHEST_PEAK = 1e9
"""Of samples as floating point: far above integers that were not scaled, far below where squares overflow."""


def check_shape(wave: Tensor, rate_hz: int) -> None:
    """Refuse what is no recording."""
    if rate_hz <= 0:
        raise ConfigError(f"The sampling rate is {rate_hz} Hz; expected a number above 0, such as 16000.")
    if rate_hz < LOWEST_RATE_HZ:
        raise AudioError(
            f"The sampling rate is {rate_hz} Hz; expected at least {LOWEST_RATE_HZ} Hz. "
            "Correct the header of the file."
        )
    if wave.ndim != 2 or wave.shape[0] == 0:
        raise AudioError(f"The audio has shape {tuple(wave.shape)}; expected [channels, T].")
    n_channels, n_samples = wave.shape
    if n_channels > max(n_samples, 1):
        raise AudioError(
            f"The audio has {n_channels} channels of {n_samples} samples; expected [channels, T]. "
            "Transpose it."
        )
    if n_samples < SHORTEST_S * rate_hz:
        raise AudioError(
            f"The recording lasts {n_samples / rate_hz:.4f} s (samples: {n_samples}, {rate_hz} Hz); "
            f"expected at least {SHORTEST_S} s. Leave it out or record more."
        )


def check_content(wave: Tensor, rate_hz: int, raises_peaks: bool) -> None:
    """Refuse what cannot be restored, saying why; more may be clipped where it is repaired."""
    if not bool(torch.isfinite(wave).all()):
        raise AudioError("The recording holds NaN or infinite samples; expected numbers. Export it again.")
    peak = float(wave.abs().max())
    if peak > HIGHEST_PEAK:
        raise AudioError(
            f"The recording reaches {peak:.1e}; expected samples of about 1, at most {HIGHEST_PEAK:.0e}. "
            "Scale it down."
        )
    if not bool(active_rms(wave - wave.mean(-1, keepdim=True), rate_hz).any()):
        raise AudioError("The recording is silent; expected speech. Leave it out or record it again.")
    share = float((wave.abs() >= 0.999 * peak).float().mean())
    most = CLIPPED_SHARE_TO_REPAIR if raises_peaks else CLIPPED_SHARE
    if share > most:
        can_repair = share <= CLIPPED_SHARE_TO_REPAIR
        repair = ", or raise its peaks by the task declip (--task declip on the command line)"
        raise AudioError(
            f"The recording is clipped in {share:.0%} of its samples; expected at most {most:.0%}. Record it "
            f"again at a lower level{repair if can_repair else ''}."
        )


def check_channels(channels: str) -> None:
    """Refuse what names no channel of any recording.

    Raises:
        ConfigError: It is neither a word that is known nor a number.
    """
    if channels not in ("each", "mean") and not channels.isdecimal():
        raise ConfigError(f"channels is {channels!r}; expected each, mean or a number from 0 on.")


def choose_channels(wave: Tensor, channels: str, n_sources: int = 1) -> tuple[Tensor, Sequence[int | str]]:
    """The channels to restore and their numbers in the recording, or `mean` for that of several.

    Several talkers come out of one channel: where `each` was asked for, of their mean.

    Raises:
        AudioError: The mean was asked for, and channels cancel in it.
        ConfigError: There is no such channel.
    """
    if channels == "each" and n_sources == 1:
        return wave, range(wave.shape[0])
    if channels in ("each", "mean"):
        return _mean_of(wave), ["mean" if len(wave) > 1 else 0]
    if channels.isdecimal() and int(channels) < wave.shape[0]:
        return wave[[int(channels)]], [int(channels)]
    raise ConfigError(
        f"channel {channels!r} was asked for and the recording has {wave.shape[0]}; "
        f"expected each, mean or a number from 0 to {wave.shape[0] - 1}."
    )


def _loudest_power(wave: Tensor) -> Tensor:
    """Of the channels, but for constants."""
    return (wave - wave.mean(-1, keepdim=True)).square().mean(-1).max()


def _mean_of(wave: Tensor) -> Tensor:
    """Of the channels, `[1, T]`."""
    mean = wave.mean(0, keepdim=True)
    if bool(_loudest_power(mean) < 10 ** (-CANCELLED_DB / 10) * _loudest_power(wave) / len(wave) ** 2):
        raise AudioError(
            f"The {len(wave)} channels cancel in their mean: their polarity is opposite. Choose one of them, "
            f"a number from 0 to {len(wave) - 1} (--channels on the command line)."
        )
    return mean
