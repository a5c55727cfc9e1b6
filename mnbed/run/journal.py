"""The controller's journal: the same format as an agent's, with the controller's own events."""

from __future__ import annotations

from typing import Any, Literal, overload

from typing_extensions import Unpack

from mnbed.records import controller as records
from node_agent.journal import JournalFile


class ControllerJournal(JournalFile):
    """nodes/controller.jsonl"""

    @overload
    def write(self, event: Literal["phase"], /, **fields: Unpack[records.Phase]) -> None: ...
    @overload
    def write(self, event: Literal["probe"], /, **fields: Unpack[records.Probe]) -> None: ...
    @overload
    def write(self, event: Literal["machine"], /, **fields: Unpack[records.Machine]) -> None: ...
    @overload
    def write(self, event: Literal["slept"], /, **fields: Unpack[records.Slept]) -> None: ...
    @overload
    def write(self, event: Literal["applied"], /, **fields: Unpack[records.Applied]) -> None: ...
    @overload
    def write(self, event: Literal["agent_died"], /, **fields: Unpack[records.AgentDied]) -> None: ...
    @overload
    def write(self, event: Literal["link_counters"], /, **fields: Unpack[records.LinkCounters]) -> None: ...
    @overload
    def write(
        self, event: Literal["shaping_checked"], /, **fields: Unpack[records.ShapingChecked]
    ) -> None: ...
    @overload
    def write(self, event: Literal["delay_queue"], /, **fields: Unpack[records.DelayQueue]) -> None: ...
    @overload
    def write(self, event: Literal["finished"], /, **fields: Unpack[records.Finished]) -> None: ...
    @overload
    def write(self, event: Literal["torn_down"], /, **fields: Unpack[records.TornDown]) -> None: ...
    def write(self, event: str, /, **fields: Any) -> None:
        """Append one record. Raises OSError if the disk is full."""
        self.append(event, fields)
