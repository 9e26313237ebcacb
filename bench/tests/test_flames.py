"""Collapsed stacks as a picture."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import flames

LINES = [
    "<module> (kestrel_kernel/__main__.py:7);apply (partition.py:10);translate (translate.py:5) 6",
    "apply (partition.py:12);digest (kernel.py:90) 2",
    "not a stack",
    "wait (a<b>.py:1) 2",
]


def test_line_numbers_are_left_out_so_that_one_function_is_one_frame() -> None:
    whole = flames.tree([("kernel", LINES)])
    kernel = whole.calls["kernel"]
    assert (whole.count, kernel.count) == (10, 10)
    assert kernel.calls["apply (partition.py)"].count == 8
    assert set(kernel.calls["apply (partition.py)"].calls) == {"translate (translate.py)", "digest (kernel.py)"}


def test_the_picture_is_sound_xml_and_each_frame_tells_its_share(tmp_path: Path) -> None:
    (tmp_path / "kernel.txt").write_text("\n".join(LINES))
    out = tmp_path / "flames.svg"
    assert flames.main([str(out), f"kernel={tmp_path / 'kernel.txt'}"]) == 0
    root = ElementTree.fromstring(out.read_text())
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "apply (partition.py): 80.0%" in titles
    assert "wait (a<b>.py): 20.0%" in titles


def test_nothing_sampled_is_no_picture() -> None:
    with pytest.raises(ValueError, match="no samples"):
        flames.svg(flames.tree([]), "empty")
