"""Makes `import torchvision` work beside a torch that it was not built with.

PyPI's torchvision next to a CPU-only torch has no compiled operators, and fails at import when it registers their
fake implementations. Only its data sets and transforms are used here, so declaring the two schemas is enough.
"""

from __future__ import annotations

from typing import Any

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# A library's definitions vanish with the object.
_library: list[Any] = []


class TorchvisionMissing(ImportError):
    """torchvision is not installed."""

    remedy = "run install.sh, which installs the torchvision that fits torch"


def import_torchvision_datasets() -> Any:
    """torchvision.datasets, whatever build of torchvision is installed. Raises TorchvisionMissing."""
    import importlib.util

    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        raise TorchvisionMissing("task.name: this task needs torchvision, which is not installed")
    if not _library and not _has_operators(spec):
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS.values():
            library.define(schema)  # type: ignore[no-untyped-call]
        _library.append(library)
    import torchvision.datasets

    return torchvision.datasets


def _has_operators(spec: Any) -> bool:
    """Whether torchvision's own compiled library loads, and so defines the operators itself."""
    import sys
    from pathlib import Path

    import torch

    if "torchvision" in sys.modules:
        return True
    for folder in spec.submodule_search_locations or ():
        for library in Path(folder).glob("_C*.so"):
            try:
                torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
            except (OSError, RuntimeError):
                continue
            return hasattr(torch.ops.torchvision, "nms")
    return False
