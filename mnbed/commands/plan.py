"""Check an experiment and show what a run would do. Needs no root and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mnbed.budget import Budget
    from mnbed.experiment import Experiment
    from mnbed.machine import MachineFacts
    from mnbed.plan import Plan


def main(
    file: Annotated[
        Path | None, typer.Argument(help="The experiment, a YAML file.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override one key, e.g. time.duration=30s.", show_default=False
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print every key an experiment may have, and stop.")
    ] = False,
    step_cpu: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Processor time of one local step, e.g. 7ms, for the estimate."),
    ] = None,
) -> None:
    """Raises InputError or MachineError where the experiment cannot be run."""
    from mnbed import schema as schemas
    from mnbed.budget import budget
    from mnbed.errors import InputError
    from mnbed.loading import dump_experiment, load_experiment, naming
    from mnbed.machine import probe
    from mnbed.plan import make_plan

    if schema:
        print(schemas.text())
        return
    if file is None:
        raise InputError("which experiment? Give a YAML file: mnbed plan FILE")
    step_cpu_s = _step_cpu(step_cpu)
    experiment = load_experiment(file, set_ or [])
    facts = probe()
    with naming(file):
        plan = make_plan(experiment, facts)
    print(dump_experiment(experiment))
    _print_hosts(plan)
    _print_links(plan)
    _print_budget(budget(plan, facts, step_cpu_s), plan, experiment, facts)


def _step_cpu(text: str | None) -> float | None:
    from mnbed.errors import InputError
    from mnbed.units import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise InputError(f"--step-cpu {text}: {error}") from None


def _table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    print(title)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def _size(num_bytes: float) -> str:
    """To two digits, as an estimate deserves."""
    from mnbed.units import format_size

    return format_size(float(f"{num_bytes:.2g}"))


def _print_hosts(plan: Plan) -> None:
    from mnbed.units import format_duration

    rows = [
        (
            host.name,
            host.address,
            format_duration(host.step_time_s),
            str(len(host.peers)),
            "straggler" if host.straggler else "",
        )
        for host in plan.hosts
    ]
    _table("hosts", ("host", "address", "step time", "peers", ""), rows)


def _print_links(plan: Plan) -> None:
    from mnbed.units import format_bandwidth, format_duration

    rows = [
        (
            f"{one.interface} -> {one.arrival}",
            format_bandwidth(float(f"{one.asked.bandwidth_bps:.4g}")),
            format_duration(one.asked.delay_s),
            format_bandwidth(float(f"{one.wire.bandwidth_bps:.4g}")),
            format_duration(one.wire.delay_s),
        )
        for one in plan.directions.values()
    ]
    _table(
        "links (emulated, then on the wire)",
        ("link", "bandwidth", "delay", "wire bandwidth", "wire delay"),
        rows,
    )


def _print_budget(costs: Budget, plan: Plan, experiment: Experiment, facts: MachineFacts) -> None:
    from mnbed.machine import unknown
    from mnbed.units import format_duration

    demand = "unknown (give --step-cpu)" if costs.demand_cores is None else f"{costs.demand_cores:.2f} cores"
    lines = [
        ("dilation", f"{plan.dilation:g} wall seconds for each emulated second"),
        ("delay backend", plan.delay_backend),
        ("local steps", f"{costs.steps_per_wall_s:.0f} each wall second, all nodes together"),
        ("network", f"at most about {costs.network_cores:.2f} cores"),
        ("processor", f"{demand}, of {costs.cores}"),
        (
            "a step may take",
            f"{format_duration(float(f'{costs.step_cpu_limit_s:.2g}'))} of processor time at this dilation",
        ),
        (
            "memory",
            f"about {_size(costs.memory_bytes)}, of {_size(facts.memory_bytes)} free",
        ),
        (
            "snapshots",
            f"{costs.snapshots}, {'kept' if experiment.evaluate.keep_snapshots else 'removed after the evaluation'}",
        ),
        (
            "wall time",
            f"about {costs.wall_s:.0f} s" + ("" if costs.demand_cores else ", and the evaluation's"),
        ),
    ]
    if costs.fitting_dilation is not None:
        lines.insert(5, ("fitting dilation", f"{costs.fitting_dilation:g} (70 % of the cores)"))
    print("budget (estimated)")
    for name, value in lines:
        print(f"  {name:18}{value}")
    if unknown(facts):
        print(f"\nassumed, as it could not be tried without root: {', '.join(unknown(facts))}")
    if costs.warning():
        print(f"\nwarning: {costs.warning()}")
