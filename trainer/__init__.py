"""Pretraining, export and benchmarks of the ECHO encoder."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as in echo_edge
