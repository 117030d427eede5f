"""Charts: a gap is no line, the finding stands in words, and nothing in them needs a style of its own."""

from __future__ import annotations

import base64
import re
import struct
import time
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_edge.web.bands import bands_chart, ratio_bar
from echo_edge.web.charts import line_chart, spark
from echo_edge.web.figures import figure, hertz
from echo_edge.web.spans import Span, of_history, of_scores, trend
from echo_edge.web.spectrogram import spectrogram
from echo_edge.web.svg import Times, Values
from echo_edge.web.texts import Texts
from tests.web.plant import BANDS, UNHEARD, ago, history, score, window

T = Texts().of("en")
DE = Texts().of("de")


def drawn_lines(chart: str) -> list[list[float]]:
    """The places from left to right of each stretch of the line."""
    paths = re.findall(r'class="line" d="M([^"]+)"', chart)
    return [[float(point.split()[0]) for point in path.split("L")] for path in paths]


def test_no_line_is_drawn_across_a_gap() -> None:
    spans = of_history(history({"from": ago(2400)}))
    chart = line_chart(T, spans, "Score")
    begin, end = 100 * UNHEARD.start / 40, 100 * UNHEARD.stop / 40
    lines = drawn_lines(chart)
    assert len(lines) == 2
    assert all(x <= begin or x >= end for line in lines for x in line)
    assert all(not (a <= begin and b >= end) for line in lines for a, b in pairwise(line))
    assert re.search(rf'<rect x="{begin:.2f}%"[^>]*fill="url\(#hatch\)"', chart)
    assert "not judged" in chart


def test_a_gap_in_the_numbers_is_one_row_without_a_number() -> None:
    table = line_chart(T, of_history(history({"from": ago(2400)})), "Score").partition("<table>")[2]
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    assert len(rows) == 1 + 40 - len(UNHEARD) + 1
    assert [row for row in rows if "not judged" in row and "1.25" not in row]


def test_windows_that_were_not_judged_leave_a_gap_in_the_live_line() -> None:
    spans = of_scores([score(end_s) for end_s in (*range(60, 40, -1), *range(20, 0, -1))])
    assert len(drawn_lines(line_chart(T, spans, "Score"))) == 2


def test_a_lonely_window_is_seen() -> None:
    (line,) = drawn_lines(line_chart(T, of_scores([score(3)]), "Score"))
    assert line == [0, 100]


def test_the_finding_is_said_in_words_of_the_language() -> None:
    spans = [Span(float(i), float(i + 1), 1.0 if i < 30 else 1.0 + i, None, 5.75) for i in range(40)]
    assert 'aria-label="Score 40 of threshold 5.75, rising."' in line_chart(T, spans, "Score")
    told = line_chart(T, of_history(history({"from": ago(2400)})), "Score")
    assert "Score 1.25, at most 2.5, of threshold 5.75; steady." in told
    assert "40 bei Schwelle 5,75, steigend" in line_chart(DE, spans, "Abweichung")


def test_where_nothing_is_known_nothing_is_drawn() -> None:
    assert "<svg" not in line_chart(T, [Span(0.0, 1.0, None)], "Score")
    assert "<svg" not in line_chart(T, [], "Score")
    assert "<svg" not in bands_chart(T, [])
    assert "<svg" not in spectrogram(T, [])
    assert spark(T, [None, 1.0], "Crest") == ""


def test_a_score_far_above_its_threshold_leaves_what_is_normal_readable() -> None:
    scale = Values.of([1.0, 80.0], [5.75], from_zero=True)
    assert scale.place(5.75) < scale.bottom - 15
    assert scale.place(0.0) == scale.bottom
    assert "compressed" in line_chart(T, [Span(0.0, 1.0, 1.0, None, 5.75), Span(1.0, 2.0, 80.0, None, 5.75)], "Score")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.lists(st.floats(0.1, 1e3), max_size=3))
def test_every_value_has_its_place_within_the_drawing_and_larger_is_higher(
    values: list[float], limits: list[float]
) -> None:
    scale = Values.of(values, limits, from_zero=bool(limits))
    places = [scale.place(value) for value in sorted(values)]
    assert all(scale.top <= place <= scale.bottom for place in places)
    assert all(lower >= higher for lower, higher in pairwise(places))
    assert len(scale.ticks()) <= 7


@pytest.mark.parametrize("span_s", [60, 3600, 86400, 7 * 86400, 91 * 86400])
def test_times_stand_at_round_moments_and_are_never_too_many(span_s: int) -> None:
    ticks = list(Times(1_790_000_123.0, 1_790_000_123.0 + span_s).ticks(T))
    assert 2 <= len(ticks) <= 10
    assert [x for x, _ in ticks] == sorted(x for x, _ in ticks)
    assert all(re.fullmatch(r"\d\d:\d\d(:\d[05])?|\d+ \w+", words) for _, words in ticks)


