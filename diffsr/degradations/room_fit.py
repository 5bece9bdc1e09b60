"""The M-step of a room: its parameters on a fixed estimate of the dry speech."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffsr.signal.compression import compress, power, relative_floor
from diffsr.signal.filtering import convolution_of
from diffsr.signal.stft import STFT

EXPONENT = 2.0 / 3.0
"""Of the magnitudes in the compressed loss."""
PERTURBATION = 5.0
"""Weight of the distance to perturbed responses: 2560 to 512 in the code of BUDDy."""


def fit_response(
    render: Callable[[], Tensor],
    project: Callable[[], None],
    optimiser: torch.optim.Optimizer,
    x0: Tensor,
    y: Tensor,
    weight: Tensor | None = None,
    n_updates: int = 10,
    stft: STFT | None = None,
    after: Callable[[Tensor], Tensor] | None = None,
    perturb: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Updates of the parameters of rooms.

    The loss is a sum over rows, and the optimiser must treat every number by itself (as Adam does): a row
    gets what it would get alone, up to rounding.

    Args:
        render: Responses `[rows, S, L]` from the parameters of the optimiser.
        project: Takes these parameters back to the feasible set, after each update.
        optimiser: With its state.
        x0: What enters the rooms `[rows, S, T]`.
        y: Observation `[rows, 1, T]`.
        weight: Inverse variance of the bins `[rows, F, N]`, see `comparison`.
        n_updates: Updates.
        stft: Of the loss; windows of 512 samples and hops of 128 by default.
        after: What happens behind the rooms, differentiable.
        perturb: Random changes of responses; the loss then also has the distance of the compressed responses
            to the changed ones, `PERTURBATION` times, mean over frames: gradients of a noisy search, as in
            the code of BUDDy.

    Returns:
        The loss before each update, `[n_updates, rows]`.
    """
    # The Trainer predicts in inference mode; clones made outside of it can be differentiated.
    with torch.inference_mode(False), torch.enable_grad():
        x0, y = x0.detach().clone(), y.detach().clone()
        weight = None if weight is None else weight.detach().clone()
        transform = (STFT() if stft is None else stft).to(y.device)
        target = transform(y[:, 0])
        compare = comparison(target, weight)
        convolved: Callable[[Tensor], Tensor] | None = None
        losses = []
        for _ in range(n_updates):
            response = render()
            if convolved is None:
                convolved = convolution_of(x0, response.shape[-1])
            heard = convolved(response).sum(1, keepdim=True)
            loss = compare(transform((heard if after is None else after(heard))[:, 0]))
            total = loss if perturb is None else loss + _nearness(response, perturb, transform, target)
            optimiser.zero_grad(set_to_none=True)
            total.sum().backward()
            optimiser.step()
            project()
            losses.append(loss.detach())
    return torch.stack(losses) if losses else y.new_zeros(0, y.shape[0])


def _nearness(
    response: Tensor, perturb: Callable[[Tensor], Tensor], transform: STFT, target: Tensor
) -> Tensor:
    """Distance of responses to perturbed ones, in the unit of the loss of a recording, `[rows]`."""
    changed = transform((response + perturb(response)).detach())
    floor = relative_floor(changed)
    apart = power(compress(changed, EXPONENT, floor) - compress(transform(response), EXPONENT, floor))
    recorded = compress(target, EXPONENT, relative_floor(target))
    return PERTURBATION * apart.sum(-2).mean(-1).sum(-1) / (power(recorded).sum(-2).mean(-1) + 1e-30)


def comparison(target: Tensor, weight: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """The loss of an estimate relative to the observation, so that it does not depend on the level.

    Without weights `sum |C(Y) - C(Y_hat)|^2 / sum |C(Y)|^2` with `C(Y) = |Y|^(2/3) exp(j arg Y)`, the loss of
    BUDDy (arXiv 2405.04272); with them `sum |Y - Y_hat|^2 weight / sum |Y|^2 weight`.

    Args:
        target: Y, complex `[rows, F, N]`.
        weight: Inverse variance of its bins `[rows, F, N]`.

    Returns:
        A function of Y_hat `[rows, F, N]` that gives the loss `[rows]`.
    """
    floor = relative_floor(target)

    def compressed_or_whole(spectrum: Tensor) -> Tensor:
        return spectrum if weight is not None else compress(spectrum, EXPONENT, floor)

    def sized(spectrum: Tensor) -> Tensor:
        size = power(spectrum)
        return (size if weight is None else size * weight).sum((-2, -1))

    compressed = compressed_or_whole(target)
    whole = sized(compressed) + 1e-30

    def compare(estimate: Tensor) -> Tensor:
        return sized(compressed - compressed_or_whole(estimate)) / whole

    return compare
