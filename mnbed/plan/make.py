"""From an experiment and the facts about a machine to a frozen Plan: every name, address, route and dilated rate.

Pure: nothing here touches the machine, opens a file or draws random numbers that the seed does not determine. What
comes after only executes the plan, so `mnbed plan` shows exactly what `mnbed run` will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import networkx as nx

import topologies
from mnbed import units
from mnbed.errors import InputError, MachineError
from mnbed.experiment.sections import INLINE, MAX_DILATION, Experiment
from mnbed.machine import MachineFacts
from mnbed.plan import budget, draws, feasible, routes, soundness
from mnbed.plan.links import plan_links
from mnbed.plan.model import HostPlan, LinkPlan, Plan, Reshape
from mnbed.plan.step_cost import StepCost
from mnbed.plan.unfold import expand
from node_agent.streams import stream_seed
from topologies import rules
from topologies.description import from_description

# A wrong unit (5ms for 5s) must not fill the disk.
MAX_SNAPSHOTS_PER_NODE = 10_000


def make_plan(experiment: Experiment, facts: MachineFacts, step: StepCost | None = None) -> Plan:
    """Decides everything that a run of the experiment does on a machine with those facts.

    `step`: the cost of a local step here. Without it, dilation auto is 1, and step_time cannot be `measured`.
    Raises InputError with all problems of the experiment, one line each, beginning with the key;
    MachineError if this machine cannot do it. Unknown facts are assumed to be fine.
    """
    asked = experiment.time.dilation
    if isinstance(asked, str):
        plan = _plan_at(1.0, experiment, facts, step)
        chosen = 1.0 if step is None else _automatic_dilation(plan, facts, step)
        return replace(_plan_at(chosen, experiment, facts, step), dilation_asked=asked)
    return replace(_plan_at(asked, experiment, facts, step), dilation_asked=asked)


def _automatic_dilation(plan: Plan, facts: MachineFacts, step: StepCost) -> float:
    """The smallest dilation, at least 1, at which the plan fits the machine. Raises MachineError."""
    fitting = budget.fitting_dilation(plan, facts.cores, step)
    if fitting > MAX_DILATION:
        raise MachineError(
            f"time.dilation: auto would be {fitting:,.0f}, but at most {MAX_DILATION:,.0f} is allowed: this machine, "
            f"with {facts.cores} cores, is too small",
            "use fewer nodes, a longer compute.step_time, a smaller model, or a larger machine",
        )
    return max(1.0, fitting)


def _plan_at(dilation: float, experiment: Experiment, facts: MachineFacts, step: StepCost | None) -> Plan:
    graph = network_graph(experiment)
    names = rules.hosts(graph)
    switches = rules.switches(graph)
    feasible.check_size(experiment, len(names), len(switches), facts)
    problems: list[str] = []
    stragglers = draws.straggler_factors(experiment, names, problems)
    step_times = draws.step_times(experiment, names, step, problems)
    problems = [*_time_problems(experiment, min(step_times)), *problems]
    peers = draws.overlay_peers(experiment, names, problems)
    links = plan_links(experiment, graph, stragglers, dilation, problems)
    # A wrong overlay also has too few peers: one message is enough.
    if not problems:
        num_parameters = None if step is None else step.num_parameters
        problems += soundness.algorithm_problems(experiment, peers, num_parameters)
    problems += soundness.task_problems(experiment, len(names))
    if problems:
        raise InputError("\n".join(problems))
    timeline = expand(
        experiment.network.events,
        graph,
        names,
        links,
        duration_s=experiment.time.duration,
        dilation=dilation,
        seed=experiment.seed,
        problems=problems,
    )
    if problems:
        raise InputError("\n".join(problems))
    asked = [direction.asked for link in links for direction in link.directions]
    asked += [
        direction.asked.towards(branch.asked)
        for link in links
        for direction in link.directions
        for branch in direction.branches
    ]
    later = [
        direction.asked for event in timeline if isinstance(event, Reshape) for direction in event.directions
    ]
    backend = feasible.delay_backend(experiment, [*asked, *later], facts)
    feasible.check_distributions(asked, later, backend)
    feasible.check_congestion_control(experiment, facts)
    slow = {link.a for link in links if link.straggler}
    hosts = tuple(
        HostPlan(
            name=name,
            index=index,
            address=str(IPv4Address("10.0.0.0") + index + 1),
            mac=_mac(index),
            straggler=name in slow,
            step_time_s=step_times[index],
            peers=tuple(names[peer] for peer in peers[index]),
            label=graph.nodes[name].get("label"),
            region=graph.nodes[name].get("region"),
        )
        for index, name in enumerate(names)
    )
    return Plan(
        experiment=experiment,
        dilation=dilation,
        delay_backend=backend,
        hosts=hosts,
        switches=tuple(switches),
        links=links,
        labels={node: label for node, label in graph.nodes(data="label") if label is not None},
        forwarding=plan_routes(hosts, switches, links),
        step=step,
        datapath=feasible.datapath(experiment, facts),
        timeline=timeline,
    )


def network_graph(experiment: Experiment) -> nx.Graph:
    """The network's graph, checked. Raises InputError."""
    parameters = dict(experiment.network.topology)
    kind = parameters.pop("kind")
    try:
        if kind == INLINE:
            return from_description(parameters)
        return topologies.generate(kind, parameters, stream_seed(experiment.seed, "topology"))
    except ValueError as error:
        raise InputError(f"network.topology: {kind}: {error}") from None


