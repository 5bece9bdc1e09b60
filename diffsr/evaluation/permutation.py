"""Which estimate belongs to which talker: the assignment with the largest mean SI-SDR."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffsr.errors import DataError
from diffsr.evaluation.distortion import si_sdr_db

_WORST_DB = -1000.0
"""Stands for undefined scores: a silent estimate goes to the talker that the others leave over."""


def pairwise_si_sdr_db(est: Tensor, ref: Tensor) -> Tensor:
    """SI-SDR of every estimate against every reference, [S, T] each -> [S, S], rows are references."""
    n = est.shape[0]
    return torch.stack([si_sdr_db(est, ref[k].expand(n, -1)) for k in range(ref.shape[0])])


def best_assignment(est: Tensor, ref: Tensor) -> tuple[int, ...]:
    """The estimate of each reference, so that the mean SI-SDR is largest.

    Args:
        est: Estimates [S, T].
        ref: References [S, T].

    Returns:
        For reference k the index of its estimate. Among equal ones, as with silence, the given order wins.

    Raises:
        DataError: The numbers of talkers differ.

    References:
        Yu et al. 2017, permutation invariant training, arXiv:1607.00325.
    """
    from scipy.optimize import linear_sum_assignment

    if est.shape[0] != ref.shape[0]:
        raise DataError(
            f"There are {est.shape[0]} estimates for {ref.shape[0]} talkers, expected one for each. "
            "Give as many estimates as references."
        )
    if est.shape[0] == 1:
        return (0,)
    scores = pairwise_si_sdr_db(est, ref).double().cpu().nan_to_num(_WORST_DB).numpy()
    return tuple(int(i) for i in linear_sum_assignment(scores + 1e-9 * np.eye(len(scores)), maximize=True)[1])
