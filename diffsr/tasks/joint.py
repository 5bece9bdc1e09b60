"""Several talkers in a room with noise."""

from __future__ import annotations

from diffsr.tasks.restoration import RestorationModule


class JointModule(RestorationModule):
    """Tells talkers apart and removes room and noise, all estimated at once. Arguments: `RestorationModule`.

    `n_samples` are restarts, which the `ranker` judges and the `joiner` joins; each has a room and a noise of
    its own.
    """

    separates = True
