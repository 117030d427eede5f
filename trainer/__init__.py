"""Pretraining, export and benchmarks of the ECHO encoder."""
