"""Missing upper bands by copies of the highest one that is there."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsr.baselines.base import as_recording, for_every_talker
from diffsr.signal.damage import find_cutoff_hz
from diffsr.signal.levels import from_db
from diffsr.signal.stft import STFT

TILT_DB_PER_OCTAVE = -12.0
"""Of the long-term spectrum of speech above some kHz."""


class BandCopy:
    """The half octave to octave below the cut-off of the first microphone, copied upwards until the end.

    Each copy falls off as long-term spectra of speech do. A recording whose spectrum does not end passes
    unchanged.

    Args:
        cutoff_hz: Where the recording ends; None to find it.

    References:
        Larsen and Aarts 2004, Audio Bandwidth Extension, ch. 6: copies of the spectrum, with a fixed tilt in
        place of a transmitted envelope.
    """

    def __init__(self, cutoff_hz: float | None = None) -> None:
        self.name, self.cutoff_hz = "band_copy", cutoff_hz

    def __call__(self, observation: Tensor, rate_hz: int, n_talkers: int) -> Tensor:
        """See `System`."""
        wave = as_recording(observation, n_talkers)[0]
        hop_samples = max(1, round(0.008 * rate_hz))
        stft = STFT(4 * hop_samples, hop_samples)
        cutoff_hz = self.cutoff_hz
        if cutoff_hz is None and len(wave):
            cutoff_hz = float(find_cutoff_hz(wave[None, None], rate_hz)[0])
        if cutoff_hz is None or not 0 < cutoff_hz < rate_hz / 2:
            return for_every_talker(wave, n_talkers)
        spectrum = stft(wave)
        # The last bins below a cut-off are attenuated already.
        last = max(int(cutoff_hz / rate_hz * stft.n_fft) - 1, 2)
        width = last - last // 2
        above = torch.arange(last, stft.n_bins)
        source = last - width + (above - last) % width
        gain = from_db(TILT_DB_PER_OCTAVE * (above / source).log2())
        # What is there above the cut-off stays below.
        spectrum[last:] = gain[:, None] * spectrum[source]
        return for_every_talker(stft.inverse(spectrum, len(wave)), n_talkers)

    def describe(self) -> dict[str, str]:
        """See `System`."""
        return {
            "system": self.name,
            "cutoff_hz": "found" if self.cutoff_hz is None else f"{self.cutoff_hz:g}",
            "tilt_db_per_octave": str(TILT_DB_PER_OCTAVE),
            "output": "microphone 1",
        }
