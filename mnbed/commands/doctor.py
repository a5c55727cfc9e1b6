"""Say what this machine can do. One line for each thing a run needs or can use, with its remedy where missing."""

from __future__ import annotations


def main() -> int:
    """Exit status 0 where a run can work, 3 where it cannot."""
    from mnbed.machine import checks, probe

    found = checks(probe())
    for check in found:
        state = {True: "ok", False: "missing", None: "unknown"}[check.ok]
        if check.ok is False and not check.needed:
            state = "absent"
        remedy = f"; remedy: {check.remedy}" if check.ok is False and check.remedy else ""
        print(f"{state:8}{check.name:20}{check.detail}{remedy}")
    missing = [check.name for check in found if check.needed and check.ok is False]
    unknown = [check.name for check in found if check.needed and check.ok is None]
    print()
    if missing:
        print(f"Runs cannot work here yet; missing: {', '.join(missing)}.")
        return 3
    if unknown:
        print(f"Runs may work here; could not be tried: {', '.join(unknown)}.")
        return 0
    print("Runs can work here.")
    return 0
