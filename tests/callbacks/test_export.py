"""The card of an exported prior tells of the weights and the speech that there are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffsr.callbacks import PriorExport, export
from diffsr.diffusion import Prior
from diffsr.networks import TFTransformer


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_what_is_scored_is_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    torch.manual_seed(0)
    prior = Prior(TFTransformer(width=16, depth=1, heads=2), window_s=0.512)
    raw = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    scored: list[dict[str, torch.Tensor]] = []

    def validation_scores(prior: Prior, wave: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
        scored.append({name: tensor.clone() for name, tensor in prior.state_dict().items()})
        return {"gain_db_at_+0_db": torch.ones(len(wave))}

    monkeypatch.setattr(export, "validation_scores", validation_scores)
    data = SimpleNamespace(
        summary="corpus: 1.0 minutes",
        valid_summary="2 crops; held-out recordings, of talkers who may also have trained",
        valid_crops=lambda: torch.zeros(2, 8192),
    )
    trainer = SimpleNamespace(
        is_global_zero=True,
        fast_dev_run=False,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        default_root_dir=str(tmp_path),
        datamodule=data,
        callbacks=[],
        global_step=3,
        num_devices=1,
        num_nodes=1,
    )
    PriorExport().on_fit_end(trainer, SimpleNamespace(prior=prior, storage=storage))  # type: ignore[arg-type]

    stored = Prior.from_pretrained(tmp_path / "prior").state_dict()
    assert all(torch.equal(scored[0][name], tensor) for name, tensor in stored.items())
    assert all(torch.equal(raw[name], tensor) for name, tensor in prior.state_dict().items())
    card = (tmp_path / "prior" / "README.md").read_text()
    assert f"| Validation speech | {data.valid_summary} |" in card
    assert "held-out talkers" not in card
