"""Pure functions on waveforms and spectra: no state, no learning, no files."""
