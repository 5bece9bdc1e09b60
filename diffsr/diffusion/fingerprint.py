"""Which prior it is."""

from __future__ import annotations

import hashlib
import json

from diffsr.diffusion.prior import Prior


def prior_sha1(prior: Prior) -> str:
    """Digest of the configuration and all weights; the same wherever the prior lies or computes.

    Without the table of its uncertainty, which has a digest of its own (`calibration_sha1`).
    """
    digest = hashlib.sha1(json.dumps(prior.config, sort_keys=True).encode())
    for name, tensor in sorted(prior.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def calibration_sha1(prior: Prior) -> str:
    """Digest of the table of its uncertainty, which samplers go by; empty without one."""
    if prior.calibration is None:
        return ""
    return hashlib.sha1(prior.calibration.log_ratio.cpu().numpy().tobytes()).hexdigest()
