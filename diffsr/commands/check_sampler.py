"""`diffsr doctor --sampler FILE`: mean and spread of a sampler against posteriors that are known exactly."""

from __future__ import annotations

from pathlib import Path

from diffsr.commands.terminal import say
from diffsr.recipe_file import load_sampler
from diffsr.samplers import AnnealedSampler
from diffsr.samplers.oracle import ORACLES, TOLERANCE, Moments, check_sampler

STARTS = {"exact": True, "recording": False}
COLUMNS = f"{'prior':10s}{'start':11s}{'mean exact':>10s}{'found':>9s}{'error':>8s}" + (
    f"{'sd exact':>11s}{'found':>9s}{'error':>8s}{'calls':>7s}{'seconds':>9s}  verdict"
)

NOTES = (
    "Errors are those of the half of the spectrum where they are larger. From the recording, as a\n"
    "restoration starts, the error of the start is added: it falls with a larger sigma_max. Too few levels\n"
    "make the spread too narrow. A biased sampler may still score best on speech; its samples do not tell\n"
    "how sure a restoration is."
)


def report(path: Path) -> None:
    """Print one line for each problem and start.

    Raises:
        ConfigError: The file holds no sampler.
        DiffsrError: The sampler diverged.
    """
    sampler = load_sampler(path)
    say(f"{path}: {_describe(sampler)}\n")
    say(COLUMNS)
    exact = []
    for name, oracle in ORACLES.items():
        for start, exact_start in STARTS.items():
            found = check_sampler(sampler, oracle(), exact_start=exact_start)
            say(_line(name, start, found))
            if exact_start:
                exact.append(found.is_exact)
    verdict = "exact: guidance and solver" if all(exact) else "biased: guidance and solver do not"
    say(
        f"\n{verdict} reproduce the posterior of Gaussian priors within {TOLERANCE:.0%} (exact start).\n"
        f"{NOTES}"
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
