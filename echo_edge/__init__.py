"""A daemon that hears machines and says over MQTT when one stops sounding like itself."""

import os

__version__ = "0.1.0"

# onnxruntime 1.32 gathers what it runs in ~/.cache/Microsoft, to send it to its maker. Read when its library is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
