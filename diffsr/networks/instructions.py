"""What the instructions of a CPU make fast, as far as this version of torch tells."""

from __future__ import annotations

import torch


def has_amx() -> bool:
    """Whether it has matrix units for bfloat16."""
    return _has("amx_bf16")


def has_fast_bfloat16() -> bool:
    """Whether it multiplies matrices in bfloat16 faster than in single precision.

    With AMX, and with the instructions of AVX-512 where they are twice as fast as those of single precision,
    as in AMD's Zen 5, the one with both of these. Elsewhere they were slower (docs/results.md, Cost).
    """
    return has_amx() or (_has("avx512_bf16") and _has("avx512_vp2intersect"))


def _has(instructions: str) -> bool:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get(instructions))
