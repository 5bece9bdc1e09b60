"""A training in pieces: what one piece leaves for the next, on another machine if need be.

A folder with the raw weights (`raw.safetensors`), their moving average (`average.safetensors`), both in
bfloat16, and `piece.json`, which holds the prior's configuration and what each piece was. The state of the
optimizer is not kept: a short warm-up finds it again, and without it a piece is a third of a checkpoint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffsr.diffusion.prior import Prior
from diffsr.errors import CheckpointError
from diffsr.io.atomic import replacing
from diffsr.io.weights import load_tensors, save_tensors

FORMAT = "diffsr-piece-1"
RAW, AVERAGE, RECORD = "raw.safetensors", "average.safetensors", "piece.json"
LONG_AVERAGED = 100_000
"""Updates that the average of an exported prior counts as: its ramp is over."""


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    Attributes:
        raw: Weights that the optimizer moves, by the names of the prior's `state_dict`, float32.
        average: Their moving average.
        n_averaged: Updates that went into it.
        history: What each piece before was, oldest first: `steps`, `crops`, `minutes` and more.
        config: Configuration of the prior they belong to.
        origin: The folder or file, for messages.
    """

    raw: dict[str, Tensor]
    average: dict[str, Tensor]
    n_averaged: int
    history: tuple[dict[str, Any], ...]
    config: dict[str, Any]
    origin: str

    @property
    def steps(self) -> int:
        """Steps of all pieces together."""
        return sum(int(piece["steps"]) for piece in self.history)


def write_piece(
    folder: str | Path,
    prior: Prior,
    raw: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    n_averaged: int,
    history: Sequence[Mapping[str, Any]],
) -> Path:
    """Write the folder; the record comes last, and each file completely or not at all.

    Args:
        folder: Where; what an earlier call wrote there is replaced.
        prior: Whose configuration the weights have.
        raw: Weights that the optimizer moved.
        average: Their moving average.
        n_averaged: Updates that went into it.
        history: What each piece was, this one last.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    folder = Path(folder)
    record = {
        "format": FORMAT,
        **{key: sum(piece[key] for piece in history) for key in ("steps", "crops", "minutes")},
        "n_averaged": n_averaged,
        "prior": prior.config,
        "history": [dict(piece) for piece in history],
    }
    try:
        for name, tensors in ((RAW, raw), (AVERAGE, average)):
            save_tensors({key: tensor.to(torch.bfloat16) for key, tensor in tensors.items()}, folder / name)
        with replacing(folder / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{folder}: the piece of the training cannot be written ({error}). Free some disk space or "
            "choose another place."
        ) from error
    return folder


def read_start(source: str | Path) -> Start:
    """Read a folder of `write_piece`, or any prior, whose weights then serve as raw weights and as average.

    Raises:
        CheckpointError: Neither is there, or it is damaged.
    """
    folder = Path(source).expanduser()
    if not os.path.isfile(folder / RECORD):
        prior = Prior.from_pretrained(source)
        weights = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
        return Start(weights, dict(weights), LONG_AVERAGED, (), prior.config, str(source))
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        found = record["format"]
        history, config = tuple(dict(piece) for piece in record["history"]), dict(record["prior"])
        n_averaged = int(record["n_averaged"])
        sum(piece["steps"] + piece["crops"] + piece["minutes"] for piece in history)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / RECORD} cannot be read as the record of a piece ({type(error).__name__}: {error}). "
            "Copy the piece again, or start from the prior that it exported."
        ) from error
    if found != FORMAT:
        raise CheckpointError(
            f"{folder / RECORD} has format {found!r}; this version of diffsr reads {FORMAT!r}. "
            "Start from the prior that the piece exported."
        )
    raw, average = (_finite(load_tensors(folder / name), folder / name) for name in (RAW, AVERAGE))
    if {name: t.shape for name, t in raw.items()} != {name: t.shape for name, t in average.items()}:
        raise CheckpointError(f"{folder}: {RAW} and {AVERAGE} hold different tensors; copy the piece again.")
    return Start(raw, average, n_averaged, history, config, str(source))


def fill(start: Start, prior: Prior) -> tuple[Start, list[str]]:
    """Complete `start` for `prior`: tensors that it lacks are those of `prior`, and are named.

    Raises:
        CheckpointError: It is of another network, rate or level, or has tensors that do not fit.
    """
    for what in ("rate_hz", "sigma_data"):
        if start.config.get(what) != prior.config[what]:
            raise CheckpointError(
                f"{start.origin} has {what} {start.config.get(what)}, and the prior to train "
                f"{prior.config[what]}. Train with the same, or without model.start."
            )
    network = (start.config.get("network") or {}).get("name")
    if network != prior.config["network"]["name"]:
        raise CheckpointError(
            f"{start.origin} is a {network}, and the network to train a {prior.config['network']['name']}. "
            "Use the experiment that it was trained with, or train without model.start."
        )
    own = prior.state_dict()
    wrong = [name for name, t in start.raw.items() if name not in own or own[name].shape != t.shape]
    if wrong or not start.raw:
        name = wrong[0] if wrong else "all missing"
        found = tuple(start.raw[name].shape) if wrong else ()
        expected = tuple(own[name].shape) if name in own else "nothing"
        raise CheckpointError(
            f"{start.origin}: {len(wrong)} of {len(start.raw)} tensors do not fit the network to train, "
            f"first {name}: found {found}, expected {expected}. Give the network the arguments that it was "
            f"trained with: {start.config.get('network')}"
        )
    missing = [name for name in own if name not in start.raw]
    rest = {name: own[name].detach().clone() for name in missing}
    filled = Start(
        {**start.raw, **rest},
        {**start.average, **rest},
        start.n_averaged,
        start.history,
        start.config,
        start.origin,
    )
    return filled, missing


def _finite(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path} holds NaN or infinite values, first in {name}; the training had broken down. "
                "Start from an earlier piece, with a smaller learning rate."
            )
    return {name: tensor.float() for name, tensor in tensors.items()}
