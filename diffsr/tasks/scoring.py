"""What the restoration tasks share when they are tested: restore an item and score it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, TypeVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from diffsr.api import Restorer
from diffsr.errors import ConfigError, DataError, DiffsrError
from diffsr.evaluation.item import Item, score_item
from diffsr.evaluation.metrics import DEFAULT_METRICS
from diffsr.evaluation.results import Evaluation, Row
from diffsr.simulation.plan import columns, from_row

WAVES = ("observation", "target")
_T = TypeVar("_T")


def score_batch(batch: Mapping[str, Any], restorer: Restorer) -> tuple[list[Row], dict[str, str]]:
    """Restore and score the items of a batch, each as if it were alone.

    Args:
        batch: `id`, `observation` [B, C, T], `target` [B, S, T], `n_samples` [B], `rate_hz`, maybe `plan`.
        restorer: What restores the first microphone; the random numbers of an item are keyed by its id.

    Returns:
        Scores, and what went wrong with the others by their ids.

    Raises:
        ConfigError: The items have another number of talkers than are restored.
    """
    n_talkers, n_restored = batch["target"].shape[1], restorer.recipe.n_sources
    if batch["id"] and n_talkers != n_restored:
        items = "one talker" if n_restored == 1 else f"{n_restored} talkers"
        raise ConfigError(
            f"The items have {n_talkers} talkers and this task restores {n_restored}. Test it on "
            f"items of {items} (of data_modules.Whamr: --data.init_args.scene.n_talkers={n_restored})."
        )
    rows, failed = [], {}
    for number, (name, n_samples) in enumerate(zip(batch["id"], batch["n_samples"].tolist(), strict=True)):
        observation, target = (batch[wave][number, :, :n_samples].cpu() for wave in WAVES)
        known = Item(name)
        if "plan" in batch:
            plan = from_row(batch["plan"][number])
            known = Item(name, columns(plan), plan.speakers)
        try:
            rows.append(_score(observation, target, batch["rate_hz"][number], restorer, known))
        except DiffsrError as error:
            failed[name] = str(error)
    return rows, failed


def _score(observation: Tensor, target: Tensor, rate_hz: int, restorer: Restorer, known: Item) -> Row:
    restored = restorer.restore(observation[:1], rate_hz, known.id).wave  # the target is at that microphone
    return score_item(restored, target, rate_hz, observation[0], item=known)


def means(evaluation: Evaluation) -> dict[str, float]:
    """Mean scores of what came out and of what went in, those that exist.

    Raises:
        DataError: Nothing could be scored.
    """
    if not evaluation.rows:
        name, problem = next(iter(evaluation.failed.items()), ("none", "there was nothing to score."))
        raise DataError(
            f"None of the {len(evaluation.failed)} items could be scored. First, {name}: {problem}"
        )
    found = {}
    for metric in DEFAULT_METRICS:
        for which, prefix in (("output", ""), ("input", "input_")):
            summary = evaluation.summary(metric, which)
            if summary.n > 0:
                found[f"test/{prefix}{metric}"] = summary.mean
    return found


def gathered(own: list[_T], trainer: Trainer) -> list[_T]:
    """The lists of all devices, joined; every device has to take part."""
    shares = [own] * trainer.world_size
    if len(shares) > 1:
        torch.distributed.all_gather_object(shares, own)
    return list(chain.from_iterable(shares))
