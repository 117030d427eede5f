"""Draw docs/demo.svg from what ``echo-edge demo`` printed, long lines folded as a terminal folds them.

.venv/bin/echo-edge demo > demo.txt && .venv/bin/python docs/make_picture.py demo.txt

rich cuts long lines off in an SVG and has it load its fonts from another host; this picture does neither.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).with_name("demo.svg")
COLUMNS = 112
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main(log: Path) -> None:
    lines = log.read_text("utf-8").splitlines()
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False, force_terminal=True)
    console.print("$ make demo", style="bold")
    for line in dict.fromkeys(lines):  # the last step is printed twice: as it happens, and below the table
        for start in range(0, len(line), COLUMNS):
            console.print(_coloured(line)[start : start + COLUMNS], no_wrap=True)
    drawn = WEB_FONT.sub("", console.export_svg(title="echo-edge demo"))
    PICTURE.write_text(drawn.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas") + "\n", "utf-8")


def _coloured(line: str) -> Text:
    text = Text(line)
    text.highlight_regex(r"^\d/5 .*$", "bold cyan")
    text.highlight_regex(r'(?<="text": )"[^"]*"', "bold yellow")
    text.highlight_regex(r"\bnormal(?= +│)", "green")
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]))
