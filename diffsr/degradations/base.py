"""What every observation model offers, and chains of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from diffsr.errors import ConfigError, DataError


class Degradation(nn.Module):
    """From sources to observation, `A(x)`, with parameters of each row.

    Two kinds: those that mix take `[rows, S, T]` to `[rows, C, T]`, the others change every channel by
    itself and keep the number of channels. A row never depends on other rows.
    """

    linear: bool = True
    """Whether `A(a x + b x') = a A(x) + b A(x')`; then there is an adjoint."""
    mixes: bool = False
    """Whether sources become microphones."""
    has_projection: bool = False
    """Whether `consistent` has a closed form."""
    reaches_all: bool = False
    """Whether every observation is `A(x)` of some x."""
    extends_band: bool = False
    """Whether the restoration has frequencies that the recording's rate may not hold."""
    raises_peaks: bool = False
    """Whether the restoration is louder than full scale where the recording reached it."""
    keeps_samples: bool = False
    """Whether what is not damaged comes back bit by bit."""
    nothing_found: str = "is not damaged"
    """What a recording is like in which `damaged` finds nothing."""
    n_sources: int = 1
    """Channels of x, since `reset`."""
    known: Tensor | None = None
    """What was given for B recordings `[B, ...]`, or for all `[1, ...]`; None where nothing was."""

    def of(self, channels: Sequence[int], n_channels: int) -> Self:
        """The same for some of so many channels: what was given for their recordings is theirs.

        Raises:
            DataError: What was given is not for so many.
        """
        if self.known is None or len(self.known) == 1:
            return self
        of_each = per_row(self.known, torch.empty(n_channels), f"what {type(self).__name__} was given")
        return self._knowing(of_each[list(channels)])

    def at_scale(self, scale: Tensor) -> Self:
        """The same for channels that are multiplied by `scale [K]` before they are explained.

        Raises:
            DataError: What was given is not for so many.
        """
        return self

    def _knowing(self, known: Tensor) -> Self:
        twin = copy.copy(self)
        twin.known = known
        return twin

    def reset(self, y: Tensor, n_sources: int) -> None:
        """Create the parameters of these observations.

        Args:
            y: Observations `[rows, C, T]`. The rows are B items times R restarts, restarts of an item side
                by side, so parameters that were given for B items are repeated.
            n_sources: Channels of what `forward` gets, S.

        Raises:
            ConfigError: The model cannot have produced so many channels.
            DataError: Given parameters, or what was found in y, do not fit y.
        """
        if not self.mixes and n_sources != y.shape[1]:
            raise ConfigError(
                f"{type(self).__name__} keeps the number of channels; found {n_sources} sources and "
                f"{y.shape[1]} microphones. Use Chain([Mixing(), {type(self).__name__}(...)]), or a room in "
                "place of Mixing."
            )
        self.n_sources = n_sources

    def forward(self, x: Tensor) -> Tensor:
        """`[rows, S, T] -> [rows, C, T]`; differentiable."""
        raise NotImplementedError

    def adjoint(self, r: Tensor) -> Tensor:
        """`A' r`, `[rows, C, T] -> [rows, S, T]`, for linear models: by automatic differentiation here.

        Raises:
            ConfigError: The model is not linear.
        """
        if not self.linear:
            raise ConfigError(
                f"{type(self).__name__} is not linear and has no adjoint. Choose a guidance that takes "
                "gradients or projections."
            )
        at = r.new_zeros(r.shape[0], self.n_sources, r.shape[-1])
        pull_back = torch.func.vjp(self.forward, at)[1]
        return pull_back(r)[0]

    def consistent(self, x0: Tensor, y: Tensor) -> Tensor:
        """The nearest x that explains y exactly, `[rows, S, T], [rows, C, T] -> [rows, S, T]`.

        Raises:
            ConfigError: There is no closed form (`has_projection`).
        """
        raise ConfigError(
            f"{type(self).__name__} has no projection onto the sources that explain a recording. Choose "
            "another guidance than projection."
        )

    def damaged(self, y: Tensor) -> Tensor:
        """Which observations `[rows, C, T]` show the damage, bool `[rows]`; all, where it cannot be seen."""
        return torch.ones(y.shape[0], dtype=torch.bool, device=y.device)

    def check_rates(self, recorded_hz: int, rate_hz: int) -> None:
        """Refuse recordings of the rate `recorded_hz` that are to be explained at `rate_hz`.

        Raises:
            ConfigError: The model is made for another rate.
            DataError: The damage cannot be seen, or repaired, between these rates.
        """
        own_hz = getattr(self, "rate_hz", rate_hz)
        if own_hz != rate_hz:
            raise ConfigError(
                f"{type(self).__name__} is made for {own_hz} Hz, the prior for {rate_hz} Hz. Set rate_hz to "
                f"{rate_hz}, or choose another prior."
            )

    def direct_gain(self) -> Tensor | float:
        """Factor of the direct path of each source, `[rows, S]`, or 1."""
        return 1.0

    def project(self) -> None:
        """Take the parameters back to the feasible set: nothing to do where none are estimated."""

    def describe(self) -> dict[str, Tensor]:
        """The physics of each row for the user: name with unit -> `[rows, ...]`, detached."""
        return {}


