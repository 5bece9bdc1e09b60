"""Everyone who speaks of a run folder means the same places."""

from __future__ import annotations

from pathlib import Path

import diffsr
from diffsr.commands.run_folder import Run
from diffsr.io.run_layout import exported_prior, last_checkpoint

PACKAGE = Path(diffsr.__file__).parent


def test_a_run_and_the_layout_agree(tmp_path: Path) -> None:
    run = Run(tmp_path, "prior/x", "0")
    assert run.checkpoint == last_checkpoint(str(tmp_path)) == tmp_path / "checkpoints" / "last.ckpt"
    assert run.prior == exported_prior(str(tmp_path)) == tmp_path / "prior"


def test_the_checkpoint_is_named_in_one_place() -> None:
    named = [path.name for path in PACKAGE.rglob("*.py") if '"last.ckpt"' in path.read_text(encoding="utf-8")]
    assert named == ["run_layout.py"]
