"""Score restored files against clean references, with the noisy inputs beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from diffsr.errors import ConfigError, DataError, DiffsrError
from diffsr.evaluation.item import Item, score_item, score_waves
from diffsr.evaluation.metrics import DEFAULT_METRICS, default_metrics, select_metrics
from diffsr.evaluation.pairing import LENGTH_TOLERANCE_S, Pair, pair_files
from diffsr.evaluation.results import Evaluation
from diffsr.evaluation.row import Row
from diffsr.io.audio import read_audio

__all__ = ["Evaluation", "Row", "evaluate", "score_files"]


def evaluate(
    est: str | Path,
    ref: str | Path | None,
    inputs: str | Path | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    metrics: Sequence[str] | None = None,
    talkers: Sequence[str] | None = None,
) -> Evaluation:
    """Score a file or a folder of estimates.

    Files of folders are matched by their relative path without suffix; where both folders hold s1, s2 ... or
    files `a.talker1.wav` ... these are talkers, each is scored against the reference that suits it best. An
    item that cannot be scored (unreadable, other rate, channels or length) is listed and does not stop the
    others. An interrupt (Ctrl-C) ends the scoring; what was scored before is returned, and the rest listed as
    failed.

    Args:
        est: Estimates: a file or a folder.
        ref: Clean references: the same kind; None where no metric needs them.
        inputs: Noisy inputs: the same kind, to score beside the estimates.
        on_progress: Called after every item with the number done, the number of all, and the id.
        metrics: Names of `diffsr.evaluation.metrics.METRICS`, and of `TALKER_METRICS` for several talkers;
            None for the default ones.
        talkers: Names of the sub-folders of the talkers, or `talker1` ... of their files; None to look for
            them.

    Returns:
        Scores, failures and unmatched files.

    Raises:
        AudioError: A single file cannot be read.
        ConfigError: A metric is unknown, needs a reference, several talkers, or a package that is missing.
        DataError: Nothing matches, nothing could be scored, or the files of a single item do not fit.
    """
    _check_metrics(DEFAULT_METRICS if metrics is None else metrics, ref)
    pairing = pair_files(est, est if ref is None else ref, inputs, talkers)
    n_talkers = len(pairing.pairs[0].ref)
    metrics = default_metrics(n_talkers) if metrics is None else metrics
    select_metrics(metrics, n_talkers)  # complain once, not for every item
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for done, pair in enumerate(pairing.pairs, start=1):
        try:
            rows.append(score_files(pair, metrics))
        except DiffsrError as error:
            if Path(est).is_file():
                raise
            failed[pair.id] = str(error)
        except KeyboardInterrupt:
            if not rows:
                raise
            failed |= {left.id: "interrupted before it was scored" for left in pairing.pairs[done - 1 :]}
            break
        if on_progress is not None:
            on_progress(done, len(pairing.pairs), pair.id)
    if not rows:
        first = next(iter(failed))
        raise DataError(
            f"None of the {len(failed)} items could be scored. The first, {first}: {failed[first]}"
        )
    unmatched = {role: ids for role, ids in pairing.unmatched.items() if role != "ref" or ref is not None}
    return Evaluation(rows, failed, unmatched)


def score_files(pair: Pair, metrics: Sequence[str] = DEFAULT_METRICS) -> Row:
    """Read and score the files of one item.

    One talker may have several channels: scores are means over them. Of several talkers the first channel
    of each file is scored, which a note says.

    Raises:
        AudioError: A file cannot be read.
        DataError: Rate, channels or length do not fit.
    """
    ref, info = read_audio(pair.ref[0])
    one_channel = len(pair.ref) > 1
    roles = {
        "reference": pair.ref,
        "estimate": pair.est,
        "input": () if pair.input is None else (pair.input,),
    }
    waves = {
        role: [_read_like(path, pair.ref[0], ref, info.rate_hz, one_channel) for path in paths]
        for role, paths in roles.items()
    }
    lengths = {role: {wave.shape[-1] for wave in found} for role, found in waves.items() if found}
    n_samples = min(min(found) for found in lengths.values())
    notes = [
        f"{role} cut by {max(found) - n_samples} samples"
        for role, found in lengths.items()
        if max(found) > n_samples
    ]
    if one_channel:
        notes += [
            f"{role}: channel 1 of {most}"
            for role, found in waves.items()
            if (most := max((wave.shape[0] for wave in found), default=1)) > 1
        ]
        waves = {role: [wave[:1] for wave in found] for role, found in waves.items()}
    stacked = {
        role: torch.cat([wave[:, :n_samples] for wave in found]) for role, found in waves.items() if found
    }
    item = Item(pair.id, notes=tuple(notes))
    estimate, reference, before = stacked["estimate"], stacked["reference"], stacked.get("input")
    if len(pair.ref) == 1:
        return score_waves(estimate, reference, info.rate_hz, before, metrics, item)
    return score_item(estimate, reference, info.rate_hz, None if before is None else before[0], metrics, item)


def _check_metrics(metrics: Sequence[str], ref: str | Path | None) -> None:
    several = 2  # how many there are is not known before the files are
    needy = [metric.name for metric in select_metrics(metrics, several) if metric.needs_reference]
    if ref is None and needy:
        raise ConfigError(
            f"No clean references are given, but {', '.join(needy)} cannot do without. Give them, or "
            "choose metrics that need none, such as --metrics dnsmos_ovrl,dnsmos_p808."
        )


def _read_like(path: Path, ref_path: Path, ref: Tensor, rate_hz: int, one_channel: bool) -> Tensor:
    """Samples [C, T] of a file that fits the reference; any number of channels where one is scored."""
    wave, info = read_audio(path)
    if info.rate_hz != rate_hz:
        raise DataError(
            f"{path} has {info.rate_hz} Hz and {ref_path} has {rate_hz} Hz, expected the same rate. "
            "Convert one of them."
        )
    if wave.shape[0] != ref.shape[0] and not one_channel:
        raise DataError(
            f"{path} has {_channels(wave)} and {ref_path} has {_channels(ref)}, expected the same number. "
            "Choose the channel to score and write it to a file of its own."
        )
    if abs(wave.shape[-1] - ref.shape[-1]) >= LENGTH_TOLERANCE_S * rate_hz:
        length_s, ref_length_s = wave.shape[-1] / rate_hz, ref.shape[-1] / rate_hz
        raise DataError(
            f"{path} lasts {length_s:.3f} s and {ref_path} lasts {ref_length_s:.3f} s, expected the same "
            f"length (up to {LENGTH_TOLERANCE_S} s). Cut both to the same part of the recording."
        )
    return wave


def _channels(wave: Tensor) -> str:
    return "1 channel" if wave.shape[0] == 1 else f"{wave.shape[0]} channels"
