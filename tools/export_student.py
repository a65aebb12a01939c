#!/usr/bin/env python3
"""Write a trained model as one file: `dld-d2 export`. `--help` tells the rest."""

import sys

from dld_d2.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
