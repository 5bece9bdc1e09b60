"""WHAMR!-style scenes: talkers in a room with noise, each a pure function of (corpora, seed, index)."""
