"""The kernel's page says what the code says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kestrel_libkernel import Code, Lifecycle, Stage
from kestrel_libkernel.model import Config
from tools import kernel_docs, kernel_goldens, kernel_header

PAGE = kernel_docs.PAGE.read_text()


def test_page_is_what_the_code_makes_of_it() -> None:
    assert kernel_docs.page() == PAGE


def test_page_names_every_code_stage_lifecycle_and_golden_replay() -> None:
    golden = [path.name for path in kernel_goldens.paths()]
    wanted = [*(code.name for code in Code), *(stage.name for stage in Stage), *(each.name for each in Lifecycle)]
    assert [name for name in [*wanted, *golden] if name not in PAGE] == []


def test_every_place_of_the_template_is_filled_and_every_generator_is_used() -> None:
    used = {place[1] for place in kernel_docs.PLACE.finditer(kernel_docs.TEMPLATE.read_text())}
    assert "{{" not in PAGE
    assert {"codes", "life_table", "stage_table", "state_struct", "goldens", "save_header"} <= used


def test_every_kind_of_input_says_what_it_reads() -> None:
    assert set(re.findall(r"\*\*Reads\*\* \((\w+)\)", PAGE)) >= set(kernel_header.names("LK_INPUT_KINDS")) - {
        "NONE", "FREEZE", "UNFREEZE"
    }  # fmt: skip


def test_lists_of_the_header_and_members_of_the_binding_are_the_same() -> None:
    assert kernel_header.names("LK_CODES") == tuple(code.name for code in Code)
    assert kernel_header.names("LK_STAGES") == tuple(stage.name for stage in Stage)


def test_fields_of_the_configuration_are_those_of_the_binding() -> None:
    fields = {field.name for field in kernel_header.structs(kernel_header.PUBLIC)["lk_config_t"].fields}
    assert fields - {"abi_version", "reserved"} == set(Config.__dataclass_fields__)


@pytest.mark.parametrize("numbers", [[8, 0, 1], [9, 1, 8]], ids=["at its end", "before it"])
def test_layout_with_padding_is_refused(numbers: list[int]) -> None:
    gap = kernel_header.Struct("gap_t", "", (kernel_header.Field("a", "uint8_t", "", ""),))
    with pytest.raises(ValueError, match="padding"):
        kernel_docs._layout_rows(gap, numbers)
