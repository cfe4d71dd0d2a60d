"""`python -m fediverdict` is the command `fediverdict`."""

from fediverdict.cli import main

main()
