"""What every section of the configuration shares: strictness, ids, paths beside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo

ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,47}$"
Id = Annotated[str, Field(pattern=ID_PATTERN)]


class Model(BaseModel):
    """Base of every section: unknown keys are errors, numbers are finite, fields carry their docs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def existing(path: Path, info: ValidationInfo) -> Path:
    """Resolve a path against the configuration's folder and insist that it is there."""
    full = (info.context or {}).get("folder", Path()) / path.expanduser()
    if not full.exists():
        raise ValueError(f"no such file: {full}; give an absolute path, or one relative to the configuration file")
    if not (full.is_file() or full.is_dir()):  # reading a device or a pipe may never end
        raise ValueError(f"{full} is neither a file nor a folder")
    return Path(full)
