"""Mininet's prompt with more verbs: on a network built for it, or on that of a run that has ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mininet.cli import CLI
from mininet.log import lg, output, setLogLevel
from mininet.util import quietRun
from rich.table import Table

from mnbed.console import make_console
from mnbed.errors import InputError, MnbedError, RunError
from mnbed.machine import MachineFacts
from mnbed.network.build import Network, build_network
from mnbed.network.capture import Capture
from mnbed.network.leftovers import remove_leftovers
from mnbed.network.mark import marked
from mnbed.plan.model import Plan
from mnbed.prompt.shape_words import PROPERTIES, answer, parse_change, shape_help
from mnbed.prompt.workbench import Workbench
from mnbed.run.agent_state import DOWN, AgentState
from mnbed.run.job import Job, Outcome
from mnbed.run.lock import run_lock
from mnbed.run.signals import Signals
from mnbed.units import format_bandwidth, format_duration

_TAIL_LINES = 20
_LOOK_MS = 500


def open_prompt(plan: Plan, file: Path, out: Path, facts: MachineFacts) -> None:
    """Build the network, open the prompt for the user or standard input, and take the network down in any case."""
    signals = Signals()
    with signals.handled(), run_lock(f"cli {file}"):
        remove_leftovers()
        with contextlib.ExitStack() as stack:
            stack.enter_context(marked(f"cli-{os.getpid()}"))
            with signals.gently():
                network = stack.enter_context(
                    build_network(_changeable(plan, facts), signals.check, changeable=True)
                )
            signals.check()
            bench = stack.enter_context(Workbench.of(network, out))
            _greet(network)
            with _interruptible():
                prompt = Prompt.open(bench)
            prompt.leave()


def prompt_after(job: Job, error: MnbedError | None) -> None:
    """The prompt on the network of a run, before it is taken down."""
    assert job.network is not None
    if error is not None:
        print(f"\nthe run failed: {error.message}")
    with Workbench.of(job.network, job.run.path.parent, job) as bench:
        _greet(job.network)
        with _interruptible():
            prompt = Prompt.open(bench)
        prompt.leave()


def _changeable(plan: Plan, facts: MachineFacts) -> Plan:
    """The plan with a delay backend, even if no link has a delay yet: `shape` may give it one."""
    if plan.delay_backend != "none":
        return plan
    asked: str = plan.experiment.network.delay_backend
    if asked == "auto":
        asked = "netem" if facts.netem else "nfqueue" if facts.nfqueue else "none"
    return replace(plan, delay_backend=asked)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C goes to whatever the prompt runs or, if it is idle, to the prompt itself."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _greet(network: Network) -> None:
    plan = network.plan
    size = f"{len(plan.hosts)} hosts, {len(plan.switches)} switches, {len(plan.links)} links"
    print(f"{size}; delay: {plan.delay_backend}; dilation {plan.dilation:g}.")
    print("All verbs of Mininet work, and: agents, start, stop, restart, shape, linkstat, tail, capture.")
    print("'help' lists them, 'help VERB' explains one; 'exit', Ctrl-D or Ctrl-C takes the network down.")
    if plan.delay_backend == "nfqueue":
        print("ping reads a time stamp from before the delay on this kernel: use 'h1 ping -U h2', or TCP.")


class Prompt(CLI):  # type: ignore[misc]
    """Mininet's CLI and the verbs of a workbench. A `do_x` is a verb, its docstring the help."""

    prompt = "mnbed> "
    # Hosts may be called capetown-1.
    identchars = CLI.identchars + "-."

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._console = make_console(highlight=False, markup=False)
        self._busy = False
        bench.on_end = self._announce_end
        super().__init__(bench.network.mininet, stdin=sys.stdin)

    @classmethod
    def open(cls, bench: Workbench) -> Prompt:
        """Runs until the user leaves or standard input ends; the caller then calls `leave`."""
        # Mininet's verbs print through its log, by default to standard error.
        lg.ch.setStream(sys.stdout)
        setLogLevel("info")
        try:
            return cls(bench)
        finally:
            setLogLevel("warning")
            lg.ch.setStream(sys.stderr)

    def run(self) -> None:
        """The loop. Ctrl-C ends a command that runs; at an idle prompt it leaves, as Ctrl-D does."""
        while True:
            try:
                self._stop_nodes()
                self.cmdloop()
                return
            except KeyboardInterrupt:
                print()
                if not self._busy:
                    return
                self._busy = False

    def _stop_nodes(self) -> None:
        for node in self.mn.values():
            while node.waiting:
                node.sendInt()
                node.waitOutput()

    def leave(self) -> None:
        """End whatever is running, and report its results."""
        self._bench.on_end = lambda: None
        for capture in self._bench.stop_captures():
            _tell_capture(capture)
        if self._bench.running:
            print("ending the run, and evaluating what was collected", flush=True)
        self._bench.stop_run()
        self._tell_outcome()

    def onecmd(self, line: str) -> Any:
        """Execute a line. No error in a verb ends the prompt, because the network would go with it."""
        self._busy = True
        try:
            return super().onecmd(line)
        except MnbedError as error:
            print(f"*** {error}")
        except OSError as error:
            print(f"*** {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        except SystemExit:
            print("*** 'exit' leaves the prompt")
        except Exception as error:
            print(f"*** {' '.join(line.split()[:1])} failed: {type(error).__name__}: {error}")
        finally:
            if sys.exc_info()[0] is not KeyboardInterrupt:
                self._busy = False
        return None

    def waitForNode(self, node: Any) -> None:
        """Wait until the command in that node has ended, and print its output; keys and Ctrl-C go to it.

        Mininet's own version waits for ever for a shell that has ended, and feeds it a script's next lines.
        """
        poller, keys = select.poll(), self.stdin.fileno() if self.isatty() else None
        poller.register(node.stdout, select.POLLIN)
        if keys is not None:
            poller.register(keys, select.POLLIN)
            quietRun("stty -icanon min 1")
        while node.waiting:
            try:
                # Mininet also holds the other end of the shell's terminal, so nothing signals that the shell has ended.
                ready = poller.poll(_LOOK_MS)
                for descriptor, _ in ready:
                    if descriptor == keys:
                        node.write(self.stdin.read(1))
                    else:
                        output(node.monitor())
                if not ready and node.shell.poll() is not None:
                    node.waiting = False
                    raise RunError(f"the shell of {node.name} has ended; the rest of the network goes on")
            except KeyboardInterrupt:
                node.sendInt()

    def default(self, line: str) -> None:
        """A command in a node, or an unknown word."""
        node = self.mn.nameToNode.get(line.split()[0]) if line.split() else None
        if node is not None and node.shell.poll() is not None:
            raise InputError(f"the shell of {node.name} has ended: nothing more can be run there by hand")
        super().default(line)

    def getLocals(self) -> dict[str, Any]:
        """What the verbs py and px know. Python's own exit() would close the prompt's standard input."""

        def leave(*_: object) -> None:
            raise SystemExit

        return {**super().getLocals(), "exit": leave, "quit": leave}

    def do_wait(self, _line: str) -> None:
        """Mininet's verb waits for controllers; here there are none.
        Usage: wait"""
        print("switches have static entries and no controller: there is nothing to wait for")

    def do_dpctl(self, line: str) -> None:
        """Run ovs-ofctl on every switch.
        Usage: dpctl COMMAND [ARGUMENT ...]"""
        if not all(hasattr(switch, "dpctl") for switch in self.mn.switches):
            raise InputError("dpctl is for `network.switch: ovs`; a bridge's entries: s1 bridge fdb show")
        super().do_dpctl(line)

    def do_source(self, line: str) -> None:
        """Read commands from a file.
        Usage: source FILE"""
        if len(line.split()) == 1:
            with open(line.strip()):  # Mininet goes on with a file that it could not open
                pass
        super().do_source(line)

    def do_x(self, line: str) -> None:
        """Run a command in a node with its windows on this display.
        Usage: x NODE [COMMAND]"""
        if (words := line.split()) and words[0] not in self.mn:
            raise InputError(f"no node {words[0]!r}")
        super().do_x(line)

    def _announce_end(self) -> None:
        """Called from the run's thread: a prompt that waits for a line prints nothing by itself."""
        if self.isatty() and not self._busy:
            print("\n*** the run has ended; Enter shows its results", flush=True)

    def postcmd(self, stop: Any, line: str) -> Any:
        self._tell_outcome()
        return super().postcmd(stop, line)

    def _tell_outcome(self) -> None:
        outcome = self._bench.outcome()
        if isinstance(outcome, MnbedError):
            print(f"*** the run failed: {outcome}")
        elif isinstance(outcome, Outcome):
            if outcome.error is not None:
                print(f"*** the run ended: {outcome.error}")
            if outcome.summary is not None:
                from mnbed.results.console import print_summary

                print_summary(outcome.summary, self._console)
            print(f"run directory: {outcome.run.path}")

    # Agents

    def do_agents(self, _line: str) -> None:
        """What each agent is doing.
        Usage: agents"""
        agents = self._bench.agents
        if not agents:
            starting = "the run is starting" if self._bench.running else "no run yet: 'start' starts one"
            print(starting)
            return
        table = Table(box=None, pad_edge=False)
        headers = ("host", "label", "state", "pid", "round", "steps", "train loss", "sent MB", "received MB")
        for header in headers:
            table.add_column(header, justify="left" if header in ("host", "label", "state") else "right")
        for agent in agents.values():
            table.add_row(*self._agent_row(agent))
        self._console.print(table)

    def _agent_row(self, agent: AgentState) -> list[str]:
        status = agent.status
        counters = None if status is None else status["counters"]
        loss = None if status is None else status["train_loss"]
        return [
            agent.name,
            self._bench.plan.labels.get(agent.name, ""),
            _state(agent),
            "" if agent.pid is None else str(agent.pid),
            "" if status is None else str(status["round"]),
            "" if status is None else str(status["steps"]),
            "" if loss is None else f"{loss:.3f}",
            f"{counters['bytes_sent'] / 1e6:.2f}" if counters else "",
            f"{counters['bytes_received'] / 1e6:.2f}" if counters else "",
        ]

    def do_start(self, line: str) -> None:
        """Start agents on all hosts, as `mnbed run` would, beside the prompt; or one that was stopped.
        Usage: start | start HOST [fresh]
        fresh: with the initial model instead of its last snapshot's."""
        words = line.split()
        if not words:
            path = self._bench.start_run()
            print(f"starting; 'agents' shows how far they are, 'tail controller' the phases: {path}")
            return
        self._bench.start_agent(words[0], self._state_asked(words[1:]))
        print(f"{words[0]} is starting")

    def do_stop(self, line: str) -> None:
        """End the run and evaluate what was collected; or end one agent, while the others go on.
        Usage: stop | stop HOST"""
        words = line.split()
        if words:
            self._bench.stop_agent(words[0])
            print(f"{words[0]} is stopped, and the others go on; 'start {words[0]}' brings it back")
        elif not self._bench.running:
            raise InputError("no run is going on: `start` starts one")
        else:
            print("ending the run, and evaluating what was collected", flush=True)
            self._bench.stop_run()

    def do_restart(self, line: str) -> None:
        """Stop an agent and start it again, with its last snapshot's model or the initial one.
        Usage: restart HOST [fresh]"""
        words = line.split()
        if not words:
            raise InputError("usage: restart HOST [fresh]")
        self._bench.restart_agent(words[0], self._state_asked(words[1:]))
        print(f"{words[0]} is starting again")

    @staticmethod
    def _state_asked(words: list[str]) -> str:
        if words not in ([], ["fresh"]):
            raise InputError(f"{' '.join(words)!r}: only the word fresh may follow the host")
        return "fresh" if words else "last"

    def do_tail(self, line: str) -> None:
        """The last lines of a node's log.
        Usage: tail HOST [LINES]"""
        words = line.split()
        if not words or len(words) > 2 or (len(words) == 2 and not words[1].isdigit()):
            raise InputError("usage: tail HOST [LINES]")
        for entry in self._bench.tail(words[0], int(words[1]) if len(words) == 2 else _TAIL_LINES):
            print(entry)

    # Links

    def do_shape(self, line: str) -> None:
        words = line.split()
        if len(words) < 4:
            raise InputError("usage: shape A B [oneway] bw 5 delay 20ms loss 1")
        a, b, *rest = words
        one_way = rest[0] == "oneway"
        change = parse_change(rest[1:] if one_way else rest)
        for direction in self._bench.shape(a, b, change, one_way=one_way):
            print(f"{direction.source} -> {direction.target}: {answer(direction.asked)}")

    def do_linkstat(self, line: str) -> None:
        """Links as asked for, and what they carry at this moment; bytes, drops and backlog of their queues.
        Usage: linkstat | linkstat A B"""
        words = line.split()
        if len(words) not in (0, 2):
            raise InputError("usage: linkstat | linkstat A B")
        table = Table(box=None, pad_edge=False)
        for header in (
            "link",
            "asked",
            "delay",
            "loss",
            "now",
            "share",
            "sent MB",
            "drops",
            "backlog kB",
            "",
        ):
            table.add_column(header, justify="left" if header in ("link", "") else "right")
        for state in self._bench.link_states((words[0], words[1]) if words else None):
            asked = state.asked
            table.add_row(
                f"{state.source} -> {state.target}",
                format_bandwidth(float(f"{asked.bandwidth_bps:.4g}")),
                format_duration(float(f"{asked.delay_s:.4g}")),
                f"{asked.loss_share:.2%}",
                format_bandwidth(float(f"{state.rate_bps:.4g}")),
                f"{state.rate_bps / asked.bandwidth_bps:.0%}",
                f"{state.bytes_sent / 1e6:.2f}",
                str(state.drops),
                f"{state.backlog_bytes / 1e3:.1f}",
                "" if state.up else "down",
            )
        self._console.print(table)

    def do_link(self, line: str) -> None:
        """Take a link down in both directions, or up again: packets are lost silently.
        Usage: link A B up|down"""
        words = line.split()
        if len(words) != 3 or words[2] not in ("up", "down"):
            raise InputError("usage: link A B up|down")
        self._bench.set_link(words[0], words[1], words[2] == "up")
        print(f"{words[0]} - {words[1]} is {words[2]}")

    def do_capture(self, line: str) -> None:
        """Write what passes A's interface towards B, in both directions, to a pcap file while the prompt goes on.
        Usage: capture A B FILE | capture stop"""
        words = line.split()
        if words == ["stop"]:
            stopped = self._bench.stop_captures()
            for capture in stopped:
                _tell_capture(capture)
            if not stopped:
                print("no capture is going on: 'capture A B FILE' starts one")
            return
        if len(words) != 3:
            raise InputError("usage: capture A B FILE | capture stop")
        capture = self._bench.capture(words[0], words[1], Path(words[2]))
        print(f"capturing {capture.interface} to {capture.path}; 'capture stop' ends it")

    # Completion: readline passes the text of the last word, the line, and where the word begins.

    def _nodes(self, text: str, line: str, begin: int) -> list[str]:
        words = line[:begin].split()
        if len(words) == 2:
            names = [target for source, target in self._bench.plan.directions if source == words[1]]
        else:
            names = [*(host.name for host in self._bench.plan.hosts), *self._bench.plan.switches]
        return [name for name in names if name.startswith(text)]

    def complete_shape(self, text: str, line: str, begin: int, _end: int) -> list[str]:
        words = line[:begin].split()
        if len(words) < 3:
            return self._nodes(text, line, begin)
        unused = [name for name in ("oneway", *PROPERTIES) if name not in words]
        return [name for name in unused if name.startswith(text)] if words[-1] not in PROPERTIES else []

    def complete_linkstat(self, text: str, line: str, begin: int, _end: int) -> list[str]:
        return self._nodes(text, line, begin) if len(line[:begin].split()) < 3 else []

    def complete_link(self, text: str, line: str, begin: int, _end: int) -> list[str]:
        if len(line[:begin].split()) < 3:
            return self._nodes(text, line, begin)
        return [word for word in ("up", "down") if word.startswith(text)]

    def complete_capture(self, text: str, line: str, begin: int, _end: int) -> list[str]:
        if len(line[:begin].split()) < 3:
            return self._nodes(text, line, begin) + [
                word for word in ("stop",) if text and word.startswith(text)
            ]
        return [str(path) for path in Path().glob(f"{text}*")] if text else []

    def _hosts(self, text: str, line: str, begin: int, _end: int) -> list[str]:
        if len(line[:begin].split()) > 1:
            return [word for word in ("fresh",) if word.startswith(text)]
        return [host.name for host in self._bench.plan.hosts if host.name.startswith(text)]

    complete_start = complete_stop = complete_restart = complete_tail = _hosts

    def completenames(self, text: str, *ignored: Any) -> list[str]:
        """Verbs, and nodes: a line may begin with either."""
        return [*super().completenames(text, *ignored), *(name for name in self.mn if name.startswith(text))]

    def completedefault(self, text: str, *_: Any) -> list[str]:
        return [name for name in self.mn if name.startswith(text)]


Prompt.do_shape.__doc__ = shape_help()


def _tell_capture(capture: Capture) -> None:
    lost = f", {capture.lost} lost" if capture.lost else ""
    print(f"{capture.path}: {capture.packets} packets{lost}")


def _state(agent: AgentState) -> str:
    return "stopped" if agent.phase in DOWN else agent.phase.value
