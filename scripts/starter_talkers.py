"""The talkers of the starter corpus: who speaks, with which espeak-ng voice, pitch, rate and vocal tract.

A talker is an espeak-ng language or accent, one of its stock voice variants, a pitch setting (0-99, 50 is
the variant's own), a rate in words per minute and a factor on all formant frequencies (above 1 for a shorter
vocal tract). The variants of held-out talkers belong to no training talker, nor do near copies of them.
British English is "en" here because espeak-ng ignores variants of "en-gb".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Talker:
    """One synthetic talker."""

    split: str
    sex: str
    language: str
    variant: str
    pitch: int
    wpm: int
    tract: float

    @property
    def name(self) -> str:
        """Unique label, for example `en-us-f4`."""
        return f"{self.language}-{self.variant.lower()}"


TALKERS: tuple[Talker, ...] = (
    # Training women.
    Talker("train", "F", "en-us", "f1", 50, 160, 1.00),
    Talker("train", "F", "en", "f2", 46, 170, 1.00),
    Talker("train", "F", "en-us-nyc", "f3", 52, 165, 1.00),
    Talker("train", "F", "en-gb-scotland", "Alicia", 44, 175, 0.96),
    Talker("train", "F", "en-us", "Andrea", 42, 185, 1.00),
    Talker("train", "F", "en-029", "anika", 34, 160, 1.06),
    Talker("train", "F", "en-gb-x-rp", "belinda", 48, 160, 0.96),
    Talker("train", "F", "en", "grandma", 40, 145, 1.10),
    Talker("train", "F", "en-us", "linda", 38, 170, 0.92),
    Talker("train", "F", "en-gb-x-gbclan", "steph", 50, 175, 1.00),
    Talker("train", "F", "en-us-nyc", "shelby", 50, 165, 1.06),
    Talker("train", "F", "en-gb-x-gbcwmd", "f1", 62, 180, 1.05),
    Talker("train", "F", "en-029", "f2", 60, 165, 1.07),
    Talker("train", "F", "en-gb-scotland", "f3", 38, 155, 0.94),
    Talker("train", "F", "en-us", "belinda", 62, 185, 1.03),
    Talker("train", "F", "en-gb-x-rp", "Andrea", 54, 165, 1.05),
    Talker("train", "F", "de", "f2", 36, 165, 0.97),
    Talker("train", "F", "fr", "Alicia", 32, 150, 0.92),
    Talker("train", "F", "it", "f3", 46, 170, 0.97),
    Talker("train", "F", "sv", "Andrea", 30, 165, 0.95),
    # Training men.
    Talker("train", "M", "en-us", "m1", 50, 165, 1.00),
    Talker("train", "M", "en", "m2", 44, 170, 1.00),
    Talker("train", "M", "en-gb-scotland", "m4", 50, 160, 1.00),
    Talker("train", "M", "en-us", "m5", 58, 180, 0.98),
    Talker("train", "M", "en-029", "m6", 64, 175, 1.03),
    Talker("train", "M", "en-gb-x-gbclan", "m8", 48, 150, 1.00),
    Talker("train", "M", "en-us-nyc", "klatt", 46, 165, 1.00),
    Talker("train", "M", "en", "klatt3", 60, 175, 0.95),
    Talker("train", "M", "en-us", "klatt4", 40, 170, 1.05),
    Talker("train", "M", "en-gb-x-rp", "david", 58, 155, 1.06),
    Talker("train", "M", "en-gb-x-gbcwmd", "Denis", 54, 180, 1.00),
    Talker("train", "M", "en-us", "boris", 68, 170, 1.02),
    Talker("train", "M", "en", "ed", 58, 185, 1.00),
    Talker("train", "M", "en-us-nyc", "quincy", 50, 160, 0.97),
    Talker("train", "M", "en-gb-scotland", "victor", 62, 170, 1.03),
    Talker("train", "M", "en-029", "grandpa", 40, 145, 0.97),
    Talker("train", "M", "de", "m1", 62, 165, 0.95),
    Talker("train", "M", "fr", "Michael", 50, 130, 1.05),
    Talker("train", "M", "es", "Nguyen", 46, 170, 1.00),
    Talker("train", "M", "nl", "marcelo", 54, 165, 1.06),
    # Validation.
    Talker("valid", "F", "en", "f4", 56, 165, 0.97),
    Talker("valid", "F", "en-us", "Annie", 40, 175, 1.00),
    Talker("valid", "M", "en-us", "m3", 56, 170, 1.00),
    Talker("valid", "M", "en-gb-x-rp", "klatt2", 52, 165, 1.02),
    Talker("valid", "M", "en-gb-scotland", "Mike", 46, 160, 1.00),
    # Test.
    Talker("test", "F", "en-us-nyc", "f5", 44, 170, 1.00),
    Talker("test", "F", "en", "aunty", 54, 165, 0.96),
    Talker("test", "M", "en-gb-x-gbclan", "m7", 60, 165, 1.00),
    Talker("test", "M", "en-us", "edward", 48, 175, 1.00),
    Talker("test", "M", "en-029", "Alex", 56, 160, 1.02),
)
