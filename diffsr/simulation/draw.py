"""Scenes drawn as numbers: no audio is read and no room is rendered."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from diffsr.errors import AudioError, ConfigError, DataError
from diffsr.io.manifest import Utterance
from diffsr.simulation.candidates import Candidate, candidates, fingerprint
from diffsr.simulation.levels import BLOCK_S, draw_gains_db
from diffsr.simulation.noise import CROSS_FADE_S
from diffsr.simulation.plan import NoisePlan, RoomPlan, ScenePlan, TalkerPlan
from diffsr.simulation.responses import RoomSource
from diffsr.simulation.scene import Scene, render

_log = logging.getLogger(__name__)

VERSION = 2
"""Raised when the same corpora, settings and seed would give other scenes."""
ATTEMPTS = 20
"""Draws for one scene before the corpus is given up as broken."""
MARGIN_S = (0.0, 2.0)
"""Noise alone before and after the speech in `max` mode."""
_TALKERS, _LEVELS, _NOISE, _ROOM, _PLACES = range(5)


@dataclass(frozen=True)
class SceneSettings:
    """What kind of scenes to draw.

    Attributes:
        n_talkers: 1 to 3.
        n_microphones: At least 1.
        mode: `min`: everybody speaks from start to end, the shortest utterance decides the length;
            `max`: the longest decides, and noise goes on for up to 2 s before and after the speech.
        rate_hz: Sample rate.
        crop_s: Length of all scenes; None for what the utterances give. `min` then takes utterances that
            are long enough; `max` takes any and places the shorter ones at random.
        longest_s: Utterances are cut to this length, in `min` mode at least `crop_s`; None to leave them.
        snr_db: Range of the SNR of talker 1.
        spread_db: Range of the level difference of talkers 1 and 2.
        level: Active-speech RMS of a talker with gain 0 dB, full scale 1.
        snr_by: `loudness` (BS.1770), or `rms` over the speech span.
    """

    n_talkers: int = 2
    n_microphones: int = 1
    mode: str = "min"
    rate_hz: int = 16000
    crop_s: float | None = None
    longest_s: float | None = None
    snr_db: tuple[float, float] = (-3.0, 6.0)
    spread_db: tuple[float, float] = (0.0, 5.0)
    level: float = 0.05
    snr_by: str = "loudness"

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: Names the setting, its value and what is expected.
        """
        expected = {
            "n_talkers": (1 <= self.n_talkers <= 3, "1, 2 or 3"),
            "n_microphones": (self.n_microphones >= 1, "at least 1"),
            "mode": (self.mode in ("min", "max"), "min or max"),
            "rate_hz": (self.rate_hz >= 8000, "at least 8000"),
            "crop_s": (self.crop_s is None or self.crop_s >= BLOCK_S, f"at least {BLOCK_S} or null"),
            "longest_s": (self.longest_s is None or self.longest_s >= BLOCK_S, f"at least {BLOCK_S} or null"),
            "snr_db": (self.snr_db[0] <= self.snr_db[-1], "low, high"),
            "spread_db": (0 <= self.spread_db[0] <= self.spread_db[-1], "low, high, at least 0"),
            "level": (0 < self.level < 1, "between 0 and 1"),
            "snr_by": (self.snr_by in ("loudness", "rms"), "loudness or rms"),
        }
        for name, (is_right, text) in expected.items():
            if not is_right:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected {text}.")
        if self.mode == "min" and (self.longest_s or math.inf) < (self.crop_s or 0.0):
            raise ConfigError(
                f"longest_s is {self.longest_s} and crop_s is {self.crop_s}; in mode min everybody speaks "
                "from start to end: expected at least crop_s. Change one of them, or use mode max."
            )