def _mac(index: int) -> str:
    digits = f"{index + 1:012x}"
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _time_problems(experiment: Experiment, step_time: float) -> list[str]:
    """`step_time`: of the fastest node."""
    problems = []
    duration, every = experiment.time.duration, experiment.evaluate.every
    local_steps = getattr(experiment.task, "local_steps", 1)
    shown = units.format_duration
    if duration < local_steps * step_time:
        problems.append(
            f"time.duration: got {shown(duration)}; one round takes {shown(local_steps * step_time)} "
            f"({local_steps} local steps of {shown(step_time)})"
        )
    if every > duration:
        problems.append(
            f"evaluate.every: got {shown(every)}; it must be at most time.duration, {shown(duration)}"
        )
    elif duration / every > MAX_SNAPSHOTS_PER_NODE:
        problems.append(
            f"evaluate.every: got {shown(every)}; that makes {duration / every:,.0f} snapshots per node, "
            f"but at most {MAX_SNAPSHOTS_PER_NODE:,} are allowed"
        )
    return problems


def plan_routes(
    hosts: Sequence[HostPlan], switches: Sequence[str], links: Sequence[LinkPlan]
) -> dict[str, dict[str, str]]:
    """Forwarding table of every switch: destination host's MAC -> outgoing interface."""
    access: dict[str, LinkPlan] = {}
    neighbours: dict[str, dict[str, float]] = {switch: {} for switch in switches}
    interface: dict[tuple[str, str], str] = {}
    names = {host.name for host in hosts}
    for link in links:
        interface[link.b, link.a] = link.b_interface
        if link.a in names:
            access[link.a] = link
        else:
            interface[link.a, link.b] = link.a_interface
            neighbours[link.a][link.b] = link.forward.asked.delay_s
            neighbours[link.b][link.a] = link.backward.asked.delay_s
    # Hosts on the same switch share its tree.
    trees = {
        switch: routes.tree_towards(neighbours, switch) for switch in {link.b for link in access.values()}
    }
    forwarding: dict[str, dict[str, str]] = {switch: {} for switch in switches}
    for target in hosts:
        last = access[target.name]
        next_switch = trees[last.b]
        for switch in switches:
            towards = target.name if switch == last.b else next_switch[switch]
            forwarding[switch][target.mac] = interface[switch, towards]
    return forwarding
