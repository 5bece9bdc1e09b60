"""Where a long recording is cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from diffsr.errors import ConfigError

SECTION_S = 60.0
"""Longest section where nothing else is asked for."""
SHORTEST_S = 10.0
OVERLAP_S = 2.0
"""Of neighbouring sections, within which one takes over from the other."""


def check_section(section_s: float | None) -> None:
    """Refuse sections that are too short for what is to be found in them.

    Raises:
        ConfigError: They are.
    """
    if section_s is not None and not (isinstance(section_s, Real) and section_s >= SHORTEST_S):
        raise ConfigError(
            f"section_s is {section_s!r}; expected seconds, at least {SHORTEST_S:g}, or None to cut nothing "
            "(--section_s on the command line, where 0 cuts nothing)."
        )


@dataclass(frozen=True)
class SectionPlan:
    """Sections of a recording, which exists at two sampling rates.

    All begin at times that are whole numbers of samples at both rates.

    Attributes:
        starts_s: Where each begins.
        length_s: Of each but the last, which ends where the recording does.
    """

    starts_s: Sequence[float] = (0.0,)
    length_s: float = math.inf

    @classmethod
    def of(cls, duration_s: float, rates_hz: tuple[int, int], section_s: float | None) -> SectionPlan:
        """Sections of nearly equal length, at most `section_s`; one of what is no longer, and of None.

        Args:
            duration_s: Length of the recording.
            rates_hz: The two sampling rates.
            section_s: Longest section, see `check_section`.
        """
        if section_s is None or duration_s <= section_s:
            return cls()
        per_s = math.gcd(*rates_hz)  # times that both have, in a second
        n_sections = math.ceil((duration_s - OVERLAP_S) / (section_s - OVERLAP_S - 1 / per_s))
        step = (duration_s - OVERLAP_S) / n_sections * per_s
        starts_s = [math.floor(number * step) / per_s for number in range(n_sections)]
        return cls(starts_s, math.ceil(step) / per_s + OVERLAP_S)

    def ranges(self, rate_hz: int, n_samples: int) -> list[range]:
        """Samples of each section at one of the rates, of a recording of so many."""
        firsts = [round(start_s * rate_hz) for start_s in self.starts_s]
        lasts = [round((start_s + self.length_s) * rate_hz) for start_s in self.starts_s[:-1]]
        return [range(first, last) for first, last in zip(firsts, [*lasts, n_samples], strict=True)]
