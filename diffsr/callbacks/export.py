"""At the end of training: the prior as a folder that restores recordings."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from diffsr.callbacks.pieces import hardware
from diffsr.callbacks.progress import clock
from diffsr.diffusion.prior import Prior
from diffsr.diffusion.validation import mean_scores, validation_scores
from diffsr.io.run_layout import exported_prior
from diffsr.report.prior_card import prior_card

BATCH_SIZE = 16


class PriorExport(Callback):
    """Writes `<run>/prior/` (configuration, averaged weights, card) when training ends."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export; by now the averaged weights are in place."""
        prior = pl_module.prior
        if not trainer.is_global_zero or trainer.fast_dev_run or not isinstance(prior, Prior):  # type: ignore[attr-defined]
            return
        device = trainer.strategy.root_device  # Lightning has moved the weights off it by now
        storage = getattr(pl_module, "storage", "float32")
        with torch.compiler.set_stance("force_eager"):
            scores = _final_scores(trainer, _as_stored(prior.cpu().eval(), storage).to(device))
        card = prior_card(prior, _facts(trainer, pl_module), scores)
        prior.save_pretrained(exported_prior(trainer.default_root_dir), card, dtype=storage)


def _as_stored(prior: Prior, storage: str) -> Prior:
    """A copy with the weights that the folder will give; training goes on from the ones it has."""
    stored = copy.deepcopy(prior)
    dtype = getattr(torch, storage)
    weights = prior.state_dict()
    stored.load_state_dict({n: w.to(dtype) if w.is_floating_point() else w for n, w in weights.items()})
    return stored


def _final_scores(trainer: Trainer, prior: Prior) -> dict[str, float]:
    """Scores of the weights that are exported; the last validation may be many steps old."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not hasattr(data, "valid_crops"):
        return {}
    device = next(prior.parameters()).device
    parts = [
        validation_scores(prior, wave.to(device), seed)
        for seed, wave in enumerate(data.valid_crops().split(BATCH_SIZE))
    ]
    scores = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: mean for name, (mean, _) in mean_scores(scores).items()}


def _facts(trainer: Trainer, module: LightningModule) -> dict[str, str]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    speech = {"Training speech": "summary", "Validation speech": "valid_summary"}
    facts = {title: getattr(data, name) for title, name in speech.items() if hasattr(data, name)}
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    took = f" in {clock(max(timer.time_elapsed() for timer in timers))}" if timers else ""
    facts["Training"] = f"{trainer.global_step} steps{took} on {hardware(trainer)}"
    if before := getattr(module, "history", ()):
        facts["Before that"] = _before(before)
    return facts


def _before(history: Sequence[Mapping[str, Any]]) -> str:
    """`3 pieces: 60000 steps, 1920000 crops, 27:00 on 1 x NVIDIA H100`."""
    steps, crops, minutes = (sum(piece[key] for piece in history) for key in ("steps", "crops", "minutes"))
    machines = ", ".join(dict.fromkeys(str(piece.get("hardware")) for piece in history))
    count = f"{len(history)} piece{'s' * (len(history) > 1)}"
    return f"{count}: {steps} steps, {crops} crops, {clock(60 * minutes)} on {machines}"