class Chain(Degradation):
    """Observation models one after the other: talkers, then their gains, rooms, then the device.

    Exactly one part mixes where there are several talkers or microphones. With several talkers of different
    gains, `consistent` explains y but is not the nearest.

    Args:
        parts: In the order of the physics, such as `[Gain(), Room(...), Clipping()]`.
    """

    def __init__(self, parts: Sequence[Degradation]) -> None:
        super().__init__()
        if not parts:
            raise ConfigError("A Chain needs at least one part; Mixing() is the one that changes nothing.")
        mixing = [type(part).__name__ for part in parts if part.mixes]
        if len(mixing) > 1:
            raise ConfigError(f"A Chain mixes once, found {' and '.join(mixing)}. Leave only one of them.")
        self.parts = nn.ModuleList(parts)
        self.linear = all(part.linear for part in parts)
        self.mixes = bool(mixing)
        self.reaches_all = all(part.reaches_all for part in parts)
        self.extends_band = any(part.extends_band for part in parts)
        self.raises_peaks = any(part.raises_peaks for part in parts)
        self.keeps_samples = any(part.keeps_samples for part in parts)
        self.nothing_found = "lacks one of the damages: it " + " or ".join(p.nothing_found for p in parts)
        # Behind a part that does not reach every signal, a later projection would leave its range.
        onto_before = all(part.reaches_all for part in parts[:-1])
        self.has_projection = onto_before and all(part.has_projection for part in parts)

    def reset(self, y: Tensor, n_sources: int) -> None:
        """See base; the parts behind the one that mixes have the channels of y."""
        super().reset(y, n_sources)
        n_channels = n_sources
        for part in self._parts():
            part.reset(y, n_channels)
            n_channels = y.shape[1] if part.mixes else n_channels

    def forward(self, x: Tensor) -> Tensor:
        """See base."""
        for part in self._parts():
            x = part(x)
        return x

    def adjoint(self, r: Tensor) -> Tensor:
        """The reversed chain of the adjoints."""
        for part in reversed(self._parts()):
            r = part.adjoint(r)
        return r

    def consistent(self, x0: Tensor, y: Tensor) -> Tensor:
        """See base: backwards, each part is made to produce what the next one asks for."""
        if not self.has_projection:
            return super().consistent(x0, y)
        entering = [x0]
        for part in self._parts()[:-1]:
            entering.append(part(entering[-1]))
        for part, signal in zip(reversed(self._parts()), reversed(entering), strict=True):
            y = part.consistent(signal, y)
        return y

    def of(self, channels: Sequence[int], n_channels: int) -> Chain:
        """See base."""
        return Chain([part.of(channels, n_channels) for part in self._parts()])

    def at_scale(self, scale: Tensor) -> Chain:
        """See base."""
        return Chain([part.at_scale(scale) for part in self._parts()])

    def before(self, part: Degradation, x: Tensor) -> Tensor:
        """What enters a part when the sources are x: the M-step of a room sees its sources so."""
        for earlier in self._parts()[: self._place(part)]:
            x = earlier(x)
        return x

    def after(self, part: Degradation, signal: Tensor) -> Tensor:
        """What becomes of the output of a part."""
        for later in self._parts()[self._place(part) + 1 :]:
            signal = later(signal)
        return signal

    def damaged(self, y: Tensor) -> Tensor:
        """See base: those that show all of it, as each part is estimated from y."""
        return torch.stack([part.damaged(y) for part in self._parts()]).all(0)

    def check_rates(self, recorded_hz: int, rate_hz: int) -> None:
        """See base."""
        for part in self._parts():
            part.check_rates(recorded_hz, rate_hz)

    def project(self) -> None:
        """See base."""
        for part in self._parts():
            part.project()

    def describe(self) -> dict[str, Tensor]:
        """All of all parts."""
        return {name: value for part in self._parts() for name, value in part.describe().items()}

    def direct_gain(self) -> Tensor | float:
        """The product of those of the parts."""
        gain: Tensor | float = 1.0
        for part in self._parts():
            gain = gain * part.direct_gain()
        return gain

    def _parts(self) -> list[Degradation]:
        return [part for part in self.parts if isinstance(part, Degradation)]

    def _place(self, part: Degradation) -> int:
        return next(k for k, own in enumerate(self.parts) if own is part)


def refuse_resampled(recorded_hz: int, rate_hz: int, damage: str) -> None:
    """Refuse recordings of another rate than the prior's, for damage that only the samples themselves show.

    Raises:
        DataError: The rates differ.
    """
    if recorded_hz == rate_hz:
        return
    step, left = divmod(recorded_hz, rate_hz)
    advice = f"Record it at {rate_hz} Hz or a multiple, or train a prior for {recorded_hz} Hz."
    if not left:  # what was cut off, or lost, is so in every sample by itself
        advice = (
            f"Keep one sample of {step} without a filter (sox IN OUT downsample {step}; in Python "
            f"wave[:, ::{step}]): the damage stays, and what sounds above {rate_hz / 2:g} Hz folds below it."
        )
    raise DataError(
        f"The recording has {recorded_hz} Hz, expected the {rate_hz} Hz of the prior: {damage} cannot be "
        f"seen any more after resampling, whose filter changes every sample. {advice}"
    )


def per_row(value: Tensor, y: Tensor, name: str) -> Tensor:
    """Parameters of B items `[B, ...]` -> of the rows of y `[rows, ...]`, on its device; one serves all.

    Raises:
        DataError: The rows are not B items with equally many restarts.
    """
    rows, found = y.shape[0], value.shape[0]
    if found == 0 or rows % found:
        raise DataError(
            f"There are {found} of {name} for {rows} rows; expected one for all, or one for each recording "
            "(rows are recordings times restarts)."
        )
    return value.to(y.device).repeat_interleave(rows // found, dim=0, output_size=rows)
