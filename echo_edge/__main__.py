"""``python -m echo_edge``."""

from echo_edge.cli import main

main()
