"""Encoders: signals in, one vector a channel out."""
