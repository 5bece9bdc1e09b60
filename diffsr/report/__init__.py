"""Results for the eye: `pictures` draws spectrograms, `scene` a whole scene. matplotlib is imported on first use."""
