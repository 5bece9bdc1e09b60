"""The command line: `diffsr VERB ...`. Verbs are imported when they are used, so that help is instant."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import diffsr
from diffsr.errors import DiffsrError

LIGHTNING = {
    "fit": "train a speech prior:           diffsr fit --config experiments/prior/starter.yaml",
    "validate": "score a prior on speech:        diffsr validate --prior PRIOR --data MANIFEST",
    "test": "run an experiment's test:       diffsr test --config FILE",
    "predict": "restore by an experiment file:  diffsr predict --config experiments/enhance/default.yaml ...",
}
PLAIN = {
    "restore": "restore a file or a folder:     diffsr restore IN OUT --task enhance --prior PATH",
    "sample": "speech out of nothing:          diffsr sample PRIOR OUT",
    "prepare": "list a corpus in a manifest:    diffsr prepare librispeech DIR",
    "evaluate": "score recordings:               diffsr evaluate RESTORED CLEAN --input NOISY",
    "benchmark": "run and score the benchmark:    diffsr benchmark run --track joint --data DIR --system wpe",
    "report": "a picture of a scene, a page:   diffsr report listen RESTORED --input NOISY",
    "export": "checkpoint to prior folder:     diffsr export LAST.ckpt PRIOR",
    "doctor": "check this installation:        diffsr doctor",
}
INTERRUPTED, BROKEN_PIPE = 130, 141
RESTORING = ("restore", "predict", "benchmark")
CONTINUING = ("fit", "predict", "restore", "sample", "benchmark")
"""What was stopped goes on when the same command is given again; so it does with `validate --output`
and `prepare` but for `STARTING_OVER`."""
STARTING_OVER = ("checkpoint", "calibration")
CACHES = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""Environment of PyTorch on CPUs for `RESTORING`, read at the first product of matrices: how many are kept
compiled. By default that is a thousand of each, 0.6 MB for every shape in bfloat16, and recordings of other
lengths have other shapes. A training has more than 64 shapes, the same ones at every step."""
PATIENCE = "10000"
"""GOMP_SPINCOUNT, how long a thread that is done waits awake for the others (OpenMP of PyTorch, read when it
is loaded). The default of 300,000 lets them take the core from a thread still at work where another process
is busy, too: up to 30 times the time, here 4 times, for 3 % of it on an idle machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: Without the program's name; `sys.argv[1:]` when None.

    Returns:
        The exit code: 0 done, 2 something the user can put right (one message on stderr), 130 Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _set_up(arguments[0] if arguments else "")
    try:
        return _dispatch(arguments)
    except DiffsrError as error:
        print(f"diffsr: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"\ndiffsr: stopped. What was written is kept{_way_on(arguments)}.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left (`diffsr ... | head`)
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _set_up(verb: str) -> None:
    """Environment of the libraries, before they are loaded; what the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", PATIENCE)
    if verb in RESTORING:
        for name, size in CACHES.items():
            os.environ.setdefault(name, size)


def _dispatch(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else "--help"
    with contextlib.suppress(OSError):  # a folder that is no more
        if "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # for own classes in YAML files, as `python -m diffsr` has it
    if verb in ("-h", "--help", "help"):
        print(_help())
        return 0
    if verb in ("-V", "--version"):
        print(f"diffsr {diffsr.__version__}")
        return 0
    if verb in PLAIN or (verb == "validate" and not _names_experiment(arguments)):
        return _plain(verb, arguments[1:])
    if verb in LIGHTNING:
        from diffsr.commands import lightning

        return lightning.run(verb, arguments[1:])
    near = difflib.get_close_matches(verb, [*LIGHTNING, *PLAIN], n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"The verbs are {', '.join([*LIGHTNING, *PLAIN])}."
    raise DiffsrError(f"unknown verb {verb!r}. {hint} See `diffsr --help`.")


def _way_on(arguments: list[str]) -> str:
    """How a command that was stopped continues; nothing where it starts from the beginning."""
    verb, *options = arguments or [""]
    names = [word.partition("=")[0] for word in options]
    if verb == "prepare":
        continues = not {*names[:1]} & {*STARTING_OVER}
    else:
        continues = verb in CONTINUING or (verb == "validate" and "--output" in names)
    if not continues:
        return ""
    for name in names:
        if name.startswith("--ov") or name.endswith(".overwrite"):  # argparse takes abbreviations
            return f"; the same command without {name} continues, with it starts over"
    return "; the same command again continues"


def _names_experiment(arguments: list[str]) -> bool:
    """Whether there is an experiment file; `validate` scores a plain prior folder where there is none."""
    return any(word.split("=")[0] in ("--config", "-c") for word in arguments)


def _plain(verb: str, arguments: list[str]) -> int:
    """A verb that is no business of Lightning's: `diffsr/commands/<verb>.py`."""
    from diffsr.commands.terminal import Parser

    command = importlib.import_module(f"diffsr.commands.{verb}")
    parser = Parser(prog=f"diffsr {verb}", description=(command.__doc__ or "").partition("\n")[0])
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(arguments)))


def _help() -> str:
    def lines(verbs: dict[str, str]) -> str:
        return "\n".join(f"  {verb:10s}{text}" for verb, text in verbs.items())

    return (
        "diffsr: unsupervised speech restoration with one diffusion prior of clean speech\n\n"
        "usage: diffsr VERB [options]        (diffsr VERB --help shows the options)\n\n"
        f"recordings\n{lines(PLAIN)}\n\n"
        "experiments (YAML files; options are spelled as their keys, --trainer.max_steps=100)\n"
        f"{lines(LIGHTNING)}"
    )


if __name__ == "__main__":
    sys.exit(main())
