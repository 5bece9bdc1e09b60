"""What the tracks of the benchmark are: talkers, room, noise, and the limits of what is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from diffsr.errors import ConfigError
from diffsr.evaluation.metrics import TALKER_METRICS

RATE_HZ = 16000
N_ITEMS = 50
SHORTEST_S, LONGEST_S = 4.0, 8.0
"""Crops are this long, and no file is shorter than the shortest."""
MAX_USES = 2
"""No file of speech stands in a track more often."""
N_SUBSET = 20
SPREAD_DB = (0.0, 5.0)
"""Level difference of two talkers."""


METRICS = ("si_sdr_db", "pesq_wb", "estoi")
"""Scores of every table."""
EXTRA_METRICS = {
    "denoise_dereverb": ("dnsmos_ovrl",),
    "separate": tuple(TALKER_METRICS),
    "joint": tuple(TALKER_METRICS),
}
"""Further scores of a track, where their packages are installed."""


@dataclass(frozen=True)
class Track:
    """One track.

    Attributes:
        name: Its name on the command line.
        number: Part of the seed of its draws.
        title: What it is, in half a line.
        n_talkers: S.
        responses: Kinds of rooms in turn: simulated, measured; none for no room.
        snr_db: Range of the SNR; None for no noise.
        snr_by: How the SNR is measured: `rms` over the speech span, or `loudness` (BS.1770).
    """

    name: str
    number: int
    title: str
    n_talkers: int = 1
    responses: tuple[str, ...] = ()
    snr_db: tuple[float, float] | None = None
    snr_by: str = "rms"


TRACKS = {
    track.name: track
    for track in (
        Track("enhance", 0, "1 talker in noise, SNR -5 to 10 dB", snr_db=(-5.0, 10.0)),
        Track("dereverb", 1, "1 talker in a room", responses=("simulated", "measured")),
        Track("separate", 2, "2 talkers, level difference 0 to 5 dB", n_talkers=2),
        Track(
            "joint",
            3,
            "2 talkers in a room with noise, SNR -3 to 6 dB by loudness",
            n_talkers=2,
            responses=("simulated",),
            snr_db=(-3.0, 6.0),
            snr_by="loudness",
        ),
        Track(
            "denoise_dereverb",
            4,
            "1 talker in a room with noise, SNR 5 dB",
            responses=("simulated", "measured"),
            snr_db=(5.0, 5.0),
        ),
    )
}
SPLITS = ("test", "valid")


def find_track(name: str) -> Track:
    """The track of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in TRACKS:
        known = "; ".join(f"{track.name} ({track.title})" for track in TRACKS.values())
        raise ConfigError(f"There is no track {name!r}. The tracks are: {known}.")
    return TRACKS[name]


def check_split(name: str) -> str:
    """The name, if it is that of a split.

    Raises:
        ConfigError: It is not.
    """
    if name not in SPLITS:
        raise ConfigError(
            f"There is no split {name!r}, expected test (for reported rows) or valid (for tuning)."
        )
    return name
