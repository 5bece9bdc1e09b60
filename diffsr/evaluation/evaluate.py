"""Score restored files against clean references, with the noisy inputs beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from diffsr.errors import DataError, DiffsrError
from diffsr.evaluation.metrics import remarks, score_pair
from diffsr.evaluation.pairing import Pair, pair_files
from diffsr.evaluation.results import Evaluation, Row
from diffsr.io.audio import read_audio

__all__ = ["Evaluation", "Row", "evaluate", "score_files"]

LENGTH_TOLERANCE_S = 0.05
"""Files of one item may differ in length by less than this; the longer is cut at its end."""


def evaluate(
    est: str | Path,
    ref: str | Path,
    inputs: str | Path | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Score a file or a folder of estimates.

    Files of folders are matched by their relative path without suffix. An item that cannot be scored
    (unreadable, other rate, channels or length) is listed and does not stop the others.

    Args:
        est: Estimates: a file or a folder.
        ref: Clean references: the same kind.
        inputs: Noisy inputs: the same kind, to score beside the estimates.
        on_progress: Called after every item with the number done, the number of all, and the id.

    Returns:
        Scores, failures and unmatched files.

    Raises:
        AudioError: A single file cannot be read.
        DataError: Nothing matches, nothing could be scored, or the files of a single item do not fit.
    """
    pairing = pair_files(est, ref, inputs)
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for done, pair in enumerate(pairing.pairs, start=1):
        try:
            rows.append(score_files(pair))
        except DiffsrError as error:
            if Path(est).is_file():
                raise
            failed[pair.id] = str(error)
        if on_progress is not None:
            on_progress(done, len(pairing.pairs), pair.id)
    if not rows:
        first = next(iter(failed))
        raise DataError(
            f"None of the {len(failed)} items could be scored. The first, {first}: {failed[first]}"
        )
    return Evaluation(rows, failed, pairing.unmatched)


def score_files(pair: Pair) -> Row:
    """Read and score the files of one item.

    Raises:
        AudioError: A file cannot be read.
        DataError: Rate, channels or length do not fit.
    """
    ref, info = read_audio(pair.ref)
    waves = {"estimate": _read_like(pair.est, pair.ref, ref, info.rate_hz)}
    if pair.input is not None:
        waves["input"] = _read_like(pair.input, pair.ref, ref, info.rate_hz)
    n_samples = min(wave.shape[-1] for wave in (ref, *waves.values()))
    lengths = {name: wave.shape[-1] for name, wave in (("reference", ref), *waves.items())}
    notes = [f"{name} cut by {n - n_samples} samples" for name, n in lengths.items() if n > n_samples]
    scores = {
        name: score_pair(wave[:, :n_samples], ref[:, :n_samples], info.rate_hz)
        for name, wave in waves.items()
    }
    return Row(
        id=pair.id,
        duration_s=n_samples / info.rate_hz,
        output=scores["estimate"],
        input=scores.get("input", {}),
        notes=(*notes, *remarks(n_samples, info.rate_hz)),
    )


def _read_like(path: Path, ref_path: Path, ref: Tensor, rate_hz: int) -> Tensor:
    """Samples [C, T] of a file that fits the reference."""
    wave, info = read_audio(path)
    if info.rate_hz != rate_hz:
        raise DataError(
            f"{path} has {info.rate_hz} Hz and {ref_path} has {rate_hz} Hz, expected the same rate. "
            "Convert one of them."
        )
    if wave.shape[0] != ref.shape[0]:
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
