"""What a prior gains by being told whose voice to expect, for one or several speaker encoders.

    python benchmarks/told_talkers.py PRIOR SPEECH [--encoders speaker-16k OTHER ...] [--sigma 0.2]

SPEECH is a manifest or folder of labelled speech that the prior has not heard. Each crop has a reference,
another passage of its talker, whose embedding is the condition; the same noise for all. The loss is that of
training. `gain` is by how much the right voice lowers it, or that of another talker of the list, with the
standard error of the paired differences over talkers. With --sigma the encoders hear the prior's estimates of
the references out of noise of this level, as in a search. Last, how near embeddings are to those that the
first encoder gives of clean references.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from data_modules import CleanSpeech
from diffsr.api import load_prior
from diffsr.diffusion import Prior
from diffsr.diffusion.loss import denoising_loss
from diffsr.speakers import SpeakerEncoder

LEVELS = (0.03, 0.1, 0.3, 1.0, 3.0)


@torch.no_grad()
def losses(prior: Prior, waves: Tensor, voices: Tensor | None) -> Tensor:
    """Loss of each crop `[N, T]` at each level, `[N, L]`, told these voices `[N, E]`, or nobody."""
    rows = []
    for seed, wave in enumerate(waves):
        told = None if voices is None else voices[seed].expand(len(LEVELS), -1)
        rng = torch.Generator().manual_seed(seed)
        many = wave.expand(len(LEVELS), -1)
        rows.append(denoising_loss(prior, many, torch.tensor(LEVELS), rng, told))
    return torch.stack(rows)


@torch.no_grad()
def estimates(prior: Prior, waves: Tensor, sigma: float) -> Tensor:
    """One call each out of noise of this level, `[N, T]`."""
    rng = torch.Generator().manual_seed(0)
    noisy = waves + sigma * torch.randn(waves.shape, generator=rng)
    return torch.cat([prior.denoise(z, torch.full((len(z),), sigma)) for z in noisy.split(8)])


def another(talkers: list[int]) -> list[int]:
    """For each crop the next one of another talker."""
    if len(set(talkers)) < 2:
        raise SystemExit("The speech has no crops of two labelled talkers who say more than one crop each.")
    places = range(len(talkers))
    return [next(k for j in places if talkers[k := (i + j) % len(talkers)] != talkers[i]) for i in places]


def standard_error(gain: Tensor, talkers: list[int]) -> Tensor:
    """Of the mean over crops `[N, L]`, which are independent from talker to talker."""
    centred = gain - gain.mean(0)
    sums = torch.stack([centred[torch.tensor(talkers) == talker].sum(0) for talker in sorted(set(talkers))])
    return sums.square().sum(0).sqrt() / len(gain)


def row(name: str, values: Tensor, digits: int) -> str:
    return "| " + " | ".join([name, *(f"{float(value):.{digits}f}" for value in values)]) + " |"


def crops_of(options: argparse.Namespace, prior: Prior) -> tuple[Tensor, Tensor, Tensor]:
    """Crops `[N, T]`, a reference of each `[N, T]`, and numbers of their talkers `[N]`."""
    speech = CleanSpeech(
        valid=options.speech,
        rate_hz=prior.rate_hz,
        crop_s=options.crop_s,
        reference_s=options.crop_s,
        n_valid_crops=options.count,
        batch_size=options.count,
    )
    speech.setup()
    [batch] = speech.val_dataloader()
    has_reference = batch["reference"].any(-1)
    wave, reference, talker = (batch[name][has_reference] for name in ("wave", "reference", "speaker"))
    return wave, reference, talker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("prior")
    parser.add_argument("speech")
    parser.add_argument("--encoders", nargs="+", default=["speaker-16k"])
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--crop_s", type=float, default=4.096)
    parser.add_argument("--sigma", type=float, help="encoders hear estimates out of noise of this level")
    options = parser.parse_args()
    prior = load_prior(options.prior)
    waves, references, talkers = crops_of(options, prior)
    order = another(talkers.tolist())
    plain = losses(prior, waves, None)
    print(f"{len(waves)} crops\n")
    print("| told | " + " | ".join(f"sigma {level:g}" for level in LEVELS) + " |")
    print("| --- " * (len(LEVELS) + 1) + "|")
    print(row("nobody", plain.mean(0), 4))
    heard = references if options.sigma is None else estimates(prior, references, options.sigma)
    first: Tensor | None = None
    for name in options.encoders:
        encoder = SpeakerEncoder.from_pretrained(name, prior.rate_hz)
        with torch.no_grad():
            voices, first = encoder(heard), encoder(references) if first is None else first
        for what, told in (("the talker", voices), ("another", voices[order])):
            loss = losses(prior, waves, told)
            gain = plain - loss
            print(row(f"{what}, {name}", loss.mean(0), 4))
            print(row("gain", gain.mean(0), 5))
            print(row("standard error", standard_error(gain, talkers.tolist()), 5), flush=True)
        print(f"| cosine with the first encoder {float((voices * first).sum(-1).mean()):.3f} |")


if __name__ == "__main__":
    main()
