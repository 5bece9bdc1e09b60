"""The quality of a prior as a table: text, markdown, csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from diffsr.diffusion import Prior
from diffsr.diffusion.validation import GAIN, LOSS, OUTPUT
from diffsr.evaluation.tables import Summary, markdown_table, number, text_table
from diffsr.report.prior_quality import PriorQuality

TITLES = {
    OUTPUT: "output SI-SDR (dB), input {:g} dB",
    GAIN: "gain of SI-SDR (dB), input {:g} dB",
    LOSS: "loss at sigma {:g}",
}
DIGITS = {OUTPUT: 2, GAIN: 2, LOSS: 3}
LEGEND = (
    "Mean [95 % bootstrap interval over talkers]. SI-SDR: speech in white noise, one call. "
    "Loss: 1 is the best constant gain on white signals."
)
COLUMNS = (
    *("prior", "network", "data", "device", "threads", "crop_s", "n_crops", "n_talkers"),
    *("quantity", "mean", "low", "high", "n"),
)


@dataclass(frozen=True)
class PriorTable:
    """One column for each length of crops.

    Attributes:
        prior: Where the prior lies.
        network: Name of its backbone.
        rate_hz: Sampling rate.
        window_s: Longest context it was trained on.
        n_parameters: Number of weights.
        data: What it was scored on.
        device: Name of the device.
        threads: Threads of the CPU that computed; 0 on other devices.
        columns: Scores and cost.
    """

    prior: str
    network: str
    rate_hz: int
    window_s: float
    n_parameters: int
    data: str
    device: str
    threads: int
    columns: Sequence[PriorQuality]

    @classmethod
    def of(cls, prior: Prior, name: str, data: str, columns: Sequence[PriorQuality]) -> PriorTable:
        """The table of a loaded prior."""
        device = next(prior.parameters()).device
        return cls(
            prior=name,
            network=str(prior.config["network"]["name"]),
            rate_hz=prior.rate_hz,
            window_s=prior.window_s,
            n_parameters=sum(parameter.numel() for parameter in prior.parameters()),
            data=data,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            threads=torch.get_num_threads() if device.type == "cpu" else 0,
            columns=columns,
        )

    def to_text(self) -> str:
        """For the terminal."""
        return "\n".join([*self._head(), "", text_table(self._header(), self._rows()), "", LEGEND])

    def to_markdown(self) -> str:
        """For documents."""
        head = [f"* {line}" for line in self._head()]
        return "\n".join([*head, "", markdown_table(self._header(), self._rows()), "", LEGEND, ""])

    def to_csv(self) -> str:
        """One row for each quantity and length; the cells of what has no interval are empty."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for column in self.columns:
            where = (self.prior, self.network, self.data, self.device, self.threads or "")
            what = (*where, f"{column.crop_s:g}", column.n_crops, column.n_talkers)
            for name, score in column.scores.items():
                cells = [_cell(value) for value in (score.mean, score.low, score.high)]
                writer.writerow([*what, name, *cells, score.n])
            costs = vars(column.cost) | {"n_parameters": self.n_parameters}
            writer.writerows([*what, name, f"{value:.6g}", "", "", ""] for name, value in costs.items())
        return file.getvalue()

    def _head(self) -> list[str]:
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if self.threads else ""
        return [
            f"prior: {self.prior} ({self.network}, {self.n_parameters / 1e6:.2f} M parameters, "
            f"{self.rate_hz} Hz, context {self.window_s:g} s)",
            f"speech: {self.data}",
            f"computed on: {self.device}{threads}",
        ]

    def _header(self) -> list[str]:
        return ["", *(f"crops of {column.crop_s:g} s" for column in self.columns)]

    def _rows(self) -> list[list[str]]:
        rows = [["crops / talkers", *(f"{c.n_crops} / {c.n_talkers}" for c in self.columns)]]
        names = self.columns[0].scores
        for start, title in TITLES.items():
            for name in (name for name in names if name.startswith(start)):
                label = title.format(float(name.removeprefix(start).removesuffix("_db")))
                rows.append([label, *(_interval(c.scores[name], DIGITS[start]) for c in self.columns)])
        rows.append(["mean of these losses", *(_interval(c.scores["loss"], 3) for c in self.columns)])
        memory = "of the process" if self.threads else "allocated"
        costs = {
            "GFLOP per second of audio, one call": [number(c.cost.gflop_per_s, 2) for c in self.columns],
            "seconds per second of audio, one call": [number(c.cost.seconds_per_s, 4) for c in self.columns],
            f"peak memory {memory} (MiB)": [number(c.cost.peak_mib, 0) for c in self.columns],
        }
        return rows + [[title, *cells] for title, cells in costs.items()]


def _interval(score: Summary, digits: int) -> str:
    """`8.1 [7.5, 8.8]`; without the interval where one talker alone gives none."""
    low, high = number(score.low, digits), number(score.high, digits)
    mean = number(score.mean, digits)
    return mean if low == "-" else f"{mean} [{low}, {high}]"


def _cell(value: float) -> str:
    return f"{value:.6g}" if value == value else ""  # NaN is not equal to itself
