"""Ratios of one run, and the picture."""

from xml.etree import ElementTree

from bench import comparison

FIGURES = {
    "c_single_ns": 50.0,
    "c_batch_ns": 40.0,
    "py_single_ns": 500.0,
    "python_reference_ns": 2_000.0,
    "nautilus_netting_calculated_ns": 150_000.0,
}
SVG = "{http://www.w3.org/2000/svg}"


def test_the_netted_and_calculated_row_is_the_one_compared() -> None:
    told = comparison.summary(FIGURES)
    assert told["nautilus_ns"] == 150_000.0
    assert told["ratios"]["nautilus_over_c_single"] == 3_000
    assert told["ratios"]["nautilus_over_py_single"] == 300
    assert told["ratios"]["python_reference_over_py_single"] == 4


def test_a_whole_trade_is_eight_events_to_a_peer_and_ten_inputs_to_us() -> None:
    ratios = comparison.summary(FIGURES)["ratios"]
    assert ratios["nautilus_over_c_single_per_trade"] == 150_000 * 8 / (50 * 10)


def test_what_was_not_measured_has_no_ratio() -> None:
    told = comparison.summary({"c_single_ns": 50.0, "python_reference_ns": 2_000.0})
    assert told == {"ratios": {"python_reference_over_c_single": 40}}


def test_the_picture_has_a_bar_for_each_figure_and_slower_ones_are_longer() -> None:
    picture = ElementTree.fromstring(comparison.drawn(FIGURES))
    bars = [float(bar.get("width", 0)) for bar in picture.findall(f"{SVG}rect") if bar.get("height") == "20"]
    assert len(bars) == len(FIGURES)
    values = [FIGURES[row.key] for row in comparison.ROWS if row.key in FIGURES]
    assert [values[place] for place in sorted(range(len(bars)), key=bars.__getitem__)] == sorted(values)
    assert "150 µs" in ElementTree.tostring(picture, "unicode")


def test_the_table_for_the_page_has_a_line_for_each_figure() -> None:
    spread = {key: [value, value] for key, value in FIGURES.items()}
    lines = comparison.markdown({**FIGURES, "nautilus_ns": 150_000.0, "spread": spread}).splitlines()
    assert len(lines) == 2 + len(FIGURES)
    assert "| `c_single_ns` | C, single | 50 | 50–50 | – | 40 | 3,000 |" in lines
