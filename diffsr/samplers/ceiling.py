"""Speech that is nowhere louder than its recording."""

from __future__ import annotations

from torch import Tensor

from diffsr.errors import ConfigError
from diffsr.signal.smoothing import mean_around
from diffsr.signal.stft import STFT

AROUND_FRAMES, AROUND_BINS = 5, 3
"""Of the means: few, as a pause lies beside speech that is 40 dB louder."""
TINY = 1e-20


class PowerCeiling:
    """Takes down what is louder than the recording, where it is, to the power of that.

    What is added to speech is independent of it, so that powers add up, `E|Y|^2 = E|X|^2 + E|N|^2`, and means
    of the power of an estimate over a few bins and frames have no business above those of the recording. In
    the pauses of clean recordings they are, by up to 44 dB (docs/enhancement.md, "Hiss of clean recordings").

    Args:
        margin_db: How much louder it may be. In a room, where reflections cancel speech here and there, some.
        n_fft: STFT window in samples.
        hop_samples: STFT hop in samples.

    Raises:
        ConfigError: The margin is below 0.
    """

    def __init__(self, margin_db: float = 0.0, n_fft: int = 512, hop_samples: int = 128) -> None:
        if not margin_db >= 0:
            raise ConfigError(f"PowerCeiling has margin_db = {margin_db:g}; expected 0 or more.")
        self.margin_db, self.stft = margin_db, STFT(n_fft, hop_samples)

    def __call__(self, speech: Tensor, recording: Tensor) -> Tensor:
        """`[..., T]` and `[..., T]` of one level -> `[..., T]`."""
        stft = self.stft.to(speech.device)
        spec = stft(speech)
        own, most = (_local(one) for one in (spec, stft(recording)))
        gain = (10 ** (self.margin_db / 10) * most / own.clamp_min(TINY)).clamp_max(1).sqrt()
        return stft.inverse(gain * spec, speech.shape[-1])


def _local(spec: Tensor) -> Tensor:
    """Mean power around each bin and frame, `[..., F, N]`."""
    power = spec.abs().square()
    return mean_around(power.flatten(0, -3), AROUND_FRAMES, AROUND_BINS).view(power.shape)
