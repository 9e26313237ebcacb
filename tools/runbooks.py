"""Runbooks: every reason the code can give has a page, and every page has a reason.

    python tools/runbooks.py           # rewrite the list in docs/operations/README.md
    python tools/runbooks.py --check   # say what is missing, extra or stale; exit code 1 if anything is
    python tools/runbooks.py --new     # begin the missing pages that a registry has words for; then edit them
    python tools/runbooks.py --reasons # every reason, and where it comes from

Reasons come from the registries where there are some (governance's table, libkernel's list, the chassis's advisories,
the reconciler's kinds of breaks), and else from the source: literal reasons in the code of services and libraries.
Bodies of pages are written by people; only the list between the two marks of the index is written here.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kestrel.common.v1 import common_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel_chassis import advisories
from kestrel_governance.core import reasons as governance
from kestrel_libkernel import Code, bindings
from kestrel_reconciler.core import comparison

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "operations"
INDEX = PAGES / "README.md"
PROCEDURES = ("README.md", "answers.md")
"""Pages that are about no single reason."""

SOURCES = ("services/*/src/**/*.py", "libs/chassis/src/**/*.py", "libs/domain/src/**/*.py")
CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*(_\*)?")
SPEAKERS = frozenset({"alarm", "alert", "mismatch", "refusal"})
"""Functions, apart from underscores and case, whose plain arguments may be reasons."""

URGENCIES = {
    "now": "Now: wake up",
    "today": "Today",
    "later": "When you can",
    "none": "Nothing to do but to know",
}
BEGIN, END = "<!-- reasons: written by tools/runbooks.py -->", "<!-- end of reasons -->"
_LINK = re.compile(r"\[([^]]*)]\([^)]*\)")
_SENTENCE_END = re.compile(r"(?<=[.:])\s(?=[A-Z])")
_URGENCY = re.compile(r"^\*\*Urgency:\*\* (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """What the index says of one page; ``meaning`` is its first sentence."""

    name: str
    reason: str
    urgency: str
    meaning: str


def known_reasons() -> dict[str, set[str]]:
    """Every reason and where it comes from: a registry's name, or files below the root."""
    found: dict[str, set[str]] = {}
    for reason, source in (*_from_registries(), *_from_sources()):
        found.setdefault(reason, set()).add(source)
    return found


def page_name(reason: str) -> str:
    """The page of a reason; a family such as ``JETSTREAM_*`` has one page."""
    return reason.removesuffix("_*").lower() + ".md"


def _from_registries() -> Iterator[tuple[str, str]]:
    for reason in governance.REASONS:
        yield reason, "services/governance/src/kestrel_governance/core/reasons.py"
    for code in Code:
        if bindings.code_severity(code) >= common_pb2.SEVERITY_WARNING:
            yield code.name, "libkernel/include/lk/lk.h"
    for reason, _, _ in advisories.ADVISORIES.values():
        yield reason, "libs/chassis/src/kestrel_chassis/advisories.py"
    for reason in comparison.SEVERITIES:
        yield reason, "services/reconciler/src/kestrel_reconciler/core/comparison.py"
    for kind in reconcile_pb2.BreakKind.values():
        if kind != reconcile_pb2.BREAK_KIND_UNSPECIFIED:
            name = reconcile_pb2.BreakKind.Name(kind).removeprefix("BREAK_KIND_")
            yield f"DRIFT_{name}", "services/reconciler/src/kestrel_reconciler/core/reconciliation.py"


# --- reasons in the source ----------------------------------------------------------------------------------------


def _from_sources() -> Iterator[tuple[str, str]]:
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            for reason in reasons_in(path.read_text()):
                if reason != "DRIFT_*":  # told one by one, from the list of kinds
                    yield reason, str(path.relative_to(ROOT))


def reasons_in(source: str) -> set[str]:
    """Literal reasons: ``reason=...`` in calls, classes and defaults; arguments of alerts and refusals; constants
    that are named as they read. A text with holes is a family: its holes become ``*``."""
    tree = ast.parse(source)
    constants = _constants(tree)
    found = {value for name, value in constants.items() if name == value and "_" in value}
    for node in ast.walk(tree):
        for expression in _spoken(node):
            value = _text(expression, constants)
            if value is not None and CODE.fullmatch(value):
                found.add(value)
    return found


