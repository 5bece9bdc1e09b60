"""What trainings on voices share."""

from __future__ import annotations

from diffsr.errors import DataError
from diffsr.tasks.small_network import SmallNetworkModule


class VoiceModule(SmallNetworkModule):
    """A training on the voices of a corpus, see the base.

    Raises:
        DataError: The training speech names fewer than two talkers.
    """

    learner = "a network of voices learns from two or more"
    """For the message about a corpus without labels."""

    def on_fit_start(self) -> None:
        """Make sure that there is somebody to tell apart."""
        count = getattr(self.trainer.datamodule, "n_training_talkers", None)  # type: ignore[attr-defined]
        if count is not None and count < 2:
            raise DataError(
                f"The training speech names {count} talkers; {self.learner}. Use a manifest with a column "
                "'speaker', or a folder with a sub-folder for each talker."
            )
