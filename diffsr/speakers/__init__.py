"""Who speaks: the speaker encoder, what it is trained with, and how well it verifies talkers."""

from diffsr.speakers.embedding import SpeakerEncoder

__all__ = ["SpeakerEncoder"]
