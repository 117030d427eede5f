"""The whole story in a real browser, against the real daemon with sensors that are really unplugged."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.broker import needs_mosquitto, wait_for
from tests.browser import story
from tests.browser.chromium import Chromium, needs_chromium
from tests.browser.page_service import PageService
from tests.browser.person import Person, somebody
from tests.browser.plant import OTHER_POINT, POINT, Plant

pytestmark = [needs_chromium, needs_mosquitto]


def nothing(_name: str, _person: Person) -> None:
    """Look at nothing: there are pictures of it elsewhere."""


@pytest.mark.timeout(240)
def test_a_shift_at_the_plant_by_clicks_alone(chromium: Chromium, tmp_path: Path) -> None:
    with (
        Plant(tmp_path / "plant") as plant,
        PageService(tmp_path / "page", plant.socket) as page,
        somebody(chromium, page, "m.lang", "technician", width=390) as technician,
        somebody(chromium, page, "a.berg", "engineer") as engineer,
    ):
        plant.wait_until_heard()
        story.finds_a_point_that_nobody_taught(engineer, nothing, OTHER_POINT)
        story.begins_to_teach(engineer)
        engineer.follows("base.overview", "header")  # and leaves it: it is decided at the terminal
        story.finds_a_point_that_nobody_taught(technician, nothing)
        story.begins_to_teach(technician)
        story.sees_the_cable_pulled_and_put_back(technician, plant, nothing)
        first = story.decides(technician, nothing)
        assert len(story.prints_the_report(technician)) > 10_000
        story.accepts_at_the_terminal(plant, OTHER_POINT, "k.ode")

        story.waits_until_monitored(technician)
        story.sees_a_fault(technician, plant, nothing)
        told = story.acknowledges(technician, plant, "ordered a bearing")
        assert (told["ack"]["by"], told["ack"]["note"]) == ("m.lang", "ordered a bearing")
        story.says_it_was_a_fault(technician, "bearing")
        plant.pump.set_fault(None)
        plant.heard.wait_level(POINT, "normal", plant.daemon)

        story.begins_at_the_terminal(plant, POINT, "k.ode")
        technician.opens(f"/enroll/{POINT}")
        second = story.decides(technician, nothing)
        wait_for(lambda: plant.heard.last("/p/de/baseline")["baseline"] == second, "the second baseline")
        story.rolls_back(engineer, nothing, first)
        wait_for(lambda: plant.heard.last("/p/de/baseline")["baseline"] == first, "the first baseline again")

        technician.follows("base.overview", "header")
        expect(story.tile(technician)).to_be_visible()
        assert plant.daemon.stop() == 0
        lost = technician.t("problem.not_running_since", when="").strip()
        expect(technician.page.get_by_role("heading", name=lost)).to_be_visible()
        expect(story.tile(technician)).to_have_count(0)
        assert "normal" not in technician.page.inner_text("main")
        plant.daemon.start()
        story.sees_level(technician, "normal", timeout_s=60)
