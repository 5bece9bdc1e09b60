"""What trainings on voices share."""

from __future__ import annotations

from diffsr.errors import DataError
from diffsr.tasks.small_network import SmallNetworkModule


class VoiceModule(SmallNetworkModule):
    """A training on the voices of a corpus, see the base.

    Raises:
        DataError: The corpus names fewer than two talkers.
    """

    learner = "a network of voices learns from two or more"
    """For the message about a corpus without labels."""

    def on_fit_start(self) -> None:
        """Make sure that there is somebody to tell apart."""
        names = getattr(self.trainer.datamodule, "speakers", None)  # type: ignore[attr-defined]
        if names is not None and len(names) < 2:
            raise DataError(
                f"The corpus names {len(names)} talkers; {self.learner}. Use a manifest with a column "
                "'speaker', or a folder with a sub-folder for each talker."
            )
