"""The card of a prior: what it is, what it learned from, what it scores, what it costs."""

from __future__ import annotations

from collections.abc import Mapping

from diffsr import __version__
from diffsr.diffusion import Prior
from diffsr.networks.cost import gflop_per_second


def prior_card(prior: Prior, training: Mapping[str, str], scores: Mapping[str, float]) -> str:
    """Markdown for the `README.md` of a prior folder.

    Args:
        prior: The trained prior.
        training: Facts about the training, title -> text.
        scores: Validation scores by name, as `diffsr.diffusion.validation` gives them.
    """
    n_parameters = sum(parameter.numel() for parameter in prior.parameters())
    cost = gflop_per_second(prior.network, prior.rate_hz)
    facts = {
        "Network": f"{prior.config['network']['name']}, {n_parameters / 1e6:.1f} M parameters",
        "Cost": f"{cost:.2f} GFLOP per second of audio and call (8.192 s window)",
        "Sampling rate": f"{prior.rate_hz} Hz",
        "Expected level": f"active-speech RMS {prior.sigma_data:g}",
        "Context": f"{prior.window_s:g} s",
        **training,
        "Made with": f"diffsr {__version__}",
    }
    gains = {name: value for name, value in scores.items() if name.startswith("gain_db_at_")}
    losses = {name: value for name, value in scores.items() if name.startswith("loss_sigma_")}
    return "\n".join(
        [
            "# Speech prior",
            "",
            "A diffusion model of clean speech for `diffsr restore --prior THIS_FOLDER`.",
            "",
            *_table(("", ""), facts),
            "",
            "Denoising of white noise in one call, validation speech:",
            "",
            *_table(
                ("input SNR", "SI-SDR gain"), {_snr(name): f"{value:.1f} dB" for name, value in gains.items()}
            ),
            "",
            "Denoising loss (1: the best constant gain on white signals):",
            "",
            *_table(
                ("sigma", "loss"),
                {n.removeprefix("loss_sigma_"): f"{value:.3f}" for n, value in losses.items()},
            ),
            "",
            "The licence of the training speech decides how these weights may be used.",
            "",
        ]
    )


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in rows.items())]


def _snr(name: str) -> str:
    return name.removeprefix("gain_db_at_").removesuffix("_db") + " dB"
