"""Scenes as a dataset: rendered when asked for, the same in every process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.utils.data import Dataset

from data_modules.batches import Item, nothing
from data_modules.samplers import NOTHING
from diffsr.simulation.draw import SceneMaker
from diffsr.simulation.plan import to_row
from diffsr.simulation.scene import Scene

Target = Literal["dry", "direct", "reverberant"]
Part = Literal["dry", "direct", "reverberant", "noise"]
PARTS: tuple[Part, ...] = ("dry", "direct", "reverberant", "noise")
"""What a scene has besides its observation."""


class Scenes(Dataset[Item]):
    """Scene `number` has the key (stream, number), scene (epoch, number) the key (stream, epoch, number)."""

    def __init__(
        self, maker: SceneMaker, stream: int, n_scenes: int, target: Target, parts: Sequence[Part] = PARTS
    ) -> None:
        """Take scenes from `maker`; an item gets `target` at the first microphone and the named parts."""
        self.maker, self.stream, self.n_scenes = maker, stream, n_scenes
        self.target, self.parts = target, tuple(parts)

    def __len__(self) -> int:
        """Number of scenes, of an epoch where there are epochs."""
        return self.n_scenes

    def __getitem__(self, index: int | tuple[int, int]) -> Item:
        """Render a scene."""
        if index == NOTHING:
            return nothing()
        key = index if isinstance(index, tuple) else (index,)
        scene = self.maker.scene(self.stream, *key)
        return {
            "id": scene.plan.id,
            "observation": scene.observation,
            "target": target_of(scene, self.target),
            **{name: getattr(scene, name) for name in self.parts},
            "rate_hz": scene.plan.rate_hz,
            "plan": to_row(scene.plan),
            "problems": list(scene.plan.skipped),
        }


def target_of(scene: Scene, target: Target) -> Tensor:
    """What an estimate is compared with, [S, T]: a part of the scene at the first microphone."""
    parts = {"direct": scene.direct, "reverberant": scene.reverberant}
    return scene.dry if target == "dry" else parts[target][:, 0]