def _spoken(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions of one node that say a reason."""
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "reason")
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name.strip("_").lower() in SPEAKERS:
            yield from node.args
    elif isinstance(node, ast.ClassDef):
        for statement in node.body:
            if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "reason":
                yield statement.value
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            if argument.arg == "reason" and default is not None:
                yield default


def _constants(tree: ast.Module) -> dict[str, str]:
    """Module-level names of texts."""
    return {
        statement.targets[0].id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    }


def _text(expression: ast.expr, constants: dict[str, str]) -> str | None:
    if isinstance(expression, ast.Constant):
        return expression.value if isinstance(expression.value, str) else None
    if isinstance(expression, ast.Name):
        return constants.get(expression.id)
    if isinstance(expression, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in expression.values)
    return None


# --- pages and index ----------------------------------------------------------------------------------------------


def pages() -> list[Page]:
    """Every page that is about a reason. Raises ValueError for one that is not in form."""
    return [_page(path) for path in sorted(PAGES.glob("*.md")) if path.name not in PROCEDURES]


def _page(path: Path) -> Page:
    text = path.read_text()
    title, urgency = text.splitlines()[0], _URGENCY.search(text)
    if not title.startswith("# ") or page_name(title[2:]) != path.name:
        raise ValueError(f"{path.name}: the first line must be `# ` and the reason, not {title!r}")
    if urgency is None or urgency.group(1) not in URGENCIES:
        raise ValueError(f"{path.name}: a line must begin `**Urgency:** ` and one of {', '.join(URGENCIES)}")
    paragraphs = [part.replace("\n", " ") for part in text.split("\n\n")]
    meaning = _LINK.sub(r"\1", paragraphs[2]).strip()
    return Page(path.name, title[2:], urgency.group(1), _SENTENCE_END.split(meaning, maxsplit=1)[0])


def index_list() -> str:
    """The list by urgency, as the index shows it."""
    found = pages()
    parts = []
    for urgency, heading in URGENCIES.items():
        rows = [f"| [{page.reason}]({page.name}) | {page.meaning} |" for page in found if page.urgency == urgency]
        parts.append("\n".join([f"### {heading}", "", "| reason | what it means |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def with_list(index: str) -> str:
    """The index with its list as it should be. Raises ValueError when a mark is missing."""
    before, begin, rest = index.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{INDEX.name}: both marks of the list must be there")
    return f"{before}{BEGIN}\n\n{index_list()}\n\n{END}{after}"


def problems() -> list[str]:
    """Everything that is not as it should be, as sentences."""
    wanted = {page_name(reason): reason for reason in known_reasons()}
    there = {path.name for path in PAGES.glob("*.md")} - set(PROCEDURES)
    found = [f"missing: {name} for {wanted[name]}" for name in sorted(wanted.keys() - there)]
    found += [f"extra: {name}, a reason that no code gives" for name in sorted(there - wanted.keys())]
    if not found and with_list(INDEX.read_text()) != INDEX.read_text():
        found.append("stale: the list in docs/operations/README.md; run `python tools/runbooks.py`")
    return found


def begun_page(reason: str) -> str | None:
    """A first version of a page from the registry's own words; None where there are none."""
    known = governance.REASONS.get(reason)
    if known is not None:
        is_critical = known.severity == common_pb2.SEVERITY_CRITICAL
        meaning, advice = known.meaning, f"**Do:** {known.what_to_do}\n\n"
    elif reason in Code.__members__:
        is_critical = bindings.code_severity(Code[reason]) == common_pb2.SEVERITY_CRITICAL
        text = bindings.code_text(Code[reason])
        meaning, advice = f"{text[0].upper()}{text[1:]}.", ""
    else:
        return None
    urgency = "now" if is_critical else "today"
    sources = ", ".join(
        f"[{source.rpartition('/src/')[2]}](../../{source})" for source in sorted(known_reasons()[reason])
    )
    return (
        f"# {reason}\n\n**Urgency:** {urgency} · **Money at risk:** no\n\n{meaning}\n\n{advice}Raised by {sources}.\n"
    )


def begin_missing_pages() -> None:
    for reason in known_reasons():
        path = PAGES / page_name(reason)
        if not path.exists() and (text := begun_page(reason)) is not None:
            path.write_text(text)


def main(arguments: list[str]) -> int:
    if arguments == ["--reasons"]:
        for reason, sources in sorted(known_reasons().items()):
            print(reason, *sorted(sources))
        return 0
    if arguments == ["--new"]:
        begin_missing_pages()
    if arguments != ["--check"]:
        INDEX.write_text(with_list(INDEX.read_text()))
    found = problems()
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
