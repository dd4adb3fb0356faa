"""``python -m broker``: the same as the program ``stafett``."""

from broker.cli import main

main()
