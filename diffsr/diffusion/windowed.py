"""A prior for recordings of any length."""

from __future__ import annotations

import contextlib
import copy

import torch
from torch import Tensor, nn

from diffsr.diffusion.prior import Prior
from diffsr.signal.stft import STFT
from diffsr.signal.windows import crossfade, window_starts
from diffsr.typing import Denoiser


class WindowedPrior(nn.Module):
    """Denoises overlapping windows of one long state and cross-fades the estimates at every call.

    The state, and with it the noise and room models of a sampler, stays that of the whole recording;
    only the network sees windows. Its memory does not grow with the recording.

    Args:
        prior: The prior that sees the windows.
        window_s: Length of a window.
        overlap_s: Least overlap of neighbouring windows.
        windows_per_call: Windows that go through the network at once.
        in_bfloat16: Whether the network computes in it, where no gradient is asked for: of a gradient through
            the network rounding would be too large a part.
    """

    def __init__(
        self,
        prior: Denoiser,
        window_s: float,
        overlap_s: float = 0.512,
        windows_per_call: int = 8,
        in_bfloat16: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= overlap_s < window_s:
            raise ValueError(f"overlap_s={overlap_s}; expected at least 0 and less than window_s={window_s}.")
        self.prior = prior
        self.rate_hz, self.sigma_data = prior.rate_hz, prior.sigma_data
        self.window = round(window_s * prior.rate_hz)
        self.overlap = round(overlap_s * prior.rate_hz)
        self.windows_per_call = windows_per_call
        self.rounded = rounded(prior) if in_bfloat16 else None

    @property
    def in_bfloat16(self) -> bool:
        """Whether the network computes in it."""
        return self.rounded is not None

    @property
    def speaker_width(self) -> int:
        """Width of the embedding of a talker that `denoise` takes; 0 where it takes none."""
        return self.prior.speaker_width if isinstance(self.prior, Prior) else 0

    @property
    def adaptation_shape(self) -> tuple[int, ...] | None:
        """Shape of what adapts it to a signal; None where it cannot be adapted."""
        return self.prior.adaptation_shape if isinstance(self.prior, Prior) else None

    def denoise(
        self,
        z: Tensor,
        sigma: Tensor,
        speaker: Tensor | None = None,
        adaptation: Tensor | None = None,
    ) -> Tensor:
        """`[..., T]`, `[...]` and what a signal is known by -> `[..., T]`, as `Prior.denoise`."""
        n_samples = z.shape[-1]
        starts = window_starts(n_samples, self.window, self.overlap)
        pieces = z[..., None, :]
        if len(starts) > 1:
            pieces = torch.stack([z[..., start : start + self.window] for start in starts], dim=-2)
        levels = sigma[..., None].expand(pieces.shape[:-1]).reshape(-1)
        known: dict[str, Tensor] = {}
        for name, given in (("speaker", speaker), ("adaptation", adaptation)):
            if given is not None:  # of the signal, and so of each of its windows
                of_signal = given.flatten(sigma.ndim)[..., None, :]
                known[name] = of_signal.expand(*pieces.shape[:-1], -1).reshape(len(levels), -1)
        flat = self._in_parts(pieces.reshape(len(levels), -1), levels, known)
        found = flat.reshape(pieces.shape)
        return found[..., 0, :] if len(starts) == 1 else crossfade(found, starts, n_samples)

    def _in_parts(self, windows: Tensor, levels: Tensor, known: dict[str, Tensor]) -> Tensor:
        """`[B, T]`, `[B]` and what is known of each `[B, ...]` -> `[B, T]`, a few windows at a time."""
        prior = self.prior if self.rounded is None or windows.requires_grad else self.rounded
        is_rounded = prior is self.rounded
        device = windows.device.type
        found = []
        with torch.autocast(device, torch.bfloat16) if is_rounded else contextlib.nullcontext():
            for start in range(0, len(windows), self.windows_per_call):
                some = slice(start, start + self.windows_per_call)
                told = {name: value[some] for name, value in known.items()}
                found.append(prior.denoise(windows[some], levels[some], **told))
        return torch.cat(found)

    def uncertainty(self, x0: Tensor, sigma: Tensor, stft: STFT) -> Tensor:
        """As the prior's."""
        return self.prior.uncertainty(x0, sigma, stft)


def rounded(prior: Denoiser) -> Denoiser:
    """A copy whose matrix products need not round their weights at every call."""
    twin = copy.deepcopy(prior)
    for module in twin.modules() if isinstance(twin, nn.Module) else ():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            module.to(torch.bfloat16)
    return twin
