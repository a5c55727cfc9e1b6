"""Report what this machine can do. One line per thing a run needs or can use, with a remedy if it is missing."""

from __future__ import annotations


def main() -> int:
    """Exit status 0 if runs can work, 3 if they cannot."""
    from mnbed.machine import checks, probe

    results = checks(probe())
    for check in results:
        state = {True: "ok", False: "missing", None: "unknown"}[check.ok]
        if check.ok is False and not check.needed:
            state = "absent"
        if check.doubtful:
            state = "warning"
        told = (check.ok is False or check.doubtful) and check.remedy
        remedy = f"; remedy: {check.remedy}" if told else ""
        print(f"{state:8}{check.name:20}{check.detail}{remedy}")
    missing = [check.name for check in results if check.needed and check.ok is False]
    unknown = [check.name for check in results if check.needed and check.ok is None]
    print()
    if missing:
        print(f"Runs do not work here yet; missing: {', '.join(missing)}.")
        return 3
    if unknown:
        print(f"Runs may work here; could not be checked: {', '.join(unknown)}.")
        return 0
    doubtful = [check.name for check in results if check.doubtful]
    print(
        f"Runs work here, but may not be faithful: {', '.join(doubtful)}." if doubtful else "Runs work here."
    )
    return 0
