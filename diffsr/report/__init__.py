"""Results for the eye: spectrograms (`pictures`) and whole scenes (`scene`)."""
