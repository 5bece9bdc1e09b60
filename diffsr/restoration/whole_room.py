"""Physics of a recording that early reflections were taken away from before the rest was found."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from diffsr.restoration.physics import NOISE_POWER, ROOM_RESPONSE
from diffsr.samplers.early_reflections import energy_db, with_them
from diffsr.signal.reflections import power_gain
from diffsr.signal.stft import STFT

ENERGY_DB = "early_reflections_db"


def of_the_recording(
    described: Mapping[str, Tensor], early: Tensor | None, stft: STFT
) -> Mapping[str, Tensor]:
    """The physics of what was restored as that of the recording, which has them.

    Args:
        described: Name -> `[K, R, ...]`.
        early: Cepstrum of the early reflections `[K, Q]`, without rows of a silent recording; None where none
            were looked for.
        stft: That of the noise power.
    """
    if early is None or not len(early):
        return described
    found, cepstrum = dict(described), early.cpu()
    if (response := found.get(ROOM_RESPONSE)) is not None:
        found[ROOM_RESPONSE] = with_them(response, cepstrum)
        found[ENERGY_DB] = energy_db(cepstrum)[:, None].expand(response.shape[:2])
    power = found.get(NOISE_POWER)
    if power is not None and power.shape[-2] == stft.n_bins:  # else a level that was given
        gain = power_gain(cepstrum.to(stft.window.device), stft)  # the STFT stays where the sampler has it
        found[NOISE_POWER] = power * gain.cpu()[:, None, :, None]
    return found
