"""Pages for everybody: axe-core's rules in light and dark, a small phone, no script, and no mouse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker import needs_mosquitto, wait_for
from tests.browser.axe import grave_findings
from tests.browser.chromium import Chromium, fits, needs_chromium
from tests.browser.person import Person, somebody
from tests.browser.plant import OTHER_POINT, POINT
from tests.browser.shift import Shift, shift

pytestmark = [needs_chromium, needs_mosquitto, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shift]:
    with shift(tmp_path_factory.mktemp("shift")) as now:
        yield now


@pytest.fixture(scope="module")
def admin(chromium: Chromium, at_work: Shift) -> Iterator[Person]:
    """Sees every page; the tests go on with what this person's browser was given at the login."""
    with somebody(chromium, at_work.page, "m.lang", "admin", width=360) as person:
        yield person


def test_no_page_breaks_a_grave_rule_of_accessibility_in_light_or_dark(
    chromium: Chromium, at_work: Shift, admin: Person
) -> None:
    findings = []
    for dark in (False, True):
        options = {"dark": dark, "bypass_csp": True, "storage_state": admin.page.context.storage_state()}
        with chromium.visitor(at_work.page.origin, **options) as visitor:
            for name, path in at_work.paths.items():
                Person(visitor, "m.lang").opens(path)
                findings += [f"{name}, {'dark' if dark else 'light'}: {text}" for text in grave_findings(visitor.page)]
    assert not findings, "\n".join(findings)


def test_the_way_in_breaks_no_grave_rule_of_accessibility(chromium: Chromium, at_work: Shift) -> None:
    with chromium.visitor(at_work.page.origin, bypass_csp=True) as visitor:
        for path in ("/login", "/first"):
            visitor.open(path)
            assert not grave_findings(visitor.page)


@pytest.mark.parametrize("language", ["en", "de"])
def test_nothing_is_wider_than_a_small_phone(chromium: Chromium, at_work: Shift, admin: Person, language: str) -> None:
    state = admin.page.context.storage_state()
    with chromium.visitor(at_work.page.origin, width=360, language=language, storage_state=state) as visitor:
        person = Person(visitor, "m.lang")
        wide = []
        for name, path in at_work.paths.items():
            person.opens(path)
            assert visitor.page.get_attribute("html", "lang") == language
            wide += [] if fits(visitor.page) else [name]
    assert not wide


def test_without_script_every_page_can_be_read_and_its_forms_work(
    chromium: Chromium, at_work: Shift, admin: Person
) -> None:
    state = admin.page.context.storage_state()
    with chromium.visitor(at_work.page.origin, java_script_enabled=False, storage_state=state) as visitor:
        person = Person(visitor, "m.lang")
        for path in at_work.paths.values():
            person.opens(path)
            assert len(visitor.page.inner_text("main")) > 40
        person.opens(f"/alerts/{at_work.alert_id}")
        person.types("alert.cause", "imbalance?", person.answer("fault"))
        person.presses("alert.do.fault", person.answer("fault"))
        person.reads("alert.done.fault")
        person.opens(f"/enroll/{OTHER_POINT}")
        person.chooses("enroll.span.own")
        person.types("enroll.minutes", "many")
        person.presses("enroll.start.button")
        assert person.page.get_by_label(person.t("enroll.minutes")).input_value() == "many"
        person.types("enroll.minutes", "30")
        person.presses("enroll.start.button")
        wait_for(lambda: at_work.plant.heard.last("/p/nde/enroll").get("session") is not None, "the enrollment")
        person.presses("enroll.stop.button")
        wait_for(lambda: at_work.plant.heard.last("/p/nde/enroll").get("session") is None, "its end")


def test_an_alert_is_acknowledged_with_the_keyboard_alone(chromium: Chromium, at_work: Shift, admin: Person) -> None:
    state = admin.page.context.storage_state()
    with chromium.visitor(at_work.page.origin, storage_state=state) as visitor:
        person = Person(visitor, "m.lang")
        person.opens("/")
        tab_to(person, f"a[href='/alerts/{at_work.alert_id}']")
        person.page.keyboard.press("Enter")
        person.page.wait_for_url("**/alerts/*")
        tab_to(person, f"{person.answer('ack')} input[name=note]")
        person.page.keyboard.type("on my way")
        tab_to(person, f"{person.answer('ack')} button")
        person.page.keyboard.press("Enter")
        person.reads("alert.done.ack")
    told = at_work.plant.heard.alerts(POINT, "ack")[-1].payload
    assert told["ack"]["note"] == "on my way"


def tab_to(person: Person, selector: str, most: int = 80) -> None:
    """Press Tab until that has the focus; what has it must be seen to have it."""
    for _ in range(most):
        person.page.keyboard.press("Tab")
        if person.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            style = "getComputedStyle(document.activeElement)"
            outlined = f"{style}.outlineStyle !== 'none' && parseFloat({style}.outlineWidth) >= 2"
            assert person.page.evaluate(outlined), f"nobody sees that {selector} has the focus"
            return
    raise AssertionError(f"Tab never comes to {selector}")
