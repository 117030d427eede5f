"""What axe-core finds wrong with a page for people who see, hear or point differently."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

GRAVE = {"serious", "critical"}


def grave_findings(page: Page) -> list[str]:
    """The rules that a page breaks gravely, one line each with the places.

    The page needs a context with ``bypass_csp``: axe-core brings styles of its own.
    """
    broken = Axe().run(page).response["violations"]
    return [
        f"{rule['impact']}: {rule['id']}: {rule['help']}: {[node['target'] for node in rule['nodes']][:5]}"
        for rule in broken
        if rule["impact"] in GRAVE
    ]
