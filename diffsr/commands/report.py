"""Make what is better looked at or heard than read: a picture of a scene, a page of restorations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diffsr.commands.report_listen import add_listen, run_listen
from diffsr.commands.terminal import say
from diffsr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from data_modules.whamr import Whamr

STAGES = {"train": "fit", "valid": "validate", "test": "test"}
"""What the data module sets up for the scenes of a split."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `diffsr report`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    scene = kinds.add_parser("scene", help="room, responses and spectrograms of one simulated scene")
    add = scene.add_argument
    add("--index", type=int, required=True, help="which scene of the split, from 0 on")
    add(
        "--data",
        metavar="DIR",
        help="folder with speech_train.csv, noise_train.csv, rir_train.csv, and ..._valid.csv, ..._test.csv",
    )
    add("--split", choices=[*STAGES], default="train", help="default: train, epoch 0")
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
    add_listen(kinds)


def run(options: argparse.Namespace) -> int:
    """Make what was asked for, and say what it shows."""
    return run_listen(options) if options.kind == "listen" else _run_scene(options)


def _run_scene(options: argparse.Namespace) -> int:
    _check(options)
    from diffsr.report.scene import scene_facts, scene_picture, write_parts

    data = _scenes(options)
    data.setup(STAGES[options.split])
    maker = data.makers[options.split]
    scene = maker.scene(*key_of(options.split, options.index))
    picture = scene_picture(scene, options.output)
    paths = write_parts(scene, options.audio) if options.audio else []
    say(str(picture))
    for name, text in {**scene_facts(scene), "fingerprint": maker.fingerprint}.items():
        say(f"  {name:13s} {text}")
    if options.audio:
        say(f"{options.audio}: {len(paths)} recordings")
    return 0


def key_of(split: str, index: int) -> tuple[int, ...]:
    """Key of a scene in `data_modules.whamr`; of training scenes in epoch 0."""
    from data_modules.whamr import STREAMS

    return (STREAMS[split], 0, index) if split == "train" else (STREAMS[split], index)


def _check(options: argparse.Namespace) -> None:
    for name in ("index", "seed"):
        if getattr(options, name) < 0:
            raise ConfigError(f"--{name} is {getattr(options, name)}, expected 0 or more.")
    if Path(options.output).suffix.lower() != ".png":
        raise ConfigError(f"--output {options.output}: expected a name that ends in .png.")
    if options.data and not Path(options.data).is_dir():
        found = "is a file" if Path(options.data).exists() else "does not exist"
        raise DataError(
            f"--data {options.data} {found}, expected a folder with speech_train.csv. For single "
            "manifests use --speech, --noise and --rooms."
        )


def _scenes(options: argparse.Namespace) -> Whamr:
    """The data module whose scenes are drawn, so that picture and training show the same."""
    from data_modules.whamr import Whamr
    from diffsr.simulation.draw import SceneSettings

    settings = SceneSettings(
        n_talkers=options.talkers,
        n_microphones=options.microphones,
        mode=options.mode,
        crop_s=options.crop_s,
        rate_hz=options.rate_hz,
    )
    speech = {"train": options.speech} if options.speech else _of_data(options, "speech")
    noise = {"train": options.noise} if options.noise else _of_data(options, "noise")
    rooms = {"train": options.rooms} if options.rooms != "measured" else _of_data(options, "rir")
    if not rooms:
        raise ConfigError("--rooms measured takes the responses of --data DIR. Add it, or name a manifest.")
    return Whamr(
        speech=speech.get("train"),
        valid_speech=speech.get("valid"),
        test_speech=speech.get("test"),
        noise=noise.get("train"),
        valid_noise=noise.get("valid"),
        test_noise=noise.get("test"),
        rooms=rooms["train"],
        valid_rooms=rooms.get("valid"),
        test_rooms=rooms.get("test"),
        use_noise=options.noise != "none",
        use_rooms=options.rooms != "none",
        scene=settings,
        num_workers=0,
        seed=options.seed,
    )


def _of_data(options: argparse.Namespace, kind: str) -> dict[str, str]:
    """The manifests of a kind in the folder `--data`, by split; none without that option."""
    if not options.data:
        return {}
    from diffsr.benchmark.data import manifest_in

    names = {split: f"{kind}_{split}" for split in STAGES}
    paths = {split: path for split, name in names.items() if (path := manifest_in(Path(options.data), name))}
    if "train" not in paths:
        other = {"speech": "--speech MANIFEST", "noise": "--noise none", "rir": "--rooms simulate"}[kind]
        expected = f"{names['train']}.csv or {names['train']}.jsonl"
        raise DataError(f"{options.data} has no {expected}. Add one, or use {other}.")
    return {split: str(path) for split, path in paths.items()}


def _seconds_or_none(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, nor none") from None
