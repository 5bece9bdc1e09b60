"""Manifest builders: each turns a corpus as it lies on disk into a jsonl that `DATA=` takes."""
