"""Check an experiment and show what a run would do. Needs no root and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnbed.commands._options import SetKey, experiment_argument

if TYPE_CHECKING:
    from mnbed.experiment.sections import Experiment
    from mnbed.machine import MachineFacts
    from mnbed.plan.budget import Budget
    from mnbed.plan.model import Plan
    from mnbed.plan.step_cost import StepCost


_TIMELINE_ROWS = 40
_PATH_ROWS = 100


def main(
    file: Annotated[Path | None, experiment_argument()] = None,
    set_: SetKey = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print every key an experiment may have and exit.")
    ] = False,
    step_cpu: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="CPU time of a local step, e.g. 7ms, instead of measuring it."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure a local step again, even if its time is already known.")
    ] = False,
) -> None:
    """Raises InputError or MachineError if the experiment cannot be run."""
    # Root is used only to find out what this machine can do, and then given up.
    from mnbed.machine import probe
    from mnbed.run.user import become_invoking_user

    facts = None if schema or file is None else probe()
    become_invoking_user()

    from mnbed.errors import InputError
    from mnbed.experiment import schema as schemas
    from mnbed.experiment.loading import dump_experiment, load_experiment, naming
    from mnbed.plan.budget import budget
    from mnbed.plan.make import make_plan
    from mnbed.plan.step_cost import UNMEASURED

    if schema:
        print(schemas.text())
        return
    if file is None:
        raise InputError("which experiment? Give a YAML file: mnbed plan FILE")
    if step_cpu is not None and measure:
        raise InputError("--step-cpu and --measure: give only one of them")
    given = _given_step(step_cpu)
    assert facts is not None
    experiment = load_experiment(file, set_ or [])
    with naming(file):
        make_plan(experiment, facts, UNMEASURED)
        step, note = (given, "local step: given by --step-cpu") if given else _step(experiment, again=measure)
        plan = make_plan(experiment, facts, step)
    print(dump_experiment(experiment))
    _print_hosts(plan)
    _print_links(plan)
    _print_paths(plan)
    _print_timeline(plan)
    _print_budget(budget(plan, facts.cores, step), plan, facts, note)


def _given_step(text: str | None) -> StepCost | None:
    from mnbed.errors import InputError
    from mnbed.plan.step_cost import StepCost
    from mnbed.units import parse_duration

    if text is None:
        return None
    try:
        cpu_s = parse_duration(text)
    except ValueError as error:
        raise InputError(f"--step-cpu {text}: {error}") from None
    if cpu_s <= 0:
        raise InputError(f"--step-cpu {text}: it must be above 0")
    return StepCost(wall_s=cpu_s, cpu_s=cpu_s)


def _step(experiment: Experiment, *, again: bool) -> tuple[StepCost | None, str]:
    """What a step costs here, and a line about it; None if it cannot be measured and the plan does not need it."""
    from mnbed.errors import MachineError
    from mnbed.run.step_measurement import needs_step, step_cost
    from mnbed.run.user import invoking_user

    try:
        measured = step_cost(experiment, invoking_user(), again=again, say=print)
    except MachineError as error:
        if again or needs_step(experiment):
            raise
        return None, f"local step: not measured: {error.message}"
    return measured.step, measured.text()


def _table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    print(title)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def _size(num_bytes: float) -> str:
    """Two significant digits: it is an estimate."""
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
            host.label or "",
        )
        for host in plan.hosts
    ]
    _table("hosts", ("host", "address", "step time", "peers", "", "label"), rows)
    switches = [(name, plan.labels[name]) for name in plan.switches if name in plan.labels]
    if switches:
        _table("switches with labels", ("switch", "label"), switches)


def _print_paths(plan: Plan) -> None:
    """Paths shaped at the sender by destination, one row per pair of regions or hosts with the same properties."""
    from mnbed.units import format_bandwidth, format_duration

    places = {host.name: host.region or host.name for host in plan.hosts}
    rows: dict[tuple[str, ...], None] = {}
    for direction in plan.directions.values():
        for branch in direction.branches:
            asked = branch.asked
            rate = (
                "" if asked.bandwidth_bps is None else format_bandwidth(float(f"{asked.bandwidth_bps:.4g}"))
            )
            targets = dict.fromkeys(places[target] for target in branch.targets)
            for target in targets:
                rows[places[direction.source], target, rate, format_duration(asked.delay_s)] = None
    if rows:
        shown = list(rows)[:_PATH_ROWS]
        if len(rows) > len(shown):
            shown.append((f"... and {len(rows) - len(shown):,} more", "", "", ""))
        _table("paths (shaped at the sender, per destination)", ("from", "to", "bandwidth", "delay"), shown)


def _print_links(plan: Plan) -> None:
    from mnbed.plan.properties import PROPERTIES
    from mnbed.units import format_bandwidth, format_duration

    rare = [
        row
        for row in PROPERTIES
        if row.edge is not None
        and row.edge.rare
        and any(map(row.asked_of, (direction.asked for direction in plan.directions.values())))
    ]
    rows = []
    for link in plan.links:
        there, back = link.directions
        # One row for both directions if they have the same properties.
        same = (there.asked, there.wire) == (back.asked, back.wire)
        for direction in (there,) if same else (there, back):
            rows.append(
                (
                    f"{direction.interface} {'<->' if same else '->'} {direction.arrival}",
                    format_bandwidth(float(f"{direction.asked.bandwidth_bps:.4g}")),
                    format_duration(direction.asked.delay_s),
                    format_bandwidth(float(f"{direction.wire.bandwidth_bps:.4g}")),
                    format_duration(direction.wire.delay_s),
                    *(row.form(getattr(direction.asked, row.field)) for row in rare),
                )
            )
    _table(
        "links (emulated, then on the wire)",
        ("link", "bandwidth", "delay", "wire bandwidth", "wire delay", *(row.key for row in rare)),
        rows,
    )


def _print_timeline(plan: Plan) -> None:
    from mnbed.units import format_duration, format_wall_time

    if not plan.timeline:
        return
    rows = [
        (
            format_duration(float(f"{event.at_s:.6g}")),
            format_wall_time(event.at_s * plan.dilation),
            str(event.entry),
            event.text,
        )
        for event in plan.timeline[:_TIMELINE_ROWS]
    ]
    more = len(plan.timeline) - len(rows)
    if more > 0:
        rows.append((f"... and {more:,} more", "", "", ""))
    _table("timeline", ("emulated", "after the start", "entry", "what happens"), rows)


def _print_budget(costs: Budget, plan: Plan, facts: MachineFacts, step_note: str) -> None:
    from mnbed.machine import unknown
    from mnbed.plan.budget import COMFORTABLE_SHARE
    from mnbed.plan.soundness import unchecked
    from mnbed.units import format_duration, format_wall_time

    cores = [source.cores(plan.dilation) for source in costs.sources]
    rows = [
        (source.name, source.amount, f"{source.cpu_s:.2f}", f"{busy:.2f}", f"{busy / costs.cores:.0%}")
        for source, busy in zip(costs.sources, cores, strict=True)
    ]
    total = "all" if costs.demand_cores is not None else "all but training"
    rows.append(
        (
            total,
            "",
            f"{sum(source.cpu_s for source in costs.sources):.2f}",
            f"{sum(cores):.2f}",
            f"{sum(cores) / costs.cores:.0%}",
        )
    )
    _table(
        "processor (estimated)",
        (
            "source",
            "per emulated second",
            "CPU s per emulated s",
            f"cores at dilation {plan.dilation:g}",
            f"share of {costs.cores}",
        ),
        rows,
    )
    limit = format_duration(float(f"{costs.step_cpu_limit_s:.2g}"))
    keep = "kept" if plan.experiment.evaluate.keep_snapshots else "removed after the evaluation"
    evaluation = (
        "plus the evaluation"
        if costs.evaluation_s is None
        else f"evaluation {format_wall_time(costs.evaluation_s)}"
    )
    lines = [
        ("local step", step_note.removeprefix("local step: ")),
        ("dilation", _dilation_text(costs, plan)),
        ("delay backend", plan.delay_backend),
        (
            "a step may take",
            f"{limit} of CPU time at this dilation, to use {COMFORTABLE_SHARE:.0%} of the cores",
        ),
        ("memory", f"about {_size(costs.memory_bytes)}, of {_size(facts.memory_bytes)} free"),
        ("snapshots", f"{costs.snapshots}, about {_size(costs.disk_bytes)}, {keep}"),
        ("wall time", f"about {format_wall_time(costs.wall_s)} ({evaluation})"),
    ]
    print("budget (estimated)")
    for name, value in lines:
        print(f"  {name:18}{value}")
    if unknown(facts):
        print(f"\nassumed, because it cannot be checked without root: {', '.join(unknown(facts))}")
    if later := unchecked(plan.experiment, len(plan.hosts)):
        print(f"\nnot checked, because data is loaded only when the run begins: {', '.join(later)}")
    if costs.warning():
        print(f"\nwarning: {costs.warning()}")


def _dilation_text(costs: Budget, plan: Plan) -> str:
    """The dilation and how it was chosen."""
    from mnbed.plan.budget import COMFORTABLE_SHARE

    text = f"{plan.dilation:g} wall seconds per emulated second"
    rule = f"the demand fits {COMFORTABLE_SHARE:.0%} of the cores"
    if plan.dilation_asked == "auto":
        return f"{text}; auto: the smallest, at least 1, at which {rule}"
    if costs.fitting_dilation is None:
        return text
    return f"{text}; at {costs.fitting_dilation:g} or more, {rule}"
