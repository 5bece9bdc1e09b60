"""`diffsr doctor --sampler FILE`: mean and spread of a sampler against posteriors that are known exactly."""

from __future__ import annotations

from pathlib import Path

from diffsr.commands.terminal import say
from diffsr.experiment_file import talkers_of
from diffsr.recipe_file import load_sampler
from diffsr.samplers import AnnealedSampler
from diffsr.samplers.oracle import ORACLES, TALKERS_ORACLES, TOLERANCE, Moments, check_sampler

COLUMNS = f"{'prior':10s}{'start':11s}{'mean exact':>10s}{'found':>9s}{'error':>8s}" + (
    f"{'sd exact':>11s}{'found':>9s}{'error':>8s}{'calls':>7s}{'seconds':>9s}  verdict"
)

TALKERS_NOTES = (
    "Figures are those of the first of two white talkers: as loud as the other, and 10 dB louder. M-steps\n"
    "and exchanges of tracks are left out. Less spread than the exact one is no harm where the result is\n"
    "a mean of restarts; a mean that is too even tells unequal talkers apart too little."
)
NOTES = (
    "Errors are those of the half of the spectrum where they are larger. M-steps are left out. From the\n"
    "recording, as a restoration starts, the error of the start is added: it falls with a larger sigma_max.\n"
    "Too few levels make the spread too narrow. A biased sampler may still score best on speech; its\n"
    "samples do not tell how sure a restoration is."
)


def report(path: Path) -> None:
    """Print one line for each problem and start.

    Raises:
        ConfigError: The file holds no sampler.
        DiffsrError: The sampler diverged.
    """
    sampler, for_talkers = load_sampler(path), talkers_of(path) > 1
    judge = "two talkers, as the experiment is for several" if for_talkers else "one talker in noise"
    say(f"{path}: {_describe(sampler)}; judged by {judge}\n")
    say(COLUMNS)
    exact = []
    own_start = "its own" if for_talkers else "recording"
    for name, oracle in (TALKERS_ORACLES if for_talkers else ORACLES).items():
        for start in ("exact", own_start):
            found = check_sampler(sampler, oracle(), exact_start=start == "exact")
            say(_line(name, start, found))
            if start == "exact":
                exact.append(found.is_exact)
    verdict = "exact: guidance and solver" if all(exact) else "biased: guidance and solver do not"
    say(
        f"\n{verdict} reproduce the posterior of Gaussian priors within {TOLERANCE:.0%} (exact start).\n"
        f"{TALKERS_NOTES if for_talkers else NOTES}"
    )


def _describe(sampler: AnnealedSampler) -> str:
    guidance, solver = (type(part).__name__ for part in (sampler.guidance, sampler.solver))
    levels = f"{len(sampler.sigmas) - 1} levels from {float(sampler.sigmas[0]):g}"
    above = f" above sigma {sampler.churn_above:g}" if sampler.churn and sampler.churn_above else ""
    return f"{guidance}, {solver}, {levels}, churn {sampler.churn:g}{above}"


def _line(name: str, start: str, found: Moments) -> str:
    return (
        f"{name:10s}{start:11s}{found.exact_mean:10.4f}{found.mean:9.4f}{found.mean_error:+8.1%}"
        f"{found.exact_sd:11.4f}{found.sd:9.4f}{found.sd_error:+8.1%}{found.n_calls:7d}{found.seconds:9.2f}"
        f"  {found.verdict}"
    )
