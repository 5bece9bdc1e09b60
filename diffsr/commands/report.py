"""Draw what is hard to imagine: `diffsr report scene` makes a picture of one simulated scene."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diffsr.commands.terminal import say
from diffsr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from diffsr.io.manifest import Utterance
    from diffsr.simulation.draw import SceneMaker
    from diffsr.simulation.responses import RoomSource

STARTER = Path(__file__).parents[1] / "assets" / "starter" / "manifest.jsonl"
KEY_OF_SPLIT = {"train": (1, 0), "valid": (2,), "test": (3,)}
"""What comes before the index in the key of a scene, as in `data_modules.whamr`; train is epoch 0."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr report`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    scene = kinds.add_parser("scene", help="room, responses and spectrograms of one simulated scene")
    add = scene.add_argument
    add("--index", type=int, required=True, help="which scene of the split, from 0 on")
    add("--data", metavar="DIR", help="folder with speech_SPLIT.csv, noise_SPLIT.csv, rir_SPLIT.csv")
    add("--split", choices=[*KEY_OF_SPLIT], default="train", help="default: train, epoch 0")
    add("--speech", metavar="MANIFEST", help="default: from --data, else the starter corpus")
    add("--noise", metavar="MANIFEST", help="or none; default: from --data, else none")
    add(
        "--rooms",
        default="simulate",
        help="simulate (default), none, measured (those of --data), a pool folder, a manifest of responses",
    )
    add("--talkers", type=int, default=2, help="1 to 3 (default: 2)")
    add("--microphones", type=int, default=1, help="default: 1")
    add(
        "--mode", choices=["min", "max"], default="min", help="min: the shortest utterance decides the length"
    )
    add(
        "--crop_s", type=_seconds_or_none, default=4.0, help="length, or none for what is spoken (default: 4)"
    )
    add("--rate_hz", type=int, default=16000, help="default: 16000")
    add("--seed", type=int, default=0, help="default: 0")
    add("--output", default="scene.png", metavar="FILE", help="the picture (default: scene.png)")
    add("--audio", metavar="FOLDER", help="also write the parts of the scene as wav files")


def run(options: argparse.Namespace) -> int:
    """Write the picture and say what it shows."""
    _check(options)
    from diffsr.report.scene import scene_facts, scene_picture, write_parts

    maker = _maker(options)
    scene = maker.scene(*KEY_OF_SPLIT[options.split], options.index)
    say(str(scene_picture(scene, options.output)))
    for name, text in {**scene_facts(scene), "fingerprint": maker.fingerprint}.items():
        say(f"  {name:13s} {text}")
    if options.audio:
        paths = write_parts(scene, options.audio)
        say(f"{options.audio}: {len(paths)} recordings")
    return 0


def _check(options: argparse.Namespace) -> None:
    for name in ("index", "seed"):
        if getattr(options, name) < 0:
            raise ConfigError(f"--{name} is {getattr(options, name)}, expected 0 or more.")
    if Path(options.output).suffix.lower() != ".png":
        raise ConfigError(f"--output {options.output}: expected a name that ends in .png.")
    if options.data and not Path(options.data).is_dir():
        found = "is a file" if Path(options.data).exists() else "does not exist"
        raise DataError(
            f"--data {options.data} {found}, expected a folder with speech_{options.split}.csv. For single "
            "manifests use --speech, --noise and --rooms."
        )


def _maker(options: argparse.Namespace) -> SceneMaker:
    from diffsr.simulation.draw import SceneMaker, SceneSettings

    settings = SceneSettings(
        n_talkers=options.talkers,
        n_microphones=options.microphones,
        mode=options.mode,
        crop_s=options.crop_s,
        rate_hz=options.rate_hz,
    )
    speech = _rows(options.speech or _of_data(options, "speech") or str(STARTER), options.split)
    noise = options.noise or _of_data(options, "noise") or "none"
    return SceneMaker(
        settings,
        speech,
        None if noise == "none" else _rows(noise, options.split),
        _rooms(options),
        seed=options.seed,
        name=options.split,
    )


def _rows(source: str, split: str) -> list[Utterance]:
    """The rows of a manifest that belong to the split; those that name none belong to all."""
    from diffsr.io.manifest import read_manifest

    rows = read_manifest(source)
    chosen = [row for row in rows if row.split in (None, split)]
    if not chosen:
        found = ", ".join(sorted({str(row.split) for row in rows}))
        raise DataError(
            f"{source}: all {len(rows)} rows are marked {found}, expected some of {split}. "
            "Use another --split."
        )
    return chosen


def _of_data(options: argparse.Namespace, kind: str) -> str | None:
    """The manifest of a kind in the folder `--data`; None without that option.

    Validation uses the training noises and rooms where the folder has none for it.
    """
    if not options.data:
        return None
    splits = ["valid", "train"] if options.split == "valid" and kind != "speech" else [options.split]
    paths = [Path(options.data, f"{kind}_{split}.csv") for split in splits]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        other = {"speech": "--speech MANIFEST", "noise": "--noise none", "rir": "--rooms simulate"}[kind]
        raise DataError(
            f"{options.data} has no {paths[0].name}, expected one. Add it, use another --split, or {other}."
        )
    return str(found)


def _rooms(options: argparse.Namespace) -> RoomSource | None:
    if options.rooms == "none":
        return None
    from diffsr.simulation.sources import open_rooms

    if options.rooms != "measured":
        return open_rooms(options.rooms)
    manifest = _of_data(options, "rir")
    if manifest is None:
        raise ConfigError("--rooms measured takes the responses of --data DIR. Add it, or name a manifest.")
    return open_rooms(manifest)


def _seconds_or_none(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, nor none") from None
