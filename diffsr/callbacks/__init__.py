"""Callbacks of the training runs: progress, provenance, averaged weights and the last checkpoint."""

from diffsr.callbacks.averaging import AveragedWeights
from diffsr.callbacks.checkpoint import AtomicCheckpoints, LastCheckpoint
from diffsr.callbacks.progress import TrainingProgress
from diffsr.callbacks.provenance import RunConfig

__all__ = ["AtomicCheckpoints", "AveragedWeights", "LastCheckpoint", "RunConfig", "TrainingProgress"]
