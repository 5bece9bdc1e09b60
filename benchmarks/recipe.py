"""Quantiles of 2,000 drawn scenes beside those of the WHAMR! recipe; no room is rendered, no audio read.

    python benchmarks/recipe.py [--count 2000] [--seed 0]

The T60 column of the recipe is the original test set's (3,000 scenes), the others follow from its uniform
distributions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from diffsr.evaluation.tables import markdown_table
from diffsr.io.manifest import Utterance
from diffsr.simulation.draw import SceneMaker, SceneSettings
from diffsr.simulation.plan import Room, ScenePlan
from diffsr.simulation.rooms import SimulatedRooms

SHARES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
RECIPE = {
    "T60 (s)": np.array([0.22, 0.41, 0.54, 0.74, 0.95]),
    "distance of a talker (m)": 0.66 + 1.34 * SHARES,
    "SNR of talker 1 (dB)": -3 + 9 * SHARES,
    "talker 1 over talker 2 (dB)": 5 * SHARES,
    "room length, width (m)": 5 + 5 * SHARES,
    "room height (m)": 3 + SHARES,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = quantities(draw(options.count, options.seed))
    lines = []
    for name, expected in RECIPE.items():
        cells = zip(np.quantile(found[name], SHARES), expected, strict=True)
        lines.append([name, *(f"{got:.2f} ({want:.2f})" for got, want in cells)])
    print(markdown_table(["drawn (recipe)", *(f"{share:.0%}" for share in SHARES)], lines))


def draw(count: int, seed: int) -> list[ScenePlan]:
    """Scenes of the joint task from a corpus of which only the lengths matter."""
    speech = [
        Utterance(f"{k}", Path(f"{k}.wav"), f"talker {k % 40}", duration_s=4.0 + k % 7) for k in range(400)
    ]
    noise = [Utterance("noise", Path("noise.wav"), duration_s=60.0)]
    maker = SceneMaker(SceneSettings(), speech, noise, SimulatedRooms(), seed)
    return [maker.draw(index) for index in range(count)]


def quantities(plans: list[ScenePlan]) -> dict[str, list[float]]:
    """What the recipe speaks of, one list a quantity."""
    rooms = [plan.room for plan in plans if isinstance(plan.room, Room)]
    return {
        "T60 (s)": [room.rt60_s for room in rooms],
        "distance of a talker (m)": [d for room in rooms for d in room.distances_m],
        "SNR of talker 1 (dB)": [plan.noise.snr_db for plan in plans if plan.noise],
        "talker 1 over talker 2 (dB)": [p.talkers[0].gain_db - p.talkers[1].gain_db for p in plans],
        "room length, width (m)": [side for room in rooms for side in room.size_m[:2]],
        "room height (m)": [room.size_m[2] for room in rooms],
    }


if __name__ == "__main__":
    main()
