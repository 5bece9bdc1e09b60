"""Callbacks of the training runs: progress, provenance, averaged weights, checkpoints, and what comes out."""

from diffsr.callbacks.averaging import AveragedWeights
from diffsr.callbacks.checkpoint import AtomicCheckpoints, LastCheckpoint
from diffsr.callbacks.export import PriorExport
from diffsr.callbacks.listening import PriorSamples
from diffsr.callbacks.pieces import PieceExport, PieceTimer
from diffsr.callbacks.progress import TrainingProgress
from diffsr.callbacks.provenance import RunConfig

__all__ = [
    "AtomicCheckpoints",
    "AveragedWeights",
    "LastCheckpoint",
    "PieceExport",
    "PieceTimer",
    "PriorExport",
    "PriorSamples",
    "RunConfig",
    "TrainingProgress",
]
