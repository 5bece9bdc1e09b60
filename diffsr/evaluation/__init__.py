"""Scores of restored speech against clean references: `metrics`, `evaluate` (files, folders), `tables`."""
