"""What happens to a recording on its way: checked and levelled, solved with others, put back, described."""

from diffsr.restoration.physics import Physics
from diffsr.restoration.recording import Posed
from diffsr.restoration.result import Restoration, UnfinishedError

__all__ = ["Physics", "Posed", "Restoration", "UnfinishedError"]
