"""The page about the run directory lists the fields that the types have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.record_tables import PAGE, event_tables, renewed, tables, types_in


def test_the_page_is_current() -> None:
    text = PAGE.read_text()
    assert renewed(text) == text, "run: python3 -m tests.record_tables"


def test_every_event_and_file_has_its_table() -> None:
    found = tables()
    assert "**`round`**" in found["records of agents"]
    assert "| `waited_s` | number | The wait before the round. |" in found["records of agents"]
    assert "| `directions[].measured_bps` | number or null |" in found["records of the controller"]
    assert "| `hosts[].region` | text or null | |" in found["environment.json"].replace("  ", " ")
    assert "| `runs[].dilation` |" in found["sweep.json"]


def test_a_field_that_is_added_is_on_the_page_only_after_it_is_made_again(tmp_path: Path) -> None:
    source = tmp_path / "types.py"
    source.write_text(
        'class Base(TypedDict):\n    """Shared."""\n    x: int\n    """How many."""\n'
        'class Made(Base):\n    """It was made."""\n    event: NotRequired[Literal["made"]]\n'
        "    by: NotRequired[dict[str, float] | None]\n"
    )
    assert event_tables(types_in(source)) == (
        "**`made`** It was made.\n\n| field | value | meaning |\n|---|---|---|\n"
        "| `x` | whole number | How many. |\n| `by` | object of number or null, may be missing |  |"
    )


def test_a_page_without_a_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="records of agents"):
        renewed("# The run directory\n")
