"""Network graphs: generators with their parameters, tables, drawings, and conversion between file formats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnbed.commands import _completion
from mnbed.commands._options import set_option

if TYPE_CHECKING:
    from mnbed.topology_view import NetworkView
    from topologies.properties import EdgeProperty

_Source = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="A generator's name, a topology file, or an experiment.",
        show_default=False,
        autocompletion=_completion.networks,
    ),
]
_Set = Annotated[list[str] | None, set_option("A generator's parameter (nodes=16), or an experiment's key.")]
_Seed = Annotated[int, typer.Option(help="Seed for generators that draw at random.")]
_HostsPerSwitch = Annotated[
    int, typer.Option("--hosts-per-switch", help="For a file without hosts: how many to put on each switch.")
]
_Parallel = Annotated[
    str, typer.Option(help="For a file with several links between two nodes: refuse or merge.")
]
_Component = Annotated[
    str, typer.Option(help="For a file that is not connected: all (refuse it) or largest.")
]
_MAX_ROWS = 500


def list_() -> None:
    """List generators with their parameters, file formats, and matrices of measured networks."""
    import topologies
    from topologies import files
    from topologies.matrices import matrices

    for kind in topologies.names():
        print(f"{kind}: {topologies.purpose(kind)}")
        for parameter in topologies.parameters(kind).values():
            default = "required" if parameter.required else _shown(parameter.default)
            print(f"    {parameter.name} ({parameter.type_name}, {default}): {parameter.help}")
    print(f"\nfiles, by ending: {files.endings()}")
    print(f"matrices of the generator regions: {', '.join(matrices())}")


def show(
    what: _Source,
    set_: _Set = None,
    seed: _Seed = 1,
    hosts_per_switch: _HostsPerSwitch = 1,
    parallel: _Parallel = "refuse",
    component: _Component = "all",
) -> None:
    """Show a network as a table: nodes, links with bandwidth and delay, paths between regions."""
    view = _view(what, set_, seed, hosts_per_switch, parallel, component)
    _print_view(view)


def draw(
    what: _Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .svg, .png or .pdf.")] = Path(
        "topology.svg"
    ),
    set_: _Set = None,
    seed: _Seed = 1,
    hosts_per_switch: _HostsPerSwitch = 1,
    parallel: _Parallel = "refuse",
    component: _Component = "all",
) -> None:
    """Draw a network: hosts, switches and stragglers in different colours, links as wide as their bandwidth."""
    from mnbed.errors import InputError

    if output.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise InputError(f"--output {output}: unknown ending {output.suffix!r}; allowed: .svg, .png, .pdf")
    view = _view(what, set_, seed, hosts_per_switch, parallel, component)
    from mnbed.results.network_plot import draw_network
    from mnbed.results.plot_style import style
    from topologies import rules

    with style():
        figure = draw_network(
            view.title,
            _rows(view),
            set(rules.hosts(view.graph)),
            view.stragglers,
            {node: label for node, label in view.graph.nodes(data="label") if label},
        )
        try:
            figure.savefig(output, bbox_inches="tight", dpi=150)
        except OSError as error:
            raise InputError(f"--output {output}: cannot be written: {error.strerror}") from None
    print(output)


def convert(
    source: _Source,
    target: Annotated[
        Path,
        typer.Argument(help="File to write; its ending determines the format.", show_default=False),
    ],
    set_: _Set = None,
    seed: _Seed = 1,
    hosts_per_switch: _HostsPerSwitch = 1,
    parallel: _Parallel = "refuse",
    component: _Component = "all",
) -> None:
    """Write a network to a file: GraphML, GML, edge list, node-link JSON, YAML, Kollaps XML."""
    from mnbed.errors import InputError
    from topologies import files

    view = _view(source, set_, seed, hosts_per_switch, parallel, component)
    _check_other_file("the network's source", Path(source), target)
    try:
        files.save(view.graph, target)
    except ValueError as error:
        raise InputError(str(error)) from None
    print(target)


VERBS = {"list": list_, "show": show, "draw": draw, "convert": convert}


def _view(
    what: str, set_: list[str] | None, seed: int, hosts_per_switch: int, parallel: str, component: str
) -> NetworkView:
    from mnbed.topology_view import say_notes, view_of

    view = view_of(
        what,
        set_ or [],
        seed=seed,
        hosts_per_switch=hosts_per_switch,
        parallel=parallel,
        component=component,
    )
    say_notes(view, lambda text: print(text, file=sys.stderr))
    return view


def _check_other_file(what: str, source: Path, target: Path) -> None:
    """Raises InputError if both are the same file, under whatever names."""
    from mnbed.errors import InputError

    if source.exists() and target.exists() and source.samefile(target):
        raise InputError(f"{target} is {what} and would be overwritten: give another file")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return f"default {str(value).lower()}"
    return "optional" if value is None or value == "" else f"default {value}"


def _rows(view: NetworkView) -> list[Any]:
    from mnbed.results.links import LinkRow

    return [
        LinkRow(
            a=a,
            b=b,
            straggler=bool({a, b} & view.stragglers),
            asked_ab_bandwidth_bps=view.direction(a, b).get("bandwidth_bps"),
            asked_ba_bandwidth_bps=view.direction(b, a).get("bandwidth_bps"),
        )
        for a, b in _ends(view)
    ]


def _ends(view: NetworkView) -> list[tuple[str, str]]:
    """The ends of every link, the host first."""
    kinds = view.graph.nodes(data="kind")
    return [(b, a) if kinds[a] == "switch" and kinds[b] == "host" else (a, b) for a, b in view.graph.edges]


def _print_view(view: NetworkView) -> None:
    from rich.table import Table

    from mnbed.console import make_console
    from topologies import rules
    from topologies.burst_loss import NONE
    from topologies.properties import EDGE_PROPERTIES

    graph = view.graph
    console = make_console(highlight=False)
    hosts, switches = rules.hosts(graph), rules.switches(graph)
    console.print(
        f"{view.title}: {len(hosts)} hosts, {len(switches)} switches, {graph.number_of_edges()} links",
        markup=False,
    )
    labelled = any(label for _, label in graph.nodes(data="label"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = [
        row
        for row in EDGE_PROPERTIES
        if not row.rare or any(set(_both_ways(view, a, b, row)) - {"", NONE} for a, b in _ends(view))
    ]
    for header in ("link", *(row.key for row in shown), "", *(["labels"] if labelled else [])):
        table.add_column(header)
    directions_differ = False
    for a, b in _ends(view)[:_MAX_ROWS]:
        ways = [_both_ways(view, a, b, row) for row in shown]
        directions_differ |= any(there != back for there, back in ways)
        labels = " - ".join(str(graph.nodes[node].get("label") or node) for node in (a, b))
        table.add_row(
            f"{a} - {b}",
            *(there if there == back else f"{there or '-'} / {back or '-'}" for there, back in ways),
            "straggler" if {a, b} & view.stragglers else "",
            *([labels] if labelled else []),
        )
    console.print(table)
    if graph.number_of_edges() > _MAX_ROWS:
        console.print(f"... and {graph.number_of_edges() - _MAX_ROWS:,} more links")
    if directions_differ:
        console.print("(if the directions differ: first node to second / back)")
    _print_paths(view, console)


def _both_ways(view: NetworkView, a: str, b: str, row: EdgeProperty) -> tuple[str, str]:
    """The property of a link from a to b and back, as text; empty if it is not given."""
    there, back = (view.direction(*ends).get(row.attribute) for ends in ((a, b), (b, a)))
    return "" if there is None else row.shown(there), "" if back is None else row.shown(back)


def _print_paths(view: NetworkView, console: Any) -> None:
    from rich.table import Table

    from topologies.units import format_bandwidth, format_duration

    graph = view.graph
    if graph.graph.get("per_pair"):
        console.print("\nlinks limit each pair of hosts separately")
    if not graph.graph.get("paths"):
        return
    how = "shared by all hosts of a region" if graph.graph.get("paths_shared") else "for each pair of hosts"
    console.print(f"\npaths between regions, {how}, beside the hosts' own links")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("between", "bandwidth", "delay", "loss"):
        table.add_column(header)
    for path in graph.graph["paths"]:
        rate, delay = path.get("bandwidth_bps"), path.get("delay_s")
        table.add_row(
            " - ".join(path["between"]),
            "" if rate is None else format_bandwidth(rate),
            "" if delay is None else format_duration(delay),
            f"{path.get('loss') or '':}",
        )
    console.print(table)
