#!/usr/bin/env python3
"""Compare the shipped models with their cards: `dld-d2 check`. `--help` tells the rest."""

import sys

from dld_d2.commands.check import main

if __name__ == "__main__":
    sys.exit(main())
