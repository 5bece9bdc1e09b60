"""Which prior it is."""

from __future__ import annotations

from pathlib import Path

import torch

from diffsr.diffusion import Prior
from diffsr.diffusion.fingerprint import prior_sha1


def test_the_digest_of_a_prior_is_that_of_its_weights(tiny_prior: Prior, tmp_path: Path) -> None:
    copy = Prior.from_pretrained(tiny_prior.save_pretrained(tmp_path / "copy"))
    assert prior_sha1(copy) == prior_sha1(tiny_prior)
    with torch.no_grad():
        next(copy.parameters()).add_(1e-3)
    assert prior_sha1(copy) != prior_sha1(tiny_prior)
