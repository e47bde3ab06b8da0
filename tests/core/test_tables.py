"""Intervals and tables as text."""

import pytest

from alos2tut.core.tables import Interval, count_text, table


@pytest.mark.parametrize(
    ("interval", "options", "text"),
    [
        (Interval(0.4954, 0.4816, 0.512), {}, "0.495 [0.482, 0.512]"),
        (Interval(0.02, -0.01, 0.05), {"digits": 2, "signed": True}, "+0.02 [-0.01, +0.05]"),
        (Interval.of(0.5, None), {"digits": 1}, "0.5"),
        (Interval.of(None, None), {}, "–"),
        (Interval.of(0.5, [0.25, 0.75]), {"digits": 2}, "0.50 [0.25, 0.75]"),
    ],
)
def test_interval_as_text(interval, options, text):
    assert interval.to_text(**options) == text


def test_table_has_even_columns():
    rows = [["water", 1.5, None], ["paddy field", 12, "b"]]
    assert table(rows, ["class", "n", "note"], align="<><").split("\n") == [
        "class          n  note",
        "water        1.5  –",
        "paddy field   12  b",
    ]
    assert table([["a", 1]]) == "a  1" and table([]) == ""


def test_large_numbers_are_told_in_words() -> None:
    counts = {999_999: "999,999", 1.7349e8: "173 million", 1.22e11: "122 billion", 9.76e18: "9,760,000 trillion"}
    assert {count: count_text(count) for count in counts} == counts
