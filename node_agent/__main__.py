"""One agent as a program of its own: `python -m node_agent ORDERS.json`, for debugging and foreign machines.

The file holds what the warm parent gets for one agent: {"uid", "gid", "groups", "data_root", "seed", "num_nodes",
"task", "settings"}. The process is expected to stand in its host's namespace already.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from node_agent.agent import run_agent
from node_agent.namespaces import drop_root
from node_agent.settings import AgentSettings
from node_agent.tasks import create_task


def main() -> int:
    """Load the data, drop root, run."""
    import torch

    orders = json.loads(Path(sys.argv[1]).read_text())
    drop_root(orders["uid"], orders["gid"], orders["groups"])
    torch.set_num_threads(1)
    sys.setswitchinterval(0.0005)
    settings = AgentSettings.from_json(json.dumps(orders["settings"]))
    task = create_task(orders["task"], Path(orders["data_root"]), orders["seed"])
    task.load()
    return run_agent(settings, task, task.partition(orders["num_nodes"])[settings.index])


if __name__ == "__main__":
    sys.exit(main())
