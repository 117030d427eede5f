"""``python -m tests.browser.screenshots``: tells the story once more and takes the pictures of the documentation."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.browser import story
from tests.browser.chromium import Chromium
from tests.browser.page_service import PageService
from tests.browser.person import Person, somebody
from tests.browser.plant import OTHER_POINT, POINT, Plant

PICTURES = Path(__file__).parents[2] / "docs/pictures/page"
PHONE, TABLET, WALL = (360, 780), (820, 1180), (1920, 1080)
SIX = [(size, dark) for size in (PHONE, TABLET, WALL) for dark in (False, True)]
THREE = [(PHONE, False), (TABLET, False), (WALL, True)]
WANTED = {
    "overview": SIX,
    "point": THREE,
    "alert": THREE,
    "enroll-collecting": THREE,
    "enroll-decision": THREE,
    "baselines": THREE,
    "health": THREE,
}
MOST_BYTES = 120_000
LONGEST = 2  # screens, of what people scroll through
MINUTES = 0.5
RUNS_S = 60.0  # some history


def tall(page: Page) -> int:
    """Pixels from top to end."""
    return int(page.evaluate("document.documentElement.scrollHeight"))


def take(name: str, person: Person) -> None:
    """The pictures that are wanted of what is to be seen now."""
    page = person.page
    usual = page.viewport_size
    for (width, height), dark in WANTED.get(name, ()):
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.evaluate("window.scrollTo(0, 0)")
        shot = page.screenshot(animations="disabled", full_page=True)
        picture = (
            Image.open(io.BytesIO(shot))
            .convert("RGB")
            .crop((0, 0, width, min(tall(page), height if width == WALL[0] else LONGEST * height)))
        )
        file = PICTURES / f"{name}-{width}-{'dark' if dark else 'light'}.png"
        for shrink in (1.0, 0.75, 0.6):  # the first that is small enough; fewer colours would turn amber into brown
            small = picture.resize((round(picture.width * shrink), round(picture.height * shrink)))
            small.quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
            if file.stat().st_size < MOST_BYTES:
                break
        print(f"{file.name}  {file.stat().st_size / 1000:.0f} kB")
    page.emulate_media(color_scheme="light")
    if usual is not None:
        page.set_viewport_size(usual)


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, Chromium() as chromium:
        folder = Path(name)
        with (
            Plant(folder / "plant", window_s=0.5) as plant,
            PageService(folder / "page", plant.socket) as service,
            somebody(chromium, service, "a.berg", "engineer") as engineer,
        ):
            plant.wait_until_heard()
            tell(engineer, plant)
    print(f"{sum(file.stat().st_size for file in PICTURES.iterdir()) / 1e6:.2f} MB in all")


def tell(engineer: Person, plant: Plant) -> None:
    """The story as one person would live it."""
    plant.teach(OTHER_POINT, minutes=0.3, by="k.ode")
    story.finds_a_point_that_nobody_taught(engineer, take)
    story.begins_to_teach(engineer, MINUTES)
    story.sees_the_cable_pulled_and_put_back(engineer, plant, take)
    first = story.decides(engineer, take)
    story.waits_until_monitored(engineer)
    time.sleep(RUNS_S)
    story.sees_a_fault(engineer, plant, take)
    story.acknowledges(engineer, plant, "ordered a bearing")
    engineer.follows("alert.to_point", "main")
    engineer.page.locator("[data-live=sound] svg, [data-live=sound] img").first.wait_for()
    take("point", engineer)
    plant.pump.set_fault(None)
    plant.heard.wait_level(POINT, "normal", plant.daemon)
    story.begins_at_the_terminal(plant, POINT, "k.ode", MINUTES)
    engineer.opens(f"/enroll/{POINT}")
    story.decides(engineer, lambda *_: None)
    story.rolls_back(engineer, take, first)
    engineer.follows("base.health", "header")
    engineer.page.locator("main h1").wait_for()
    take("health", engineer)


if __name__ == "__main__":
    main()
