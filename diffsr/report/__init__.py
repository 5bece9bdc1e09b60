"""Results for the eye: `pictures` draws spectrograms. matplotlib is imported on first use."""
