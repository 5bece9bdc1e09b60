"""What the prior says when nobody speaks: unconditional samples as audio and pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from diffsr.diffusion.prior import Prior
from diffsr.report.samples import Draws, save_samples


class PriorSamples(Callback):
    """Draws speech from the averaged prior when training ends and writes `<run>/samples/`.

    Logged to TensorBoard or Weights & Biases too where one of them is the logger.

    Args:
        n_items: Number of samples.
        n_steps: Network calls for each.
    """

    def __init__(self, n_items: int = 4, n_steps: int = 60) -> None:
        super().__init__()
        self.n_items, self.n_steps = n_items, n_steps

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, write, log."""
        prior = pl_module.prior
        if not trainer.is_global_zero or trainer.fast_dev_run or not isinstance(prior, Prior):  # type: ignore[attr-defined]
            return
        prior.eval()
        draws = Draws(self.n_items, prior.window_s, self.n_steps)
        folder = Path(trainer.default_root_dir) / "samples"
        saved = save_samples(prior.cpu(), folder, draws, overwrite=True)
        _log(trainer, saved.waves, prior.rate_hz, saved.picture)


def _log(trainer: Trainer, waves: dict[str, Tensor], rate_hz: int, picture: Path) -> None:
    """Hand audio and picture to the loggers that can show them."""
    step = trainer.global_step
    for logger in trainer.loggers:
        kind = type(logger).__name__
        if kind == "WandbLogger":
            names = list(waves)
            logger.log_audio(  # type: ignore[attr-defined]
                "samples/audio",
                [wave.numpy() for wave in waves.values()],
                step=step,
                sample_rate=[rate_hz] * len(names),
                caption=names,
            )
            logger.log_image("samples/spectrograms", [str(picture)], step=step)  # type: ignore[attr-defined]
        elif kind == "TensorBoardLogger":
            from matplotlib.image import imread

            for name, wave in waves.items():
                logger.experiment.add_audio(f"samples/{name}", wave[None], step, sample_rate=rate_hz)  # type: ignore[attr-defined]
            image = torch.from_numpy(imread(picture))[..., :3]
            logger.experiment.add_image("samples/spectrograms", image, step, dataformats="HWC")  # type: ignore[attr-defined]
