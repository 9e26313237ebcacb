"""The kernel's page, docs/concepts/kernel.md: explanations by hand, tables and diagrams from the code.

    python tools/kernel_docs.py          # write the page
    python tools/kernel_docs.py --check  # exit code 1 if it is not what would be written

The explanations are in tools/kernel_page.md.in. Each ``{{name}}`` in it is replaced by what a function here makes of
the header's lists and comments (tools/kernel_header.py), of the library's own tables (asked through the binding), of
the compiler (sizes and offsets of the state, by a small program compiled against src/internal.h) and of the golden
files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kestrel_libkernel import _ffi
from tools import kernel_goldens, kernel_header

ROOT = kernel_header.ROOT
TEMPLATE = ROOT / "tools" / "kernel_page.md.in"
PAGE = ROOT / "docs" / "concepts" / "kernel.md"
PLACE = re.compile(r"\{\{(\w+)(?: (\w+))?\}\}")

lib = _ffi.lib
names = kernel_header.names


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *[list(row) for row in rows]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def mermaid(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", "  direction LR", *lines, "```"])


# --- lists ------------------------------------------------------------------------------------------------------------


def generated() -> str:
    return "<!-- Written by tools/kernel_docs.py from tools/kernel_page.md.in and the code: change those -->"


def input_kinds() -> str:
    entries = kernel_header.lists()["LK_INPUT_KINDS"]
    rows = [[str(value), code(entry.name), entry.comment] for value, entry in enumerate(entries) if value]
    return table(["value", "kind", "what it is"], rows)


def fields(kind: str) -> str:
    """What one kind of input reads, by how it must be given; the three that all kinds read are not repeated."""
    given: dict[str, list[str]] = {"REQUIRED": [], "STATED": [], "OPTIONAL": []}
    for entry in kernel_header.lists()["LK_INPUT_FIELDS"]:
        field, requirement = entry.arguments
        if entry.name == kind and field not in ("NOW_NS", "SEQUENCE", "FLAGS"):
            given[requirement].append(code(field.lower()))
    parts = [f"{word} {', '.join(given[key])}" for key, word in _GIVEN.items() if given[key]]
    return f"**Reads** ({kind}): {'; '.join(parts) or 'nothing more'}."


_GIVEN = {"REQUIRED": "required", "STATED": "if stated", "OPTIONAL": "optional"}


def lives() -> str:
    rows = [[code(entry.name), entry.comment] for entry in kernel_header.lists()["LK_LIVES"][1:]]
    return table(["life", "meaning"], rows)


def codes() -> str:
    rows = [
        [str(value), code(entry.name), entry.arguments[0], entry.arguments[1]]
        for value, entry in enumerate(kernel_header.lists()["LK_CODES"])
    ]
    return table(["value", "code", "severity", "meaning"], rows)


def statuses() -> str:
    entries = kernel_header.lists()["LK_STATUSES"]
    return table(["value", "status", "meaning"], [[str(at), code(e.name), e.comment] for at, e in enumerate(entries)])


def event_kinds() -> str:
    """From the comment above the struct: a kind, then what it carries."""
    comment = kernel_header.structs(kernel_header.PUBLIC)["lk_event_t"].comment
    rows: list[list[str]] = []
    for line in comment.splitlines():
        found = re.match(r" \* ([A-Z_]+)  +(.*)", line)
        if found:
            rows.append([code(found[1]), found[2].strip()])
        elif rows and re.match(r" \*  +\S", line):
            rows[-1][1] += " " + line.strip(" *")
    return table(["kind", "carries"], rows)


def event_flags() -> str:
    found = kernel_header.constants()
    rows = [[f"{bit:#04x}", code(name), found[f"LK_EVENT_{name}"].comment] for name, bit in _event_bits().items()]
    return table(["bit", "flag", "on which events"], rows)


def _event_bits() -> dict[str, int]:
    return kernel_header.bits("LK_EVENT_")


def limits() -> str:
    wanted = [each for each in kernel_header.constants().values() if re.fullmatch(r"\(?[0-9][^ ]*u?\)?", each.value)]
    skipped = ("LK_HAS_", "LK_EVENT_", "LK_FREEZE_", "LK_FLAGS_", "LK_CHAIN_")
    rows = [
        [code(each.name), each.value.strip("()").rstrip("u"), each.comment]
        for each in wanted
        if not each.name.startswith(skipped) or each.name == "LK_EVENTS_PER_SLOT"
    ]
    return table(["constant", "value", "meaning"], rows)


def leverage_table() -> str:
    caps = (1, 2, 3, 5, 10, 20)
    rows = []
    for hundredths in (25, 50, 100, 200, 262, 300, 475, 600, 687, 688, 800, 900, 950):
        conviction = hundredths * 10**6
        rows.append([f"{hundredths / 100:.2f}", *(str(lib.lk_conviction_to_leverage(conviction, cap)) for cap in caps)])
    return table(["conviction", *(f"cap {cap}" for cap in caps)], rows)


# --- machines ---------------------------------------------------------------------------------------------------------


def life_table() -> str:
    lives_, facts = names("LK_LIVES"), names("LK_ORDER_FACTS")
    rows = []
    for life in range(1, len(lives_)):
        cells = [lib.lk_next_life(life, fact) for fact in range(1, len(facts))]
        rows.append([f"**{lives_[life]}**", *(lives_[cell] if cell else "" for cell in cells)])
    return table(["", *facts[1:]], rows)


def life_diagram() -> str:
    lives_, facts = names("LK_LIVES"), names("LK_ORDER_FACTS")
    told: dict[tuple[int, int], list[str]] = {}
    for life in range(1, len(lives_)):
        for fact in range(1, len(facts)):
            if (after := lib.lk_next_life(life, fact)) and after != life:
                told.setdefault((life, after), []).append(facts[fact])
    edges = [f"  {lives_[life]} --> {lives_[after]}: {', '.join(why)}" for (life, after), why in told.items()]
    return mermaid(["  [*] --> REQUESTED", *edges])


def _follow(list_name: str, may_follow: Callable[[int, int], int]) -> dict[str, list[str]]:
    members = names(list_name)
    return {name: [other for to, other in enumerate(members) if may_follow(at, to)] for at, name in enumerate(members)}


def _follow_table(what: str, follow: dict[str, list[str]]) -> str:
    return table([what, "may be followed by"], [[code(at), ", ".join(to)] for at, to in follow.items() if to])


@cache
def _stages() -> dict[str, list[str]]:
    return _follow("LK_STAGES", lib.lk_stage_may_follow)


ENTERING = ("ENTRY_REQUESTED", "ENTRY_SENT", "ENTRY_ACKED", "ENTRY_WORKING")
LEAVING = ("EXIT_REQUESTED", "EXIT_SENT", "EXIT_ACKED", "EXIT_WORKING")
ENTRY = ("IDLE", *ENTERING, "PARTIAL_FILL", "POSITION_OPEN", "POSITION_CLOSED", "ORDER_REJECTED", "TERMINAL_WRITTEN")
EXIT = ("PARTIAL_FILL", "POSITION_OPEN", *LEAVING, "POSITION_PARTIALLY_CLOSED", "EXIT_REJECTED", "POSITION_CLOSED",
        "TERMINAL_WRITTEN")  # fmt: skip
AGAIN = {("EXIT_REJECTED", "EXIT_REQUESTED"), ("POSITION_PARTIALLY_CLOSED", "EXIT_REQUESTED")}
"""The way forward that the order of the list does not show."""


def _is_forward(at: str, to: str) -> bool:
    members = names("LK_STAGES")
    return members.index(to) > members.index(at) or (at, to) in AGAIN


def _edges_within(members: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(at, to) for at in members for to in _stages()[at] if to in members and _is_forward(at, to)]


def _grouped(edges: list[tuple[str, str]], group: tuple[str, ...], title: str) -> list[str]:
    """Edges as lines; what every member of a group may do is drawn once, from the group."""
    common = {to for _, to in edges if to not in group and all((at, to) in edges for at in group)}
    lines = [f"  state {title} {{"]
    lines += [f"    {member}" for member in group]
    lines += [f"    {at} --> {to}" for at, to in edges if at in group and to in group]
    lines += ["  }", *(f"  {title} --> {to}" for to in names("LK_STAGES") if to in common)]
    lines += [
        f"  {at} --> {to}"
        for at, to in edges
        if not (at in group and to in group) and not (at in group and to in common)
    ]
    return lines


def stage_table() -> str:
    return _follow_table("stage", _stages())


def entry_diagram() -> str:
    return mermaid(["  [*] --> IDLE", *_grouped(_edges_within(ENTRY), ENTERING, "entering")])


def exit_diagram() -> str:
    return mermaid(
        _grouped([edge for edge in _edges_within(EXIT) if edge not in _edges_within(ENTRY)], LEAVING, "leaving")
    )


def back_diagram() -> str:
    drawn = {*_edges_within(ENTRY), *_edges_within(EXIT)}
    edges = [(at, to) for at, follow in _stages().items() for to in follow if (at, to) not in drawn]
    return mermaid(_grouped(edges, LEAVING, "leaving"))


FORWARD = ("NONE", "SUBMITTED", "STALLED", "FILLED", "MANAGED", "CLOSED", "CANCELED", "REJECTED")
ONLY_BY_BUST = {(at, to) for at in ("FILLED", "MANAGED", "CLOSED", "CANCELED") for to in ("CANCELED", "REJECTED")}


def lifecycle_table() -> str:
    return _follow_table("lifecycle", _follow("LK_LIFECYCLES", lib.lk_lifecycle_may_follow))


def lifecycle_diagram() -> str:
    follow = _follow("LK_LIFECYCLES", lib.lk_lifecycle_may_follow)
    rank = {name: at for at, name in enumerate(FORWARD)}
    edges = [(at, to) for at, follows in follow.items() for to in follows if rank[at] < rank[to]]
    return mermaid(f"  {'[*]' if at == 'NONE' else at} --> {to}" for at, to in edges if (at, to) not in ONLY_BY_BUST)


# --- structs ----------------------------------------------------------------------------------------------------------


def struct(name: str) -> str:
    """A public struct, without its reserved fields."""
    found = kernel_header.structs(kernel_header.PUBLIC)[name]
    rows = [
        [code(field.name + (f"[{field.count}]" if field.count else "")), code(field.type), field.comment]
        for field in found.fields
        if not field.name.startswith("reserved")
    ]
    return f"`{name}`\n\n" + table(["field", "type", "meaning"], rows)


def _probe(headers: Iterable[str], sources: dict[str, kernel_header.Struct], preface: str = "") -> dict[str, list[int]]:
    """Size, then offset and size of each field, of each struct: what the compiler says."""
    lines = [*(f'#include "{header}"' for header in headers), "#include <stdio.h>", preface, "int main(void) {"]
    for name, found in sources.items():
        lines.append(f'printf("{name} %zu", sizeof({name}));')
        for field in found.fields:
            at = f"offsetof({name}, {field.name}), sizeof((({name} *)0)->{field.name})"
            lines.append(f'printf(" %zu %zu", {at});')
        lines.append('printf("\\n");')
    lines.append("return 0; }")
    compiler = os.environ.get("CC", "cc")
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "probe.c", Path(folder) / "probe"
        source.write_text("\n".join(lines))
        folders = [f"-I{kernel_header.LIBKERNEL / each}" for each in ("include", "src")]
        subprocess.run([compiler, "-std=c11", *folders, "-o", program, source], check=True)
        said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {line.split()[0]: [int(each) for each in line.split()[1:]] for line in said.splitlines()}


@cache
def _layouts() -> dict[str, list[int]]:
    """Of the structs that the page asks for: what else is in the header is no state."""
    wanted = {place[2] for place in PLACE.finditer(TEMPLATE.read_text()) if place[1] == "state_struct"}
    found = kernel_header.structs(kernel_header.INTERNAL)
    return _probe(["internal.h"], {name: found[name] for name in sorted(wanted)})


def _layout_rows(found: kernel_header.Struct, numbers: list[int]) -> list[list[str]]:
    rows = []
    expected = 0
    for field, offset, size in zip(found.fields, numbers[1::2], numbers[2::2], strict=True):
        if offset != expected:
            raise ValueError(f"{found.name}.{field.name}: padding before it")
        expected = offset + size
        name = field.name + (f"[{field.count}]" if field.count else "")
        rows.append([str(offset), str(size), code(name), code(field.type), field.comment])
    if expected != numbers[0]:
        raise ValueError(f"{found.name}: padding at its end")
    return rows


def state_struct(name: str) -> str:
    found = kernel_header.structs(kernel_header.INTERNAL)[name]
    numbers = _layouts()[name]
    head = ["at", "bytes", "field", "type", "meaning"]
    return f"`{name}`, {numbers[0]} bytes\n\n" + table(head, _layout_rows(found, numbers))


def save_header() -> str:
    found = kernel_header.structs(kernel_header.STATE)["header_t"]
    body = re.search(
        r"typedef struct \{\n(?:(?!typedef).)*\} header_t;", kernel_header.text_of(kernel_header.STATE), re.S
    )
    if body is None:
        raise ValueError("state.c: no header_t")
    numbers = _probe(["internal.h"], {"header_t": found}, body[0])["header_t"]
    magic = re.search(r"#define MAGIC (0x[0-9a-f]+)u?l*", kernel_header.text_of(kernel_header.STATE))
    head = ["at", "bytes", "field", "type", "meaning"]
    rows = _layout_rows(found, numbers)
    rows[0][4] = magic[1] if magic else ""
    return f"A header of {numbers[0]} bytes\n\n" + table(head, rows)


# --- goldens ----------------------------------------------------------------------------------------------------------


def goldens() -> str:
    rows = []
    for path in kernel_goldens.paths():
        case = kernel_goldens.load(path)
        link = f"[{path.stem}](../../libkernel/tests/golden/{path.name})"
        rows.append([link, ", ".join(case["requirements"]), case["title"] + ". " + case["story"][0]])
    return table(["replay", "proves", "what it is, and what happened elsewhere"], rows)


# --- page -------------------------------------------------------------------------------------------------------------


def _constant(name: str) -> str:
    return kernel_header.constants()[name].value.rstrip("u")


def _filled(place: re.Match[str]) -> str:
    name, argument = place[1], place[2]
    if name.startswith("LK_"):
        return _constant(name)
    make: Callable[..., str] = globals()[name]
    return make(argument) if argument else make()


def page() -> str:
    return PLACE.sub(_filled, TEMPLATE.read_text())


def main() -> int:
    text = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    sys.stderr.write(f"{PAGE.relative_to(ROOT)} is not what the code says: run python tools/kernel_docs.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
