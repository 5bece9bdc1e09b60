"""Unconditional samples of a prior as files: one wav each, and a sheet of their spectrograms."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diffsr.diffusion import Prior, WindowedPrior
from diffsr.diffusion.fingerprint import prior_sha1
from diffsr.errors import ConfigError, DataError
from diffsr.io.atomic import replacing
from diffsr.io.audio import read_audio, write_audio
from diffsr.report.pictures import spectrogram_sheet
from diffsr.samplers.unconditional import draw_speech

SETTINGS, SHEET = "samples.json", "samples.png"
MAX_ROWS = 16
"""Spectrograms on the sheet."""
SHORTEST_S, LONGEST_S = 0.1, 600.0
FEWEST_STEPS = 2
OnCall = Callable[[int, int], None]


@dataclass(frozen=True)
class Draws:
    """What to draw; sample `i` depends on the prior, these settings and `i`, not on the count.

    Attributes:
        n_items: Number of samples.
        duration_s: Length of each.
        n_steps: Network calls for each.
        seed: Of all of them.
    """

    n_items: int = 8
    duration_s: float = 4.0
    n_steps: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "count": (self.n_items, 1, math.inf),
            "seconds": (self.duration_s, SHORTEST_S, LONGEST_S),
            "steps": (self.n_steps, FEWEST_STEPS, math.inf),
        }
        for name, (value, least, most) in limits.items():
            if not least <= value <= most:
                upper = "" if most == math.inf else f", and have at most {most:g}"
                raise ConfigError(f"{name} is {value:g}; samples need at least {least:g}{upper}.")


@dataclass(frozen=True)
class SavedSamples:
    """What lies in a folder of samples.

    Attributes:
        waves: Title -> samples [T], as they are in the files.
        picture: The sheet of the first 16.
        n_drawn: How many were drawn now; the others were there.
    """

    waves: dict[str, Tensor]
    picture: Path
    n_drawn: int


def save_samples(
    prior: Prior,
    folder: str | Path,
    draws: Draws,
    overwrite: bool = False,
    on_call: OnCall | None = None,
) -> SavedSamples:
    """Draw speech into `sample_<i>.wav`, one at a time, and picture it in `samples.png`.

    What is there already is kept, so an interrupted call continues where it stopped. Samples keep the
    level that the prior believes in, and are only turned down where they would clip. Those longer than
    the prior's window are drawn in overlapping windows.

    Args:
        prior: In eval mode; computes where its weights are.
        folder: Where to write; made where missing.
        draws: What to draw.
        overwrite: Replace all samples in the folder.
        on_call: Called with (finished, total) network calls of all samples together.

    Raises:
        ConfigError: The folder holds samples of another prior or of other settings.
        DataError: It cannot be written.
    """
    folder = Path(folder)
    _claim(folder, _settings(prior, draws), overwrite)
    paths = [folder / f"sample_{index}.wav" for index in range(draws.n_items)]
    missing = [index for index, path in enumerate(paths) if not path.is_file()]
    n_calls, n_before = draws.n_items * draws.n_steps, (draws.n_items - len(missing)) * draws.n_steps
    for position, index in enumerate(missing):
        start = n_before + position * draws.n_steps

        def tell(step: int, n_steps: int, start: int = start) -> None:
            if on_call is not None:
                on_call(start + step, n_calls)

        tell(0, draws.n_steps)
        wave = _draw(prior, draws, index, tell)
        write_audio(paths[index], wave[None] / wave.abs().max().clamp_min(1), prior.rate_hz)
    waves = {f"sample {index}": read_audio(path)[0][0] for index, path in enumerate(paths)}
    shown = dict(list(waves.items())[:MAX_ROWS])
    return SavedSamples(waves, spectrogram_sheet(shown, prior.rate_hz, folder / SHEET), len(missing))


def _draw(prior: Prior, draws: Draws, index: int, on_step: OnCall) -> Tensor:
    """Sample `index` alone, as the sums of a batch depend on its size in the last digits."""
    whole = draws.duration_s <= prior.window_s
    denoiser = prior if whole else WindowedPrior(prior, prior.window_s, overlap_s=prior.window_s / 8)
    device = next(prior.parameters()).device
    return draw_speech(
        denoiser,
        1,
        draws.duration_s,
        draws.n_steps,
        seed=draws.seed,
        first=index,
        device=device,
        on_step=on_step,
    )[0].cpu()


def _settings(prior: Prior, draws: Draws) -> dict[str, str | float]:
    """All that a sample depends on beside its number."""
    return {
        "prior_sha1": prior_sha1(prior),
        "duration_s": draws.duration_s,
        "n_steps": draws.n_steps,
        "seed": draws.seed,
    }


def _claim(folder: Path, settings: dict[str, str | float], overwrite: bool) -> None:
    """Note in the folder what its samples are; refuse to mix them with others.

    Raises:
        ConfigError: There are others.
        DataError: The folder cannot be written.
    """
    note = folder / SETTINGS
    try:
        found = _read(note)
        old = [p for p in folder.glob("sample_*.wav") if re.fullmatch(r"sample_\d+\.wav", p.name)]
        if found != settings and old and not overwrite:
            differing = [name for name in settings if found.get(name) != settings[name]]
            listed = ", ".join(f"{name} {found.get(name)} there, {settings[name]} now" for name in differing)
            raise ConfigError(
                f"{folder} holds samples drawn otherwise ({listed}). Choose another folder, or replace them "
                "with --overwrite."
            )
        if overwrite:
            for path in old:
                path.unlink()
        with replacing(note) as temporary:
            temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"Cannot write samples to {folder}: {error.strerror or error}. Choose a folder that you may "
            "write to."
        ) from error


def _read(note: Path) -> dict[str, object]:
    """What the folder says of its samples; nothing where it does not."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
