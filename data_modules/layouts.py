"""Where test corpora keep their mixtures and references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffsr.errors import ConfigError, DataError
from diffsr.evaluation.pairing import pair_files

Layout = Literal["folders", "whamr", "voicebank"]
TREES = {
    "folders": "{root}/{{{noisy}, {clean}}}/.../NAME.wav, the same NAME in each",
    "whamr": (
        "{root}/wav8k or wav16k/min or max/tr, cv or tt/"
        "{{mix_both_reverb, mix_clean_reverb, ..., s1_anechoic, s2_anechoic, ...}}/NAME.wav"
    ),
    "voicebank": "{root}/{{noisy_testset_wav, clean_testset_wav}}/NAME.wav (and ..._trainset_28spk_wav)",
}
"""What a corpus looks like, for messages."""
_WHAMR_SPLITS = {"train": "tr", "valid": "cv", "test": "tt"}
_WHAMR_RATES = {8000: "wav8k", 16000: "wav16k"}
_VOICEBANK_SPLITS = {"train": "trainset_28spk", "test": "testset"}


@dataclass(frozen=True)
class Files:
    """Files of one item: its mixture, and the reference of each talker."""

    id: str
    mixture: Path
    references: tuple[Path, ...]


@dataclass(frozen=True)
class Places:
    """Folders of mixtures and of the references of each talker."""

    mixture: Path
    references: tuple[Path, ...]


@dataclass(frozen=True)
class Choice:
    """What to take of a corpus; each layout uses what it knows.

    Attributes:
        noisy: `folders`: folder of the mixtures, relative to the root.
        clean: `folders`: folder of the references, one for each talker.
        split: `whamr`, `voicebank`: train, valid or test, or the corpus' own name (`trainset_56spk`).
        mixture: `whamr`: which mixtures.
        target: `whamr`: references without or with the room.
        mode: `whamr`: cut to the shorter talker, or as long as the longer one.
    """

    noisy: str = "noisy"
    clean: str | list[str] = "clean"
    split: str = "test"
    mixture: str = "mix_both_reverb"
    target: Literal["anechoic", "reverb"] = "anechoic"
    mode: Literal["min", "max"] = "min"


def find_items(root: str, layout: Layout, choice: Choice, rate_hz: int) -> tuple[list[Files], dict[str, str]]:
    """The items of a corpus, and the files without a partner with what is missing.

    Raises:
        DataError: The tree is not what the layout says, or no files match; the message shows the tree.
        ConfigError: The layout does not have what was asked for.
    """
    base = Path(root).expanduser()
    places = {"folders": _folders, "whamr": _whamr, "voicebank": _voicebank}[layout](base, choice, rate_hz)
    expected = TREES[layout].format(root=root, noisy=choice.noisy, clean=_joined(choice.clean))
    missing = [str(path) for path in (places.mixture, *places.references) if not path.is_dir()]
    if missing:
        raise DataError(
            f"{' and '.join(missing)} not found. The layout '{layout}' expects {expected}. Correct "
            "data.root, or choose another layout or split."
        )
    return _match(places)


def _folders(base: Path, choice: Choice, rate_hz: int) -> Places:
    clean = [choice.clean] if isinstance(choice.clean, str) else choice.clean
    return Places(base / choice.noisy, tuple(base / name for name in clean))


def _whamr(base: Path, choice: Choice, rate_hz: int) -> Places:
    if rate_hz not in _WHAMR_RATES:
        raise ConfigError(
            f"WHAMR! comes at 8000 and 16000 Hz, data.rate_hz is {rate_hz}. Choose one of these."
        )
    split = _WHAMR_SPLITS.get(choice.split, choice.split)
    folder = base / _WHAMR_RATES[rate_hz] / choice.mode / split
    talkers = ("s1",) if choice.mixture.startswith("mix_single") else ("s1", "s2")
    return Places(folder / choice.mixture, tuple(folder / f"{name}_{choice.target}" for name in talkers))


def _voicebank(base: Path, choice: Choice, rate_hz: int) -> Places:
    split = _VOICEBANK_SPLITS.get(choice.split, choice.split)
    return Places(base / f"noisy_{split}_wav", (base / f"clean_{split}_wav",))


def _match(places: Places) -> tuple[list[Files], dict[str, str]]:
    """Match by the path below each folder, without suffix."""
    references: dict[str, list[Path]] = {}
    mixtures: dict[str, Path] = {}
    problems: dict[str, str] = {}
    for folder in places.references:
        # Each folder is that of one talker: sub-folders s1, s2 ... are speakers of a corpus.
        pairing = pair_files(places.mixture, folder, talkers=())
        for pair in pairing.pairs:
            mixtures[pair.id] = pair.est[0]
            references.setdefault(pair.id, []).append(pair.ref[0])
        for name in pairing.unmatched["est"]:
            problems[name] = f"{places.mixture / name}: no partner in {folder}."
        for name in pairing.unmatched["ref"]:
            problems[name] = f"{folder / name}: no partner in {places.mixture}."
    complete = sorted(name for name in references if name not in problems)
    if not complete:
        first = next(iter(problems.values()))
        raise DataError(f"No item has all of its files. First: {first} Files are matched by name.")
    return [Files(name, mixtures[name], tuple(references[name])) for name in complete], problems


def _joined(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ", ".join(names)
