"""What small networks that hear a recording share: sizes that are checked, one sampling rate, and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from diffsr.errors import CheckpointError
from diffsr.io.model_folder import ModelKind, build_model, write_model


class SmallNetwork(nn.Module):
    """A small network for recordings of one rate.

    Args:
        rate_hz: Sampling rate.
        sizes: The other numbers that make it, by the names of its arguments.

    Raises:
        ValueError: One of the numbers is not a whole number above 0.
    """

    kind: ClassVar[ModelKind]

    def __init__(self, rate_hz: int, **sizes: int) -> None:
        super().__init__()
        self.rate_hz, self.sizes = rate_hz, sizes
        for name, value in {"rate_hz": rate_hz, **sizes}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number above 0")

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights, as plain values: the `config.yaml` of a folder."""
        return {"format": self.kind.format, "rate_hz": self.rate_hz, **self.sizes}

    def save_pretrained(self, folder: str | Path, card: str = "", dtype: str | None = None) -> Path:
        """Write a folder: `model.safetensors`, the card `README.md` and, last, `config.yaml`.

        Args:
            folder: Where to.
            card: Text of the card.
            dtype: Store the weights as `bfloat16`, in half the space; None as they are. They load as float32.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        card = card or f"# {self.kind.name.capitalize()}\n\n{self.rate_hz} Hz.\n"
        stored = None if dtype is None else getattr(torch, dtype)
        return write_model(self.kind, folder, self.config, self.state_dict(), card, stored)

    @classmethod
    def from_pretrained(cls, source: str | Path, rate_hz: int | None = None) -> Self:
        """Load one on the CPU, in eval mode, its weights frozen.

        Args:
            source: A name that ships, a folder, or a checkpoint of `diffsr fit`.
            rate_hz: The sampling rate that it has to be for; None takes any.

        Raises:
            CheckpointError: Nothing there, damaged, of another kind, or for another rate.
        """
        network = build_model(cls.kind, cls, source)
        if rate_hz is not None and network.rate_hz != rate_hz:
            raise CheckpointError(
                f"The {cls.kind.name} {source} is for {network.rate_hz} Hz, expected one for {rate_hz} Hz. "
                f"Train one at that rate (experiments/{cls.kind.experiment}), or resample the speech."
            )
        return network
