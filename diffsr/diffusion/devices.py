"""Where and how precisely networks compute."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from diffsr.errors import ConfigError
from diffsr.networks.instructions import has_fast_bfloat16

PRECISIONS = ("auto", "float32", "bfloat16")


def move_to(device: str | torch.device, *modules: nn.Module) -> torch.device:
    """Move modules to a device and say which it is.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`: CUDA if there is one, else the CPU.
        modules: What to move, in place.

    Raises:
        ConfigError: There is no such device, or it cannot be used.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
        if found.type == "meta":  # before a prior that others use loses its weights to it
            raise RuntimeError("it holds no numbers")
        for module in modules:
            module.to(found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"Device {device} cannot be used ({reason}). Try --device cpu.") from error
    return found


def takes_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a prior shall compute in bfloat16 on a device.

    `auto` takes it where its matrix products are fast: on some CPUs, and with CUDA from compute capability
    8.0 on. Elsewhere it is slower than single precision (docs/results.md, Cost).

    Args:
        precision: One of `PRECISIONS`.
        device: What computes.

    Raises:
        ConfigError: No such precision, or a device that cannot compute in bfloat16.
    """
    check_precision(precision)
    if precision == "bfloat16" and not _can_autocast(device):
        raise ConfigError(f"Device {device} cannot compute in bfloat16. Try --precision float32.")
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        # AMD's all have it, and number their capabilities otherwise.
        return bool(torch.version.hip) or torch.cuda.get_device_properties(device).major >= 8
    return device.type == "cpu" and has_fast_bfloat16()


def check_precision(precision: str) -> None:
    """Refuse what is none of `PRECISIONS`.

    Raises:
        ConfigError: It is not.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"There is no precision {precision!r}; choose one of: {', '.join(PRECISIONS)}.")


def _can_autocast(device: torch.device) -> bool:
    """Whether PyTorch computes in bfloat16 there; where it does not, it says so in a warning or an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.autocast(device.type, torch.bfloat16):
                return torch.is_autocast_enabled(device.type)
        except RuntimeError:
            return False
