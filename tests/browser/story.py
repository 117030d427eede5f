"""One shift at a small plant, by clicks: teach what is normal, answer an alert, go back to an earlier baseline.

Each step leaves the page where the next one finds it. The tests tell the story once; the pictures of the documentation
are taken on the way.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, expect

from tests.broker import wait_for
from tests.browser.chromium import PATIENCE_MS
from tests.browser.person import Person
from tests.browser.plant import POINT, Plant
from tests.system.daemon import command

MINUTES = 0.2  # 48 windows
LEARNED_S = 60.0  # patience until that is heard and has tested itself
Look = Callable[[str, Person], None]
"""Takes the name of what is to be seen now, and who sees it."""


def tile(person: Person, point: str = POINT) -> Locator:
    """The point's place on the overview."""
    link = person.page.locator(f"a[href='/points/{point}']")
    return person.page.locator("article", has=link)


def sees_level(person: Person, level: str, point: str = POINT, timeout_s: float = PATIENCE_MS / 1000) -> None:
    """The overview says it in words, soon."""
    words = re.compile(re.escape(person.t.level(level)), re.IGNORECASE)
    expect(tile(person, point).locator(".badge").first).to_have_text(words, timeout=timeout_s * 1000)


def finds_a_point_that_nobody_taught(person: Person, look: Look, point: str = POINT) -> None:
    """On the overview, louder than what is well; the way to teach it is beside it."""
    person.follows("base.overview", "header")
    sees_level(person, "not_monitored", point)
    look("not-taught", person)
    tile(person, point).get_by_role("link", name=person.t("overview.teach")).click()
    person.reads("enroll.phase.none.title")


def begins_to_teach(person: Person, minutes: float = MINUTES) -> None:
    """The six steps begin; they go on by themselves."""
    person.chooses("enroll.span.own")
    person.types("enroll.minutes", str(minutes))
    person.types("enroll.start.note", "after the new belt")
    person.presses("enroll.start.button")
    person.reads("enroll.step.collect")
    expect(person.page.locator("[data-live=enroll] .big.num")).to_be_visible()


def useful(person: Person) -> int:
    """How many windows the page says that are useful so far."""
    return int((person.page.locator("[data-live=enroll] .big.num").inner_text().split() or ["0"])[0])


def sees_the_cable_pulled_and_put_back(person: Person, plant: Plant, look: Look) -> None:
    """The page says that it waits and why, keeps what it has, and goes on: nobody loads it again."""
    person.reads("enroll.phase.collecting.title", timeout_s=LEARNED_S, state="run")
    look("enroll-collecting", person)
    plant.unplug()
    person.reads("enroll.paused.title")
    person.reads("enroll.paused.lost")
    before = useful(person)
    look("enroll-paused", person)
    plant.replug()
    person.reads_not("enroll.paused.title")
    wait_for(lambda: useful(person) > before, "more windows on the page", LEARNED_S)


def decides(person: Person, look: Look, name: str = "enroll-decision") -> str:
    """Read the figures and accept; returns the baseline that is in force then."""
    person.reads("enroll.phase.deciding.title", timeout_s=LEARNED_S, state="run")
    for key in ("enroll.estimated", "enroll.estimated_means", "enroll.demonstrated"):
        person.reads(key)
    person.page.locator(person.form("accept")).wait_for()
    look(name, person)
    person.presses("enroll.accept.button")
    person.reads("enroll.phase.accepted.title", state="run")
    shown = re.search(r"bl_\d+", person.page.inner_text("[data-live=enroll]"))
    assert shown is not None
    return shown[0]


def prints_the_report(person: Person) -> bytes:
    """Open it and print it as the browser does; returns the PDF."""
    person.follows("enroll.report", "main")
    person.page.wait_for_url("**/report*")
    return person.page.pdf()


def begins_at_the_terminal(plant: Plant, point: str, by: str, minutes: float = MINUTES) -> None:
    """Somebody starts at the command line, and closes the terminal."""
    words = ["enroll", "start", plant.daemon.config, point, "--minutes", minutes, "--by", by, "--json"]
    with subprocess.Popen(plant.daemon.command(*map(str, words)), stdout=subprocess.PIPE) as terminal:
        assert terminal.stdout is not None
        assert "session" in json.loads(terminal.stdout.readline())["progress"]
        terminal.kill()


def accepts_at_the_terminal(plant: Plant, point: str, by: str) -> None:
    """Decide at the command line what was begun elsewhere."""
    below = f"{point.partition('/')[2]}/enroll"
    wait_for(lambda: plant.heard.last(below).get("phase") == "deciding", f"{point} to be decided", LEARNED_S)
    done = command("enroll", "accept", plant.daemon.config, point, "--by", by, env=plant.daemon.env)
    assert done.returncode == 0, done.stderr


def waits_until_monitored(person: Person, point: str = POINT) -> None:
    """Watch the overview until the point is normal."""
    person.follows("base.overview", "header")
    sees_level(person, "normal", point)


def sees_a_fault(person: Person, plant: Plant, look: Look) -> None:
    """The machine breaks; the overview says so by itself, and leads to the alert with its picture."""
    plant.pump.set_fault("inner_race")
    alert = person.page.locator("a[href^='/alerts/']", has_text="Feed pump 12")  # a busy gateway may have one, too
    alert.wait_for(timeout=LEARNED_S * 1000)
    sees_level(person, "warning")
    look("overview", person)
    alert.click()
    picture = person.page.locator("img.spectrogram")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
    look("alert", person)


def acknowledges(person: Person, plant: Plant, note: str) -> dict[str, Any]:
    """By click; returns what MQTT tells of it."""
    person.types("alert.note", note, person.answer("ack"))
    person.presses("alert.do.ack", person.answer("ack"))
    person.reads("alert.done.ack")
    wait_for(lambda: bool(plant.heard.alerts(POINT, "ack")), "the acknowledgement on MQTT")
    return plant.heard.alerts(POINT, "ack")[-1].payload


def says_it_was_a_fault(person: Person, cause: str) -> None:
    person.types("alert.cause", cause, person.answer("fault"))
    person.presses("alert.do.fault", person.answer("fault"))
    person.reads("alert.done.fault")
    assert cause in person.page.inner_text("main")


def rolls_back(person: Person, look: Look, to: str) -> None:
    """To the baseline before, ``to``; asked once more, with what would change."""
    person.follows("base.baselines", "header")
    person.page.locator(f"main a[href='/baselines/{POINT}']").first.click()
    look("baselines", person)
    person.presses("baselines.do.rollback")
    look("rollback", person)
    person.presses("baselines.yes.rollback", id=to)
    person.reads("baselines.done.rollback")
