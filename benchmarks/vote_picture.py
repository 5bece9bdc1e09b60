"""Draws who is in which track over time: of each restart of a mixture, of all joined, and after the tracker.

    python benchmarks/vote_picture.py DATA [--item separate-valid-13] [--restarts 4] [--output vote.png]

A colour for each of two talkers, paler where a piece of 64 ms is less alike to one of them; the truth is
looked at for the picture alone. Restarts that were told voices are marked; no tracker has heard them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from diffsr.api import Restorer
from diffsr.benchmark.items import committed_list
from diffsr.benchmark.scenes import render_item
from diffsr.recipes import make_recipe
from diffsr.report.pictures import new_figure, save_png
from diffsr.samplers import TracksInOrder

PIECE = 1024


def likeness(tracks: Tensor, reference: Tensor) -> Tensor:
    """Correlation of the difference of two tracks `[S, T]` with that of the talkers, for each piece `[N]`."""
    found, true = (wave[0] - wave[1] for wave in (tracks, reference))
    found, true = (one.unfold(-1, PIECE, PIECE) for one in (found, true))
    alike = (found * true).sum(-1) / (found.norm(dim=-1) * true.norm(dim=-1)).clamp_min(1e-9)
    loud = true.norm(dim=-1)
    alike = alike * (loud / loud.quantile(0.5)).clamp_max(1.0)  # pauses are pale
    return alike * torch.sign(alike.sum())  # which track a talker has on the whole is of no interest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--item", default="separate-valid-13")
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--prior", default="speech-16k-fast")
    parser.add_argument("--output", type=Path, default=Path("vote.png"))
    options = parser.parse_args()
    found = committed_list("separate", "valid")
    sound = render_item(next(one for one in found.items if one.id == options.item), options.data, found)
    recipe, tracked = make_recipe("separate"), TracksInOrder()
    recipe.sampler.exchange, recipe.joiner = None, tracked.joiner
    restorer = Restorer(options.prior, recipe=recipe, device="cpu", n_samples=options.restarts)
    done = restorer.restore(sound.observation, 16000, options.item)
    n_untold = max(options.restarts // 2, 2) if recipe.voices is not None else options.restarts
    names = [f"{k + 1}{', told' if k >= n_untold else ''}" for k in range(options.restarts)]
    tracks = dict(zip(names, torch.as_tensor(done.samples), strict=True))
    tracks["joined"] = torch.as_tensor(done.wave)
    tracks["tracked"] = tracked(tracks["joined"][None], torch.zeros(1), 16000)
    draw(tracks, sound.reference, options.output)
    print(f"Wrote {options.output}.")


def draw(tracks: dict[str, Tensor], reference: Tensor, path: Path) -> None:
    """A row for each set of tracks `[2, T]`, the last two below a line."""
    shown = torch.stack([likeness(one, reference) for one in tracks.values()])
    figure = new_figure(8.0, 0.6 + 0.25 * len(shown))
    axis = figure.subplots()
    extent = (0, shown.shape[1] * PIECE / 16000, len(shown) - 0.5, -0.5)
    axis.imshow(
        shown.numpy(), aspect="auto", cmap="PuOr", vmin=-1, vmax=1, extent=extent, interpolation="nearest"
    )
    axis.set_yticks(range(len(shown)), list(tracks))
    axis.axhline(len(shown) - 2.5, color="black", linewidth=1.5)
    axis.set_xlabel("time (s)")
    save_png(figure, path)


if __name__ == "__main__":
    main()
