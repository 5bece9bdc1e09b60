"""Cards of noise listeners."""

from __future__ import annotations

from collections.abc import Mapping

from diffsr.io.network_card import network_card
from diffsr.noise.listener import NoiseListener


def listener_card(listener: NoiseListener, training: Mapping[str, str]) -> str:
    """Markdown for the `README.md` of a listener folder.

    Args:
        listener: The trained listener.
        training: Facts about the training, title -> text.
    """
    what = [
        "`diffsr.noise.NoiseListener.from_pretrained(THIS_FOLDER)` hears a recording and tells how much of",
        "it is noise, in each bin and frame.",
    ]
    stft = f"{listener.stft.n_fft} samples, every {listener.stft.hop_samples}"
    return network_card("Noise listener", what, listener, listener.rate_hz, {"Windows": stft, **training})
