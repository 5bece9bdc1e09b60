"""Which items a device gets: anew every epoch for training, each item once for everything else."""

from __future__ import annotations

from collections.abc import Iterator

from lightning import LightningDataModule
from torch.utils.data import DistributedSampler, Sampler

NOTHING = -1
"""What a device without items is given in their place."""


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, number) of every item of the epoch that `set_epoch` named.

    Lightning calls `set_epoch` with the number of finished epochs, also after a resume, and with several
    devices it deals this sampler's items out among them.
    """

    def __init__(self, n_items: int) -> None:
        """Start at epoch 0."""
        self.n_items = n_items
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Items per epoch."""
        return self.n_items

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The items of the epoch."""
        return iter([(self.epoch, number) for number in range(self.n_items)])


class Share(DistributedSampler[int]):
    """The items of one device: every n-th. Over all devices each item comes exactly once.

    Lightning replaces the samplers of validation and test by ones that repeat items until all devices have
    as many; it leaves a `DistributedSampler` as it is, hence the base class. Devices may have one item more
    or less than others, so steps must not wait for each other; the ends of epochs may. A device without any
    item gets `NOTHING`, for which there has to be an empty batch: without any batch Lightning would skip the
    end of the epoch there, and the other devices would wait for ever.
    """

    def __init__(self, n_items: int, rank: int = 0, world_size: int = 1) -> None:
        """The share of device `rank` of `world_size`."""
        super().__init__(range(n_items), num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.items = list(range(n_items))[rank::world_size] or [NOTHING]

    @classmethod
    def of(cls, data: LightningDataModule, n_items: int) -> Share:
        """The share of the device that `data` is on."""
        trainer = data.trainer
        return cls(n_items) if trainer is None else cls(n_items, trainer.global_rank, trainer.world_size)

    def __len__(self) -> int:
        """Items of this device, at least one."""
        return len(self.items)

    def __iter__(self) -> Iterator[int]:
        """The items in their order."""
        return iter(self.items)
