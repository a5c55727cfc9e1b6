"""environment.json: everything that could explain a difference between two runs. A run adds to it as it learns more.

Every key may be missing, because a run may end early, or null if this machine does not report the value.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict


class MachineFacts(TypedDict):
    """The machine, as it was when the run began."""

    processor: str | None
    architecture: str
    cores_used: int
    """Cores that the run may use."""
    governor: str | None
    """Frequency governor of the first core."""
    load_average: list[float]
    clock_source: str | None
    virtualisation: str | None
    """As systemd-detect-virt reports it; `yes` if only the processor shows that there is a hypervisor."""


class StepMoment(TypedDict):
    """The machine while a step was timed."""

    spread: float
    """How much slower the slowest repetition was than the fastest, as a fraction of the fastest."""
    others_busy: float | None
    """Share of the cores that other processes used."""
    stolen: float | None
    """Share of the cores' time that the hypervisor gave to other machines."""
    load_average: float | None
    """Per core, over the minute before."""


class Step(TypedDict):
    """What a local step costs here; wall seconds."""

    wall_s: float
    cpu_s: float
    """Processor time on an otherwise idle machine."""
    num_parameters: int | None
    busy_cpu_s: float | None
    """Processor time while other agents keep 70 % of the cores busy."""
    moment: StepMoment | None


class Budget(TypedDict):
    """The processor load that was expected."""

    sources: dict[str, float]
    """Source -> cores that it keeps busy."""
    demand_cores: float | None
    cores: int
    fitting_dilation: float | None


class Host(TypedDict):
    """One host."""

    name: str
    label: str | None
    """What the topology's source calls it, if that is not its name."""
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
    """Property -> value; `mnbed plan --schema` explains the properties under network.link."""
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
    """The branches by destination on interface a."""


class Environment(TypedDict, total=False):
    """The file."""

    mnbed: str
    """Version."""
    versions: dict[str, str]
    """Python, and package -> version."""
    tools: dict[str, str | None]
    """Program -> what it prints about its version; null: missing."""
    torch: dict[str, str]
    """Content of torch's own version file."""
    kernel: str
    kernel_version: str
    machine: MachineFacts
    sysctl: dict[str, str | None]
    """Kernel settings that change how TCP behaves; hosts' namespaces start with these values."""
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
    """As set in the experiment: a number, or auto."""
    left_to_machine: dict[str, Any]
    """Key -> the value, such as auto, with which the experiment left it to the machine."""
    step: Step | None
    """Null: not measured."""
    budget: Budget
    hosts: list[Host]
    switches: list[str]
    labels: dict[str, str]
    """Host or switch -> what the topology's source calls it."""
    branches: dict[str, list[dict[str, Any]]]
    """Host -> `targets`, and the limits on packets to them in addition to the host's link; emulated units."""
    round_trip_s: dict[str, dict[str, float]] | None
    """Host -> host -> round trip asked for, emulated seconds; null: too many pairs."""
    data_root: str
    algorithm_digest: str | None
    """Digest of the file of the user's own algorithm; null: there is none."""
    links: list[Link]
    standin: bool
    """Whether generated data was used in place of the real data."""
    data: str
    """A description of the data."""
    step_wall_s: float
    """One local step as the warm parent timed it, wall seconds."""
    num_parameters: int
    partition: list[list[int]]
    """Node -> label -> number of training samples."""
