"""Mininet's own prompt on an experiment's network."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from mininet.cli import CLI
from mininet.log import lg, setLogLevel

from mnbed.network.build import Network, build_network
from mnbed.network.leftovers import MARK, remove_leftovers
from mnbed.plan import Plan
from mnbed.run.lock import RUNTIME_DIRECTORY, run_lock
from mnbed.run.signals import Signals


def open_prompt(plan: Plan, file: Path) -> None:
    """Build, hand the prompt to the user or to standard input, take down on every way out."""
    signals = Signals()
    with signals.handled(), run_lock(f"cli {file}"):
        remove_leftovers(RUNTIME_DIRECTORY)
        os.environ[MARK] = f"cli-{os.getpid()}"
        with contextlib.ExitStack() as stack:
            with signals.gently():
                network = stack.enter_context(build_network(plan, signals.check))
            signals.check()
            _greet(network)
            # Mininet's verbs print through its log, by default to standard error.
            lg.ch.setStream(sys.stdout)
            setLogLevel("info")
            try:
                # Ctrl-C at Mininet's prompt ends a running command, not the prompt.
                CLI(network.mininet, stdin=sys.stdin)
            finally:
                setLogLevel("warning")
                lg.ch.setStream(sys.stderr)


def _greet(network: Network) -> None:
    plan = network.plan
    size = f"{len(plan.hosts)} hosts, {len(plan.switches)} switches, {len(plan.links)} links"
    print(f"{size}; delay: {plan.delay_backend}; dilation {plan.dilation:g}.")
    print("All verbs of Mininet work; 'help' lists them, 'exit' takes the network down.")
    if plan.delay_backend == "nfqueue":
        print("ping reads a time stamp from before the delay on this kernel: use 'h1 ping -U h2', or TCP.")
