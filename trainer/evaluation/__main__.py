"""Print the table that says whether pretraining was worth it.

    python -m trainer.evaluation runs/echo-tiny/checkpoint.pth --data ../shared/data
    python -m trainer.evaluation echo-tiny untrained:tiny:0 --data ../shared/data --markdown table.md

A MODEL is a checkpoint (.pth, .pt, .safetensors), a model package by name or path (run by ONNX Runtime), or
untrained:SIZE:SEED. Beside the models stand three untrained networks of the same shape, and averages of the log
spectrogram.

The folder of --data holds cwru/ (Case Western Reserve University bearings), bldc_motor_mic/ (a small motor with and
without its propeller) and audio/ (ESC-10 as background), each with its manifest.csv.

Takes about three minutes for each network of the size tiny on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from echo_edge.artifact import ArtifactError  # type: ignore[attr-defined]  # load_package raises it
from trainer.checkpoint import CheckpointError
from trainer.evaluation.contestants import contestant
from trainer.evaluation.recordings import DataError
from trainer.evaluation.table import NOTES, as_json, compare, markdown
from trainer.files import publish


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, compare, print the table; return the exit code."""
    arguments = _parser().parse_args(argv)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        contestants = [contestant(word) for word in arguments.models]
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("reading recordings", total=None)
            found = compare(
                contestants,
                arguments.data,
                lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
            )
    except (ArtifactError, CheckpointError, DataError, ValueError) as error:
        print(f"evaluation: {error}", file=sys.stderr)  # noqa: T201 - a command
        return 1
    text = markdown(found) + "\n" + NOTES
    print(text, end="")  # noqa: T201
    if arguments.markdown:
        publish(arguments.markdown, text.encode())
    if arguments.json:
        publish(arguments.json, json.dumps(as_json(found), indent=1).encode())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.evaluation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="checkpoint, package or untrained:SIZE:SEED")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="recordings, as said above")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure to this file too")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="write the table to this file too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
