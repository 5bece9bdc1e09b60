"""Where networks compute."""

from __future__ import annotations

import torch
from torch import nn

from diffsr.errors import ConfigError


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
        for module in modules:
            module.to(found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"Device {device} cannot be used ({reason}). Try --device cpu.") from error
    return found
