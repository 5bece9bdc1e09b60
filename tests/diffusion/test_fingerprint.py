"""Which prior it is."""

from __future__ import annotations

from pathlib import Path

import torch

from diffsr.diffusion import Prior
from diffsr.diffusion.calibration import Calibration
from diffsr.diffusion.fingerprint import calibration_sha1, prior_sha1


def test_the_digest_of_a_prior_is_that_of_its_weights(tiny_prior: Prior, tmp_path: Path) -> None:
    copy = Prior.from_pretrained(tiny_prior.save_pretrained(tmp_path / "copy"))
    assert prior_sha1(copy) == prior_sha1(tiny_prior)
    with torch.no_grad():
        next(copy.parameters()).add_(1e-3)
    assert prior_sha1(copy) != prior_sha1(tiny_prior)


def test_the_table_of_uncertainty_has_a_digest_of_its_own(tiny_prior: Prior, tmp_path: Path) -> None:
    copy = Prior.from_pretrained(tiny_prior.save_pretrained(tmp_path / "copy"))
    assert calibration_sha1(copy) == ""
    digests = set()
    for level in (0.0, 1.0):
        copy.calibration = Calibration(torch.full((2, 2, 2), level), copy.rate_hz, copy.sigma_data)
        assert prior_sha1(copy) == prior_sha1(tiny_prior)
        digests.add(calibration_sha1(copy))
    assert len(digests) == 2
