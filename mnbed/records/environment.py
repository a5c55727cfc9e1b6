"""environment.json: all that could explain a difference between two runs. Written in steps, as a run comes to know it.

Every key may be missing, since a run may break off at any step, and null where this machine does not tell.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict


class MachineFacts(TypedDict):
    """The machine, as it was when the run began."""

    processor: str | None
    architecture: str
    cores_used: int
    """That the run may use."""
    governor: str | None
    """Of the first core's frequency."""
    load_average: list[float]
    clock_source: str | None
    virtualisation: str | None
    """As systemd-detect-virt has it; `yes` where only the processor tells that there is one."""


class StepMoment(TypedDict):
    """The machine while a step was timed."""

    spread: float
    others_busy: float | None
    stolen: float | None
    load_average: float | None


class Step(TypedDict):
    """What a local step costs here; wall seconds."""

    wall_s: float
    cpu_s: float
    """Processor time, with the machine otherwise idle."""
    num_parameters: int | None
    busy_cpu_s: float | None
    """Processor time beside as many other agents as keep 70 % of the cores busy."""
    moment: StepMoment | None


class Budget(TypedDict):
    """What the processor was expected to do."""

    sources: dict[str, float]
    """Source -> cores that it keeps busy."""
    demand_cores: float | None
    cores: int
    fitting_dilation: float | None


class Host(TypedDict):
    """One host."""

    name: str
    label: str | None
    """What the topology's source calls it, where that is not its name."""
    region: str | None
    index: int
    address: str
    straggler: bool
    step_time_s: float
    peers: list[str]
    """Overlay neighbours."""


class Ends(TypedDict):
    """What leaves interface a, and interface b."""

    a: dict[str, Any]
    """Property -> value; of the properties, `mnbed plan --schema` tells under network.link."""
    b: dict[str, Any]


class Readback(TypedDict):
    """What the kernel has on interface a and b, wall-clock units; null: nothing is shaped there."""

    a: dict[str, Any] | None
    b: dict[str, Any] | None


class Link(TypedDict):
    """One link."""

    a: str
    b: str
    a_interface: str
    b_interface: str
    straggler: bool
    asked: Ends
    """Emulated units."""
    wire: Ends
    """Wall-clock units, as put on the interfaces."""
    readback: Readback
    readback_branches: list[dict[str, Any]]
    """Of interface a: each branch by destination."""


class Environment(TypedDict, total=False):
    """The file."""

    mnbed: str
    """Version."""
    versions: dict[str, str]
    """Python, and package -> version."""
    tools: dict[str, str | None]
    """Program -> what it prints of its version; null: missing."""
    torch: dict[str, str]
    """As torch's own version file says it."""
    kernel: str
    kernel_version: str
    machine: MachineFacts
    sysctl: dict[str, str | None]
    """What changes how TCP behaves; hosts' namespaces start with these values."""
    environment: dict[str, str]
    """Variables that change what agents do."""
    cores: int | None
    memory_bytes: int
    git_revision: str | None
    command: list[str]
    started: str
    """ISO time."""
    delay_backend: str
    switch: str
    dilation: float
    dilation_asked: float | str
    """The experiment's own word: a number, or auto."""
    left_to_machine: dict[str, Any]
    """Key -> the word with which the experiment left it to the machine."""
    step: Step | None
    """Null: it was not measured."""
    budget: Budget
    hosts: list[Host]
    switches: list[str]
    labels: dict[str, str]
    """Host or switch -> what the topology's source calls it."""
    branches: dict[str, list[dict[str, Any]]]
    """Host -> `targets`, and what limits packets to them beside its link; emulated units."""
    round_trip_s: dict[str, dict[str, float]] | None
    """Host -> host -> asked round trip, emulated seconds; null: too many pairs."""
    data_root: str
    algorithm_digest: str | None
    """Of the user's own algorithm's file."""
    links: list[Link]
    standin: bool
    """Generated data has taken the place of the real."""
    data: str
    """What the data is, in words."""
    step_wall_s: float
    """One local step as the warm parent timed it, wall seconds."""
    num_parameters: int
    partition: list[list[int]]
    """Node -> label -> how many training samples."""
