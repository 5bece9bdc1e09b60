"""Make the starter corpus: speech of fifty espeak-ng talkers as 16 kHz Ogg Opus, with a manifest.

    python scripts/make_starter_corpus.py                    # writes diffsr/assets/starter/
    python scripts/make_starter_corpus.py --output /tmp/new --seed 1

Needs the program espeak-ng. Texts, talkers, order and levels depend on the seed alone; the samples also
depend on the versions of espeak-ng, soxr and libopus, and every run gives the Ogg streams new serial numbers.
The folder `audio` in the output folder is replaced.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr  # type: ignore[import-untyped]
from starter_talkers import TALKERS, Talker
from starter_texts import SentenceSource

Samples = npt.NDArray[np.float64]

RATE_HZ = 16_000
FILES_PER_TALKER = 3
SHORTEST_S, LONGEST_S = (3.3, 5.2), 6.3  # of the text at the expected pace
DURATION_S = (3.0, 8.0)  # every file, padding included
LIMIT_BYTES = 4 * 2**20  # the whole folder
LEVEL_DBFS = -26.0  # mean active level
TALKER_SPREAD_DB, FILE_SPREAD_DB = 2.0, 1.0  # standard deviations around it
PEAK = 0.7  # leaves Opus room to overshoot
OPUS_COMPRESSION = 0.87  # libsndfile's scale: about 36 kbit/s for this material
CHARACTERS_PER_S_PER_WPM = 0.108  # espeak-ng's measured pace, pauses included
LICENCE = Path(__file__).parent / "starter_licence.md"
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "diffsr" / "assets" / "starter"


def espeak_version() -> tuple[str, Path]:
    """Version of the installed espeak-ng and the folder of its data."""
    if shutil.which("espeak-ng") is None:
        sys.exit(
            "espeak-ng was not found, and this script needs it to make the speech. "
            "Install it: apt-get update && apt-get install -y espeak-ng"
        )
    line = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"text-to-speech: (\S+)\s+Data at: (.+)", line)
    if found is None:
        sys.exit(f"espeak-ng --version answered {line!r}; expected its version and the folder of its data.")
    return found.group(1), Path(found.group(2).strip())


def adapt_variant(text: str, tract: float) -> str:
    """A stock voice variant without its echo (the corpus must be dry) and with scaled formant frequencies."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*(echo|formant)\b", line)]
    own = {int(m[1]): m for m in re.finditer(r"(?m)^\s*formant\s+(\d+)\s+(\d+)(.*)$", text)}
    for number in range(9):
        percent, rest = (int(own[number][2]), own[number][3]) if number in own else (100, " 100 100")
        lines.append(f"formant {number} {round(percent * (tract if number else 1.0))}{rest}")
    return "\n".join(lines) + "\n"


def install_talkers(data: Path, home: Path) -> None:
    """Copies espeak-ng's data below `home` and adds one voice variant `t00`, `t01`, ... per talker."""
    copy = Path(shutil.copytree(data, home / "espeak-ng-data", symlinks=False))
    for index, talker in enumerate(TALKERS):
        stock = (data / "voices" / "!v" / talker.variant).read_text(errors="replace")
        (copy / "voices" / "!v" / f"t{index:02d}").write_text(adapt_variant(stock, talker.tract))


def speak(text: str, voice: str, talker: Talker, amplitude: int, home: Path) -> bytes:
    """The wav file that espeak-ng makes of `text`."""
    command = ["espeak-ng", f"--path={home}", "-v", voice, "-a", str(amplitude), "-p", str(talker.pitch)]
    command += ["-s", str(talker.wpm), "-z", "--stdout", "--stdin"]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout


def check_variant(talker: Talker, index: int, home: Path) -> None:
    """Stops when espeak-ng ignores the talker's variant, which it does without a word for some languages."""
    plain = speak("one", talker.language, talker, 60, home)
    if plain == speak("one", f"{talker.language}+t{index:02d}", talker, 60, home):
        sys.exit(f"espeak-ng ignores the variant of {talker.name}: choose another language code or variant.")


def synthesise(text: str, talker: Talker, index: int, home: Path) -> Samples:
    """Speech of `text` at `RATE_HZ`, shape [T]; turned down until espeak-ng's own output no longer clips."""
    for amplitude in (60, 30, 15, 8):
        spoken = speak(text, f"{talker.language}+t{index:02d}", talker, amplitude, home)
        wave, rate_hz = soundfile.read(io.BytesIO(spoken))
        if np.abs(wave).max() < 0.9:
            return np.asarray(soxr.resample(wave - wave.mean(), rate_hz, RATE_HZ, quality="VHQ"))
    sys.exit(f"espeak-ng clips for {talker.name} even at amplitude 8: choose another variant.")


