"""``stafett check-config``."""

from pathlib import Path

from broker.config.report import check_file


def run(file: Path) -> int:
    """Print the verdict on *file*. Returns: the exit code."""
    report = check_file(file)
    print(report.text())
    return report.exit_code
