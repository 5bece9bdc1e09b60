"""The corpora whose folders are known, by their word on the command line."""

from __future__ import annotations

from diffsr.prepare import cmu_arctic, dns, ears, librispeech, vctk, wham, whamr, wsj0
from diffsr.prepare.corpus import Corpus

CORPORA: dict[str, Corpus] = {
    module.CORPUS.name: module.CORPUS
    for module in (librispeech, vctk, wsj0, wham, whamr, ears, dns, cmu_arctic)
}
