"""Equal error rates of a speaker encoder on unseen talkers, within each corpus.

    python benchmarks/speaker_verification.py MANIFEST [--encoder E] [--prior PRIOR] [--against OTHER]

Trials are all pairs of crops of one corpus; both crops of a pair are disturbed independently of each other.
Beside the encoder stand two trivial systems: the cosine of the mean and standard deviation over time of
log-mel features, ordinary and relative ones, centred on their mean over the crops. Intervals (95 %) are over
talkers. `other clean` has the second crop of each trial as it is. With --against a table of differences to
another encoder follows, in percent points.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data_modules.corpus import decode
from diffsr.diffusion import Prior
from diffsr.io.manifest import read_manifest
from diffsr.signal.levels import active_rms, from_db, rms
from diffsr.speakers import SpeakerEncoder
from diffsr.speakers.augmentation import colour
from diffsr.speakers.features import RelativeLogMel
from diffsr.speakers.verification import Trials, interval_of, trials

LEVEL = 0.05
MIN_TALKERS = 8
"""Corpora with fewer talkers have no column of their own."""
BATCH = 32

Condition = Callable[[Tensor, torch.Generator], Tensor]
System = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Crops:
    """`wave [N, T]` at an active-speech RMS of 0.05, with the talker and the corpus of each."""

    wave: Tensor
    talkers: list[str]
    corpora: list[str]


def cut(manifest: str, rate_hz: int, length_s: float, per_talker: int) -> Crops:
    """At most `per_talker` crops of each talker, spread evenly over what it says."""
    n_samples = round(length_s * rate_hz)
    found: defaultdict[tuple[str, str], list[Tensor]] = defaultdict(list)
    for row in read_manifest(manifest):
        if row.speaker is None:
            continue
        speech = decode(row, rate_hz)
        wave = speech.samples.float() * speech.scale
        if len(wave) < n_samples:
            continue
        pieces = wave[: len(wave) // n_samples * n_samples].view(-1, n_samples)
        spoken = pieces[active_rms(pieces, rate_hz) > from_db(-12.0)]
        found[row.speaker, row.corpus or ""] += list(LEVEL * spoken)
    kept = {
        who: [
            pieces[int(i)] for i in torch.linspace(0, len(pieces) - 1, min(per_talker, len(pieces))).round()
        ]
        for who, pieces in found.items()
        if pieces
    }
    names = [who for who, pieces in kept.items() for _ in pieces]
    waves = torch.stack([piece for pieces in kept.values() for piece in pieces])
    return Crops(waves, [name for name, _ in names], [corpus for _, corpus in names])


def conditions(rate_hz: int, prior: Prior | None) -> dict[str, Condition]:
    """What both crops of a trial go through."""
    found: dict[str, Condition] = {
        "clean": lambda wave, rng: wave,
        "equalised": lambda wave, rng: colour(wave, rate_hz, 6.0, 0.3, rng),
        "white noise, 10 dB": lambda wave, rng: wave + noise(wave, rng) * rms(wave)[:, None] * from_db(-10.0),
        "white noise, 0 dB": lambda wave, rng: wave + noise(wave, rng) * rms(wave)[:, None],
    }
    if prior is not None:
        for sigma in (0.02, 0.05, 0.2, 0.5):
            found[f"denoised, sigma {sigma:g}"] = denoised(prior, sigma)
    return found


def noise(wave: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(wave.shape, generator=rng)


def denoised(prior: Prior, sigma: float) -> Condition:
    """The estimate of the prior in one call from a state at this noise level."""

    def condition(wave: Tensor, rng: torch.Generator) -> Tensor:
        states = (wave + sigma * noise(wave, rng)).split(BATCH)
        return torch.cat([prior.denoise(z, torch.full((len(z),), sigma)) for z in states])

    return condition


def statistics(features: Callable[[Tensor], Tensor], clean: Tensor) -> System:
    """Mean and standard deviation over time, centred on those of the clean crops."""

    def summary(wave: Tensor) -> Tensor:
        frames = features(wave)
        return torch.cat([frames.mean(-1), frames.std(-1)], dim=-1)

    centre = summary(clean).mean(0)
    return lambda wave: F.normalize(summary(wave) - centre, dim=-1)


def systems(encoder: SpeakerEncoder, clean: Tensor) -> dict[str, System]:
    relative: RelativeLogMel = encoder.features

    def ordinary(wave: Tensor) -> Tensor:
        power = relative.filters @ relative.stft(wave / rms(wave)[:, None]).abs().square()
        return (power + 1e-6).log()

    return {
        "encoder": encoder,
        "log-mel": statistics(ordinary, clean),
        "relative log-mel": statistics(relative, clean),
    }


def run(system: System, crops: Crops, pair: Sequence[Tensor]) -> Trials:
    first, second = (torch.cat([system(part) for part in side.split(BATCH)]) for side in pair)
    return trials(first, second, crops.talkers, crops.corpora)


def by_corpus(system: System, crops: Crops, pair: Sequence[Tensor]) -> dict[str, float]:
    errors = {}
    for corpus in sorted(set(crops.corpora)):
        rows = [i for i, name in enumerate(crops.corpora) if name == corpus]
        part = Crops(crops.wave[rows], [crops.talkers[i] for i in rows], [corpus] * len(rows))
        if len(set(part.talkers)) >= MIN_TALKERS:
            errors[corpus] = run(system, part, [side[rows] for side in pair]).error
    return errors


def difference(system: System, other: System, crops: Crops, pair: Sequence[Tensor]) -> str:
    """Error of one system less that of another on the same trials, with its interval over talkers."""
    own, its = (run(one, crops, pair) for one in (system, other))
    low, high = interval_of(own.drawn_errors() - its.drawn_errors())
    return f"{100 * (own.error - its.error):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", help="labelled speech of talkers that no encoder was trained on")
    parser.add_argument("--encoder", default="speaker-16k")
    parser.add_argument("--against", metavar="ENCODER", help="compares this one with it")
    parser.add_argument("--prior", help="adds denoised estimates of this prior")
    parser.add_argument("--lengths", type=float, nargs="+", default=[2.0, 4.0], metavar="SECONDS")
    parser.add_argument("--per-talker", type=int, default=6)
    options = parser.parse_args()
    encoder = SpeakerEncoder.from_pretrained(options.encoder)
    other = (
        None if options.against is None else SpeakerEncoder.from_pretrained(options.against, encoder.rate_hz)
    )
    prior = None if options.prior is None else Prior.from_pretrained(options.prior)
    for length_s in options.lengths:
        crops = cut(options.manifest, encoder.rate_hz, length_s, options.per_talker)
        pairs = {
            name: [condition(crops.wave, torch.Generator().manual_seed(seed)) for seed in (1, 2)]
            for name, condition in conditions(encoder.rate_hz, prior).items()
        }
        as_is = run(encoder, crops, pairs["clean"])
        n_same = int((as_is.first == as_is.second).sum())
        print(
            f"\n{length_s:g} s: {len(crops.wave)} crops of {len(set(crops.talkers))} talkers, {n_same} "
            f"trials of one talker and {len(as_is.score) - n_same} of two, EER in %\n"
        )
        print_errors(encoder, crops, pairs)
        if other is not None:
            print(f"\nAgainst {options.against}, points (95 %)\n")
            print_differences(encoder, other, crops, pairs)


def print_errors(encoder: SpeakerEncoder, crops: Crops, pairs: dict[str, list[Tensor]]) -> None:
    known = systems(encoder, crops.wave)
    corpora = list(by_corpus(encoder, crops, pairs["clean"]))
    print_row("condition", "encoder", "(95 %)", "other clean", *corpora, *list(known)[1:])
    print_row(*["---"] * (3 + len(corpora) + len(known)))
    for name, pair in pairs.items():
        found = {system: run(known[system], crops, pair) for system in known}
        low, high = found["encoder"].interval()
        errors = [
            run(encoder, crops, [pair[0], crops.wave]).error,
            *by_corpus(encoder, crops, pair).values(),
            *(found[system].error for system in list(known)[1:]),
        ]
        interval = f"{percent(low)}-{percent(high)}"
        print_row(name, percent(found["encoder"].error), interval, *(percent(error) for error in errors))


def print_differences(
    encoder: SpeakerEncoder, other: SpeakerEncoder, crops: Crops, pairs: dict[str, list[Tensor]]
) -> None:
    print_row("condition", "both", "other clean")
    print_row("---", "---", "---")
    for name, pair in pairs.items():
        trials = (pair, [pair[0], crops.wave])
        print_row(name, *(difference(encoder, other, crops, sides) for sides in trials))


def print_row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
