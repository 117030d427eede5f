"""Configuration of sound clips that are recorded on demand; off unless it is there."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationInfo, field_validator

from echo_edge.clip_keys import read_public_key
from echo_edge.config_model import Model, existing


class ClipsConfig(Model):
    """Let an order record a few seconds as evidence. Stored encrypted, never where somebody seems to speak."""

    public_key_file: Path
    """Public half (PEM) of an X25519 key; who has the private half, which is not kept on this gateway, can listen."""

    @field_validator("public_key_file")
    @classmethod
    def _is_a_key(cls, value: Path, info: ValidationInfo) -> Path:
        path = existing(value, info)
        try:
            read_public_key(path)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
        return path
