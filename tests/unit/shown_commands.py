"""What README, the pages of docs/ and the comments of experiments/ tell their readers to type, and the files they show.

A page shows a file with `<!-- file: my/x.yaml -->` above the fenced block that holds its text, and a command with its
output in a block of the language `console`: a line that begins with `$ `, then the output. In output, `[...]` stands
for what was left out: on a line of its own for lines, at the end of a line for the rest of it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TRANSCRIPTS = ROOT / "tests" / "transcripts"
LEFT_OUT = "[...]"

_FILE = re.compile(r"<!-- file: (\S+) -->\n+```\w*\n(.*?)```\n", re.DOTALL)
_PROGRAMS = r"(mnbed|mkdir|cd|jq|vagrant|xdg-open|apt-get|rm|wsl|\./install\.sh|\.venv/bin/[\w-]+)( |$)"


@dataclass(frozen=True)
class Shown:
    """One command, without sudo, explanation and prompt."""

    page: str
    text: str
    output: tuple[str, ...] | None = None
    """The output that the page shows below it; None: it shows none."""

    @property
    def words(self) -> list[str]:
        """As a shell would split it; a synopsis (`run FILE [--strict]`) without its brackets."""
        try:
            words = shlex.split(self.text)
        except ValueError:  # it goes on in the next line
            words = self.text.split()
        return [word.strip("[]") for word in words] if " [--" in self.text else words

    @property
    def is_mention(self) -> bool:
        """Names a verb or an option of it (`mnbed run --cli`), or is unfinished, rather than something to type."""
        verb = self.words[1:2] or ["run"]
        if "<TAB>" in self.text:
            return True
        bare = all(word.startswith("--") and word != "--schema" for word in self.words[2:])
        return self.words[0] == "mnbed" and bare and verb[0] in _NEED_ARGUMENTS


_NEED_ARGUMENTS = ("run", "plan", "cli", "topo", "export", "logs", "sweep", "compare", "report")


def shown_commands() -> list[Shown]:
    """Every command, of every page and experiment, once for each place."""
    found: list[Shown] = []
    for page in PAGES:
        found += _of_page(page.relative_to(ROOT).as_posix(), page.read_text())
    for experiment in sorted((ROOT / "experiments").rglob("*.yaml")):
        for line in experiment.read_text().splitlines():
            if line.startswith("#   "):
                found += _on_line(experiment.relative_to(ROOT).as_posix(), line[4:])
    return found


def shown_files() -> dict[str, str]:
    """Name -> text of every file that a page shows in full. Raises ValueError if two pages differ about one."""
    files: dict[str, str] = {}
    for page in PAGES:
        for name, text in _FILE.findall(page.read_text()):
            if files.setdefault(name, text) != text:
                raise ValueError(f"{page.name} shows another {name} than a page before it")
    return files


def transcripts() -> dict[str, list[str]]:
    """Command -> the lines that it printed, of every file in tests/transcripts; a file may hold several commands."""
    found: dict[str, list[str]] = {}
    for path in sorted(TRANSCRIPTS.glob("*.txt")):
        for command, output in _console(path.read_text().splitlines()):
            found[command] = list(output)
    return found


def is_extract(extract: Sequence[str], lines: Sequence[str]) -> bool:
    """Whether `extract` is `lines` with some left out where it says `[...]`."""
    if not extract:
        return not lines
    first, *rest = extract
    if first.strip() == LEFT_OUT:
        return any(is_extract(rest, lines[start:]) for start in range(len(lines) + 1))
    return bool(lines) and _same(first, lines[0]) and is_extract(rest, lines[1:])


def _same(shown: str, line: str) -> bool:
    if shown.endswith(LEFT_OUT):
        return line.startswith(shown.removesuffix(LEFT_OUT).rstrip())
    return shown.rstrip() == line.rstrip()


def _of_page(page: str, text: str) -> Iterator[Shown]:
    fence: str | None = None
    block: list[str] = []
    for line in text.splitlines():
        if line.startswith("```"):
            if fence == "console":
                yield from (Shown(page, command, output) for command, output in _console(block))
            fence, block = (line[3:] if fence is None else None), []
        elif fence in ("", "sh") or (fence is None and re.match(r" {4}\S", line)):
            yield from _on_line(page, line)
        elif fence == "console":
            block.append(line)
        else:
            # In the text, and in the comments of a file that the page shows.
            for code in re.findall(r"`([^`\n]+)`", line):
                yield from _on_line(page, code)


def _console(lines: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(command, output) of each; blank lines around the output do not count."""
    command, output = "", list[str]()
    for line in [*lines, "$ "]:
        if not line.startswith("$ "):
            output.append(line)
            continue
        if command:
            yield command, tuple("\n".join(output).strip("\n").splitlines())
        command, output = line[2:].removeprefix("sudo "), []


def _on_line(page: str, line: str) -> Iterator[Shown]:
    """The commands of a line; three blanks or a comment sign separate what explains them."""
    for part in re.split(r" && | +# |; or: ", line.strip()):
        text = re.split(r" {3,}", part.removeprefix("sudo "))[0].strip()
        if re.match(_PROGRAMS, text):
            yield Shown(page, text)
