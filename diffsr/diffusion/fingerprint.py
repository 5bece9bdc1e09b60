"""Which prior it is."""

from __future__ import annotations

import hashlib
import json

from diffsr.diffusion.prior import Prior


def prior_sha1(prior: Prior) -> str:
    """Digest of the configuration and all weights; the same wherever the prior lies or computes."""
    digest = hashlib.sha1(json.dumps(prior.config, sort_keys=True).encode())
    for name, tensor in sorted(prior.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
