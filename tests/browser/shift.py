"""A plant in the middle of a shift: one machine taught and alarmed, one being taught; for tests that look at pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.broker import wait_for
from tests.browser.page_service import PageService
from tests.browser.plant import OTHER_POINT, POINT, Plant


@dataclass(frozen=True)
class Shift:
    """What is there to be seen."""

    plant: Plant
    page: PageService
    alert_id: str
    """Open, of the pump's point."""

    @property
    def paths(self) -> dict[str, str]:
        """Every page that somebody can open, by a name for it."""
        return {
            "overview": "/",
            "point": f"/points/{POINT}",
            "alerts": "/alerts",
            "alert": f"/alerts/{self.alert_id}",
            "enroll": f"/enroll/{OTHER_POINT}",
            "enroll-ended": f"/enroll/{POINT}",
            "report": f"/enroll/{POINT}/report?baseline=bl_0001",
            "baselines": "/baselines",
            "baselines-of-point": f"/baselines/{POINT}",
            "baseline": f"/baselines/{POINT}/bl_0001",
            "audit": f"/baselines/{POINT}/audit",
            "health": "/health",
            "password": "/password",
            "people": "/people",
        }


@contextmanager
def shift(folder: Path) -> Iterator[Shift]:
    """Everything of it, and its end."""
    with Plant(folder / "plant") as plant, PageService(folder / "page", plant.socket) as page:
        plant.wait_until_heard()
        plant.teach(POINT, minutes=0.15, note="after the new belt")
        plant.pump.set_fault("inner_race")
        wait_for(lambda: bool(plant.heard.alerts(POINT, "open")), "the alert", 30)
        alert_id = plant.heard.alerts(POINT, "open")[0].payload["alert_id"]
        yield Shift(plant, page, alert_id)
