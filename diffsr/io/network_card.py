"""The card of a small network: what it is, its numbers, how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn


def network_card(
    title: str, what: Sequence[str], model: nn.Module, rate_hz: int, facts: Mapping[str, str]
) -> str:
    """Markdown for the `README.md` of a folder.

    Args:
        title: Of the card.
        what: Lines that say what it does.
        model: The network, whose parameters are counted.
        rate_hz: Its sampling rate.
        facts: More rows of the table, title -> text.
    """
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    table = {"Parameters": f"{n_parameters / 1e6:.2f} M", "Sampling rate": f"{rate_hz} Hz", **facts}
    return "\n".join(
        [
            f"# {title}",
            "",
            *what,
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {name} | {text} |" for name, text in table.items()),
            "",
            "The licence of the training speech decides how these weights may be used.",
            "",
        ]
    )
