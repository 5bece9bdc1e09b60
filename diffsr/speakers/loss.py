"""What a speaker encoder is trained for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrast(embedding: Tensor, reference: Tensor, talker: Tensor, scale: float = 20.0) -> Tensor:
    """Cross-entropy of finding the own reference among those of a batch, and the other way round.

    The angular prototypical loss of arXiv 2003.11982 with a fixed scale, made symmetric.

    Args:
        embedding: `[B, E]`, of unit norm.
        reference: Embeddings of other recordings of the same talkers, `[B, E]`.
        talker: Numbers of the talkers `[B]`; other references of the own talker do not count as wrong.
        scale: Inverse temperature.
    """
    own = torch.eye(len(talker), dtype=torch.bool, device=talker.device)
    same = (talker[:, None] == talker[None]) & ~own
    logits = (scale * embedding @ reference.T).masked_fill(same, -torch.inf)
    target = torch.arange(len(talker), device=talker.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
