"""Inference: the model catalogue, execution providers, sessions, and reading networks' answers."""
