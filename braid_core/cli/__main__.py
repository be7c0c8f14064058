"""Makes ``python -m braid_core.cli`` the same as ``braid``."""

from braid_core.cli import console

console()
