"""``echo-edge-web`` and ``python -m echo_edge.web``: the commands, or how to install what they need."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point."""
    try:
        import jinja2  # noqa: F401, PLC0415
        import python_multipart  # noqa: F401, PLC0415
        import starlette  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
    except ImportError as error:
        sys.exit(f"echo-edge-web needs the package {error.name}: pip install 'echo-edge[web]'")
    from echo_edge.web.cli import main as commands  # noqa: PLC0415

    commands()


if __name__ == "__main__":
    main()
