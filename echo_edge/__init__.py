"""A daemon that hears machines and says over MQTT when one stops sounding like itself."""

__version__ = "0.1.0"
