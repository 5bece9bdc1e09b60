"""Several talkers at one microphone."""

from __future__ import annotations

from diffsr.tasks.restoration import RestorationModule


class SeparateModule(RestorationModule):
    """Tells talkers apart, one file for each and one for the rest. Arguments: `RestorationModule`.

    `n_samples` are restarts, which the `ranker` judges and the `joiner` joins.
    """

    separates = True
