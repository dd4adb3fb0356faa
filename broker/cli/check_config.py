"""``stafett check-config``."""

from pathlib import Path

from broker.config.report import check_file


def run(file: Path, *, as_json: bool) -> int:
    """Print the verdict on *file*. Returns: the exit code."""
    report = check_file(file)
    print(report.json() if as_json else report.text())
    return report.exit_code
