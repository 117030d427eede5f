"""What can be wrong with a benchmark's input; the messages name the file, the value and the mend."""

from __future__ import annotations


class SirenError(Exception):
    """The benchmark cannot go on."""


class TreeError(SirenError):
    """A data set's tree is incomplete, has what it should not, or a file in it cannot be used."""


class WeightsError(SirenError):
    """An encoder's weights are missing, or are not those of the encoder."""


class ScoringError(SirenError):
    """Features cannot be scored honestly: a group with one class, a section without normal recordings."""