class SceneMaker:
    """Scenes of one kind from given corpora. Scene `key` is a pure function of (corpora, seed, key).

    Every part of a scene has a random stream of its own: switching the noise or the room off changes
    nothing in the rest (but for the margins of `max` mode, which only noise has), and talkers are the same
    with one microphone or two.

    Args:
        settings: What kind of scenes.
        speech: Rows of clean speech.
        noise: Rows of noise; None for scenes without.
        rooms: Where rooms come from; None for scenes without.
        seed: Of all draws.
        name: First part of the ids.
    """

    def __init__(
        self,
        settings: SceneSettings,
        speech: Sequence[Utterance],
        noise: Sequence[Utterance] | None = None,
        rooms: RoomSource | None = None,
        seed: int = 0,
        name: str = "scene",
    ) -> None:
        self.settings, self.rooms, self.seed, self.name = settings, rooms, seed, name
        self.speech = self._speakable(candidates(speech, settings.rate_hz, "speech"))
        self.noise = None if noise is None else candidates(noise, settings.rate_hz, "noise")
        self._warned: set[str] = set()

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the scenes."""
        parts = [
            str(VERSION),
            repr(sorted(asdict(self.settings).items())),
            fingerprint(self.speech),
            "" if self.noise is None else fingerprint(self.noise),
            "" if self.rooms is None else self.rooms.fingerprint,
            str(self.seed),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def draw(self, *key: int, attempt: int = 0) -> ScenePlan:
        """The scene as numbers.

        Args:
            *key: Which scene: an index, or an epoch and an index.
            attempt: Another draw for the same key, when a file of this one turns out to be broken.
        """
        settings = self.settings
        streams = [np.random.default_rng((self.seed, *key, attempt, part)) for part in range(5)]
        chosen = self._choose(streams[_TALKERS])
        gains_db = draw_gains_db(streams[_LEVELS], len(chosen), settings.spread_db)
        duration_s, talkers = self._arrange(streams[_PLACES], chosen, gains_db)
        return ScenePlan(
            id="-".join([self.name, *(f"{number:05d}" for number in key)]),
            rate_hz=settings.rate_hz,
            duration_s=duration_s,
            n_microphones=settings.n_microphones,
            level=settings.level,
            talkers=talkers,
            room=self._room(streams[_ROOM]),
            noise=self._draw_noise(streams[_NOISE], duration_s),
            snr_by=settings.snr_by,
            attempt=attempt,
        )

    def scene(self, *key: int) -> Scene:
        """The scene as sound. A broken or silent file is skipped: the scene is drawn again without it.

        The plan of the scene tells what was skipped.

        Raises:
            DataError: 20 draws in a row met broken files, or a room cannot be had.
        """
        skipped: list[str] = []
        for attempt in range(ATTEMPTS):
            plan = replace(self.draw(*key, attempt=attempt), skipped=tuple(skipped))
            try:
                return render(plan, self.rooms)
            except AudioError as error:
                skipped.append(str(error))
                self._warn(str(error))
        raise DataError(
            f"{self.name}: {ATTEMPTS} draws in a row met files that cannot be used; last: {skipped[-1]} "
            "Repair the corpus, or list it again with `diffsr prepare`, which leaves such files out."
        )

    def _warn(self, problem: str) -> None:
        if problem not in self._warned:
            self._warned.add(problem)
            _log.warning("Skipped file %d: %s", len(self._warned), problem)

    def _speakable(self, found: list[Candidate]) -> list[Candidate]:
        """Recordings that can be a talker of these scenes.

        Raises:
            DataError: There are fewer talkers than a scene needs.
        """
        settings = self.settings
        shortest_s = settings.crop_s if settings.crop_s and settings.mode == "min" else BLOCK_S
        long_enough = [item for item in found if item.length_s >= shortest_s]
        if settings.n_talkers == 1:
            usable, n_talkers = long_enough, len(long_enough)
        else:  # without a label nobody knows whether two recordings are of one person
            usable = [item for item in long_enough if item.utterance.speaker is not None]
            n_talkers = len({item.utterance.speaker for item in usable})
        if n_talkers < settings.n_talkers:
            raise DataError(
                f"Scenes need {settings.n_talkers} different talkers; found {n_talkers} with a label and at "
                f"least {shortest_s} s of speech among {len(found)} recordings. Use fewer talkers, shorter "
                "crops, a larger corpus, or a manifest with a column 'speaker'."
            )
        return usable

    def _choose(self, rng: np.random.Generator) -> list[Candidate]:
        """One utterance a talker, every utterance equally likely, every talker another one."""
        chosen: list[Candidate] = []
        pool = self.speech
        while len(chosen) < self.settings.n_talkers:
            item = pool[int(rng.integers(len(pool)))]
            if all(item.utterance.speaker != other.utterance.speaker for other in chosen):
                chosen.append(item)
        return chosen

    def _arrange(
        self, rng: np.random.Generator, chosen: Sequence[Candidate], gains_db: Sequence[float]
    ) -> tuple[float, tuple[TalkerPlan, ...]]:
        """Length of the scene, and which part of each utterance stands where."""
        settings, rate_hz = self.settings, self.settings.rate_hz
        limit_s = settings.longest_s or np.inf
        lengths = [int(min(item.length_s, limit_s) * rate_hz) for item in chosen]
        n_lead = n_tail = 0
        if settings.crop_s is not None:
            total = round(settings.crop_s * rate_hz)
        elif settings.mode == "min":
            total = min(lengths)
        else:
            if self.noise is not None:
                n_lead, n_tail = (round(rng.uniform(*MARGIN_S) * rate_hz) for _ in range(2))
            total = max(lengths) + n_lead + n_tail
        talkers = []
        for item, length, gain_db in zip(chosen, lengths, gains_db, strict=True):
            used = min(length, total - n_lead - n_tail)
            start = offset = 0
            if settings.crop_s is not None:  # a random part, at a random place where there is room left
                start = int(rng.integers(int(item.length_s * rate_hz) - used + 1))
                offset = int(rng.integers(total - used + 1))
            talkers.append(
                TalkerPlan(
                    id=item.utterance.id,
                    path=str(item.utterance.path),
                    speaker=item.utterance.speaker,
                    corpus=item.utterance.corpus,
                    start_s=item.start_s + start / rate_hz,
                    duration_s=used / rate_hz,
                    offset_s=(n_lead + offset) / rate_hz,
                    gain_db=gain_db,
                )
            )
        return total / rate_hz, tuple(talkers)

    def _room(self, rng: np.random.Generator) -> RoomPlan | None:
        if self.rooms is None:
            return None
        return self.rooms.draw(rng, self.settings.n_talkers, self.settings.n_microphones)

    def _draw_noise(self, rng: np.random.Generator, duration_s: float) -> NoisePlan | None:
        """A recording, every one equally likely, an excerpt of it for each microphone, and the SNR."""
        if self.noise is None:
            return None
        snr_db = float(rng.uniform(self.settings.snr_db[0], self.settings.snr_db[-1]))
        item = self.noise[int(rng.integers(len(self.noise)))]
        # A recording that is too short is looped; it may start anywhere before the join.
        free_s, loop_s = item.length_s - duration_s, max(1e-3, item.length_s - 2 * CROSS_FADE_S)
        first_s = rng.uniform(0.0, free_s if free_s >= 0 else loop_s)
        # Further microphones start as far from each other as the recording allows, and loop where it ends:
        # a diffuse field cannot be made of excerpts that are nearly the same.
        n_microphones = self.settings.n_microphones
        further_s = [(first_s + k * loop_s / n_microphones) % loop_s for k in range(1, n_microphones)]
        return NoisePlan(
            id=item.utterance.id,
            path=str(item.utterance.path),
            category=item.utterance.category,
            start_s=tuple(float(item.start_s + start_s) for start_s in (first_s, *further_s)),
            snr_db=snr_db,
        )