def test_a_trend_is_what_left_the_usual_and_noise_is_none() -> None:
    assert trend([1.0, 1.1] * 20) == "steady"
    assert trend([1.0, 1.1] * 20 + [2.0] * 8) == "rising"
    assert trend([2.0, 2.1] * 20 + [None, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == "falling"
    assert trend([1.0 + 0.1 * i for i in range(40)]) == "rising"
    assert trend([1.0, 9.0]) == "untold"


def test_a_word_from_outside_stays_text() -> None:
    chart = line_chart(T, [Span(0.0, 1.0, 1.0)], "<script>alert(1)</script>", unit='"><b>')
    assert "<script>" not in chart
    assert "<b>" not in chart


def test_no_chart_carries_a_style_that_the_browser_would_refuse() -> None:
    drawn = [
        line_chart(T, of_history(history({"from": ago(2400)})), "Score"),
        bands_chart(T, BANDS),
        ratio_bar(T, 3.0, 5.75),
        spark(T, [1.0, None, 2.0, 1.0, 3.0], "Crest"),
        spectrogram(T, [window(2), window(1)]),
    ]
    assert not any("style" in chart for chart in drawn)
    assert all('role="img" aria-label="' in chart for chart in drawn)


def test_the_bands_are_named_by_their_hertz_and_the_strongest_first() -> None:
    assert "Mostly 2.5 kHz to 3.8 kHz (65 %), 1.3 kHz to 2.5 kHz (25 %)." in bands_chart(T, BANDS)
    assert "No band stands out" in bands_chart(T, [{"hz": [i, i + 1], "share": 0.05} for i in range(20)])


def test_numbers_have_the_digits_that_count() -> None:
    numbers = (82.524, 0.17608, 12800.0, 1.0, 0.0)
    assert [figure(T, x) for x in numbers] == ["82.5", "0.176", "12,800", "1", "0"]
    assert figure(T, None) == T.number(None)
    assert (hertz(T, 850), hertz(T, 2540), hertz(DE, 2540)) == ("850 Hz", "2.5 kHz", "2,5 kHz")


def pixels(chart: str) -> tuple[int, list[bytes], bytes]:
    """Width, lines from above without their filter byte, and which palette entries are see-through."""
    found = re.search(r"data:image/png;base64,([^\"]+)", chart)
    assert found
    data = base64.b64decode(found[1])
    chunks, at = {}, 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        chunks[kind], at = body, at + 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    raw = zlib.decompress(chunks[b"IDAT"])
    lines = [raw[i * (width + 1) + 1 : (i + 1) * (width + 1)] for i in range(height)]
    assert all(raw[i * (width + 1)] == 0 for i in range(height))
    return width, lines, chunks[b"tRNS"]


def test_windows_stand_side_by_side_and_a_missing_one_is_see_through() -> None:
    width, lines, alpha = pixels(spectrogram(T, [window(9), window(8), window(5), window(4)]))
    assert width == 6 * 4
    assert alpha[255] == 0
    assert all(set(line[8:16]) == {255} for line in lines)
    assert all(255 not in line[:8] + line[16:] for line in lines)


def test_a_sensor_that_fell_silent_leaves_a_gap_that_grows_and_then_no_picture_at_all() -> None:
    heard = [window(2), window(1)]
    newest = time.time() - 1
    assert pixels(spectrogram(T, heard, newest + 2))[0] == 2 * 4
    width, lines, _ = pixels(spectrogram(T, heard, newest + 20))
    assert width == 22 * 4
    assert all(set(line[8:]) == {255} for line in lines)
    assert "1 gap" in spectrogram(T, heard, newest + 20)
    assert "<svg" not in spectrogram(T, heard, newest + 100)


def test_a_clock_that_was_set_back_draws_nothing_that_is_not_so() -> None:
    assert pixels(spectrogram(T, [window(1), window(100), window(99)]))[0] == 2 * 4
    (line,) = drawn_lines(line_chart(T, of_scores([score(3), score(2), score(4)]), "Score"))
    assert line == sorted(line)


def test_the_lowest_frequency_is_below_and_louder_is_lighter() -> None:
    one = window(1)
    one["picture"] = base64.b64encode(bytes(range(40, 40 + 8 * 20, 20)) * 1).decode()
    one |= {"cols": 1}
    _, lines, _ = pixels(spectrogram(T, [one]))
    above_to_below = [line[0] for line in lines]
    assert above_to_below == sorted(above_to_below, reverse=True)


def test_only_the_newest_kind_of_picture_is_drawn() -> None:
    width, lines, _ = pixels(spectrogram(T, [window(3, rows=4), window(2), window(1)]))
    assert (width, len(lines)) == (8, 8)
