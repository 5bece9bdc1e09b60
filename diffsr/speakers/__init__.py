"""Who speaks: the speaker encoder, the voice tracker, and what they are trained and judged with."""

from diffsr.speakers.embedding import SpeakerEncoder
from diffsr.speakers.tracking import VoiceTracker

__all__ = ["SpeakerEncoder", "VoiceTracker"]
