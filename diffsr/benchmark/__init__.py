"""The open benchmark: four fixed tracks, systems that run on them item by item, and their scores."""
