"""Documents name only what is there: commands, options, links, tests."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from kestrel_cli.app import app

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^\s*```[^\n]*\n(.*?)^\s*```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(?<!!)\[[^]\n]*]\(([^)\s]+)\)|!\[[^]\n]*]\(([^)\s]+)\)")
_TEST = re.compile(r"`(test_\w+)`")


@cache
def _documents() -> tuple[Path, ...]:
    """Every page that is part of the repository, those not committed yet included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file())


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- commands -----------------------------------------------------------------------------------------------------


def _commands(text: str) -> Iterator[str]:
    """Every `kestrel ...` of a page: lines of code blocks, and spans in the text."""
    for block in _FENCE.findall(text):
        for line in block.splitlines():
            for part in re.split(r"[;|&]+", line.partition(" #")[0]):
                yield re.split(r"\s{2,}", part.strip())[0]
    for span in _SPAN.findall(_FENCE.sub("", text)):
        yield re.split(r"[;|&]+", span)[0].strip()


def _mentions(path: Path) -> list[str]:
    found = (command.removeprefix("$ ").removeprefix(".venv/bin/") for command in _commands(path.read_text()))
    return [command for command in found if command.startswith("kestrel ")]


@cache
def _root() -> Any:
    return typer.main.get_command(app)


@cache
def complaint(command: str) -> str:
    """What is wrong with a `kestrel ...` line; empty when such a command and its options exist."""
    try:
        words = shlex.split(command.replace("...", "x").replace("…", "x"))[1:]
    except ValueError as error:
        return str(error)
    at = _root()
    while words and hasattr(at, "commands") and not words[0].startswith("-"):
        if words[0] not in at.commands:
            return f"no command {words[0]!r}"
        at = at.commands[words.pop(0)]
    if hasattr(at, "commands"):
        return "" if not words or words[0].startswith("-") else f"no command {words[0]!r}"
    return _wrong_words(at, words)


def _wrong_words(command: Any, words: list[str]) -> str:
    options = {name: each for each in command.params for name in each.opts if name.startswith("-")}
    places = [each for each in command.params if not any(name.startswith("-") for name in each.opts)]
    given: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("-") or word == "--help":
            given += [word] if word != "--help" else []
        elif word not in options and not command.context_settings.get("ignore_unknown_options"):
            return f"no option {word!r}"
        elif word in options and not options[word].is_flag and queue:
            queue.pop(0)
    if len(given) > len(places) and not command.context_settings.get("allow_extra_args"):
        return f"takes {len(places)} words, not {len(given)}: {given}"
    return _wrong_choice(places, given)


def _wrong_choice(places: list[Any], given: list[str]) -> str:
    for place, word in zip(places, given, strict=False):
        annotation = place.type_descriptor.annotation
        is_choice = isinstance(annotation, type) and issubclass(annotation, Enum)
        choices = [each.value for each in annotation] if is_choice else []
        if choices and not word.startswith("<") and word not in choices:
            return f"{word!r} is none of {choices}"
    return ""


def test_every_kestrel_command_that_a_page_names_exists_P08() -> None:
    wrong = {
        f"{_named(path)}: {command}": said
        for path in _documents()
        for command in _mentions(path)
        if (said := complaint(command))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("kestrel up --detach", ""),
        ("kestrel recon resolve b7c1 --how acknowledged --notes x --as risk", ""),
        ("kestrel mandate", ""),
        ("kestrel nothing", "no command 'nothing'"),
        ("kestrel recon nothing", "no command 'nothing'"),
        ("kestrel up --nothing", "no option '--nothing'"),
        ("kestrel kill list", "takes 0 words, not 1: ['list']"),
        ("kestrel signal submit AAPL buy", "'AAPL' is none of ['buy', 'sell', 'exit']"),
    ],
)
def test_a_command_that_does_not_exist_is_told_by_name(command: str, said: str) -> None:
    assert complaint(command) == said


def test_commands_are_found_in_pages_at_all() -> None:
    assert len(_mentions(ROOT / "README.md")) > 5
    assert sum(len(_mentions(path)) for path in _documents()) > 200


# --- links and tests ----------------------------------------------------------------------------------------------


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken_links(path: Path) -> Iterator[str]:
    for plain, picture in _LINK.findall(_FENCE.sub("", path.read_text())):
        link = plain or picture
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            yield link


def test_every_relative_link_leads_somewhere() -> None:
    assert [f"{_named(path)}: {link}" for path in _documents() for link in _broken_links(path)] == []


@cache
def _tests() -> frozenset[str]:
    command = ["git", "grep", "-hoE", "--untracked", r"(def|TEST\(|static void|void) ?test_[A-Za-z0-9_]+"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return frozenset(re.findall(r"test_\w+", found))


def test_every_test_that_a_page_names_exists() -> None:
    named = {(_named(path), name) for path in _documents() for name in _TEST.findall(path.read_text())}
    assert [pair for pair in sorted(named) if pair[1] not in _tests()] == []
