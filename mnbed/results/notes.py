"""What the user of a run should know, although it is no reason to doubt its figures."""

from __future__ import annotations

from mnbed.results.summary import Summary


def notes(summary: Summary) -> list[str]:
    """A sentence each; empty if there is nothing to say."""
    strangers = summary.traffic.strangers_closed
    if not strangers:
        return []
    closed = "1 connection" if strangers == 1 else f"{strangers:,} connections"
    text = (
        f"agents closed {closed} before a HELLO: from programs that are no agents of this run, or over links too "
        "slow for one; the records `strangers` in events.jsonl say from where"
    )
    return [text]
