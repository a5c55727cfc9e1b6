"""One agent as a standalone program: `python -m node_agent ORDERS.json`, for debugging and foreign machines.

The file (- for standard input) holds what the warm parent would get for the agent: {"uid", "gid", "groups", "home",
"umask", "data_root", "seed", "num_nodes", "task", "settings"}. The process must already be in its host's namespace.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from node_agent.privileges import drop_for_good


def main() -> int:
    """Drop root, redirect output to the node's log if the orders came on standard input, load the data, run."""
    given = sys.argv[1]
    orders = json.loads(sys.stdin.read() if given == "-" else Path(given).read_text())
    drop_for_good(orders["uid"], orders["gid"], orders["groups"])
    os.umask(orders["umask"])
    os.environ["HOME"] = orders["home"]

    import torch

    from node_agent.agent import run_agent
    from node_agent.settings import AgentSettings
    from node_agent.tasks import create_task

    settings = AgentSettings.from_json(json.dumps(orders["settings"]))
    if given == "-":
        log = Path(settings.run_directory) / "nodes" / f"{settings.name}.log"
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644), 1)
        os.dup2(1, 2)
    torch.set_num_threads(1)
    sys.setswitchinterval(0.0005)
    task = create_task(orders["task"], Path(orders["data_root"]), orders["seed"])
    task.load()
    return run_agent(settings, task, task.partition(orders["num_nodes"])[settings.index])


if __name__ == "__main__":
    sys.exit(main())