def frame_levels_db(wave: Samples) -> Samples:
    """RMS of successive 20 ms frames in dBFS, shape [N]."""
    hop = RATE_HZ // 50
    frames = wave[: len(wave) // hop * hop].reshape(-1, hop)
    return np.asarray(10 * np.log10(np.mean(frames**2, axis=1) + 1e-12))


def active_frames(wave: Samples) -> npt.NDArray[np.bool_]:
    """Which 20 ms frames lie within 35 dB of the 95th percentile frame level."""
    levels = frame_levels_db(wave)
    return np.asarray(levels > np.percentile(levels, 95) - 35)


def speech_span(wave: Samples) -> tuple[float, float]:
    """Start and end of the speech in s: first and last active frame, widened by 0.1 s, to the ms."""
    active = np.flatnonzero(active_frames(wave))
    end_s = min(len(wave) / RATE_HZ, (active[-1] + 1) * 0.02 + 0.1)
    return round(max(0.0, active[0] * 0.02 - 0.1), 3), int(end_s * 1000) / 1000


def finish(wave: Samples, level_dbfs: float, rng: random.Random) -> Samples:
    """Trims to the speech, puts 0.1-0.3 s of silence on either side and sets the active level."""
    active = active_frames(wave)
    first, last = np.flatnonzero(active)[[0, -1]]
    hop = RATE_HZ // 50
    before, after = (round(rng.uniform(0.1, 0.3) * RATE_HZ) for _ in range(2))
    speech = wave[max(0, first - 2) * hop : (last + 3) * hop]
    level = 10 * np.log10(np.mean(10 ** (frame_levels_db(wave)[active] / 10)))
    gain = min(10 ** ((level_dbfs - level) / 20), PEAK / np.abs(speech).max())
    return np.pad(gain * speech, (before, after))


def write_file(path: Path, wave: Samples) -> Samples:
    """Encodes `wave` as Ogg Opus and gives back what a reader will decode."""
    soundfile.write(path, wave, RATE_HZ, format="OGG", subtype="OPUS", compression_level=OPUS_COMPRESSION)
    decoded, rate_hz = soundfile.read(path)
    if rate_hz != RATE_HZ or len(decoded) != len(wave):
        found, expected = f"{len(decoded)} samples at {rate_hz} Hz", f"{len(wave)} at {RATE_HZ} Hz"
        sys.exit(f"{path.name} decodes to {found}, expected {expected}: use soundfile 0.13 or newer.")
    return np.asarray(decoded)


def make_corpus(output: Path, seed: int) -> list[dict[str, object]]:
    """Writes all audio files below `output` and gives the rows of the manifest."""
    _, data = espeak_version()
    sentences, rng = SentenceSource(seed), random.Random(seed)
    (output / "audio").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        install_talkers(data, Path(folder))
        for index, talker in enumerate(TALKERS):
            check_variant(talker, index, Path(folder))
            talker_level = LEVEL_DBFS + TALKER_SPREAD_DB * max(-2.0, min(2.0, rng.gauss(0, 1)))
            for number in range(1, FILES_PER_TALKER + 1):
                pace = talker.wpm * CHARACTERS_PER_S_PER_WPM
                text = sentences.utterance(talker.language, pace * rng.uniform(*SHORTEST_S), pace * LONGEST_S)
                wave = synthesise(text, talker, index, Path(folder))
                wave = finish(wave, talker_level + rng.gauss(0, FILE_SPREAD_DB), rng)
                rows.append(add_file(output, talker, number, text, wave))
    return rows


def add_file(output: Path, talker: Talker, number: int, text: str, wave: Samples) -> dict[str, object]:
    """Writes one utterance and gives its manifest row."""
    name = f"{talker.name}-{number}"
    duration_s = len(wave) / RATE_HZ
    if not DURATION_S[0] <= duration_s <= DURATION_S[1]:
        sys.exit(f"{name} lasts {duration_s:.2f} s, expected {DURATION_S}: change the talker's rate.")
    start_s, end_s = speech_span(write_file(output / "audio" / f"{name}.ogg", wave))
    return {
        "id": name,
        "path": f"audio/{name}.ogg",
        "rate_hz": RATE_HZ,
        "n_samples": len(wave),
        "speaker": talker.name,
        "sex": talker.sex,
        "split": talker.split,
        "language": talker.language,
        "speech_start_s": start_s,
        "speech_end_s": end_s,
        "text": text,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=DEFAULT_OUTPUT, help="folder to write (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="draws the sentences and levels (default: %(default)s)"
    )
    args = parser.parse_args()
    version, _ = espeak_version()
    shutil.rmtree(args.output / "audio", ignore_errors=True)
    rows = make_corpus(args.output, args.seed)
    manifest = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (args.output / "manifest.jsonl").write_text(manifest, encoding="utf-8")
    minutes = sum(int(str(row["n_samples"])) for row in rows) / RATE_HZ / 60
    facts = {"version": version, "files": len(rows), "talkers": len(TALKERS), "minutes": f"{minutes:.1f}"}
    licence = LICENCE.read_text(encoding="utf-8").format(**facts)
    (args.output / "LICENSE.md").write_text(licence, encoding="utf-8")
    size = sum(path.stat().st_size for path in args.output.rglob("*") if path.is_file())
    if size > LIMIT_BYTES:
        sys.exit(f"{args.output} holds {size} bytes, more than {LIMIT_BYTES}: raise OPUS_COMPRESSION.")
    sys.stdout.write(f"{len(rows)} files, {len(TALKERS)} talkers, {minutes:.2f} min, {size} bytes\n")


if __name__ == "__main__":
    main()
