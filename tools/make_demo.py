#!/usr/bin/env python3
"""The method in three minutes on a CPU, as `make demo` shows it; `--help` tells the rest."""

import os
import sys
import warnings

if __name__ == "__main__":
    # Threads that wait without spinning: a demo is often not alone on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.filterwarnings("ignore")
    try:
        from demo_page.command import main
    except ImportError as error:
        print(f"error: {error}; `make demo` sets up what is needed", file=sys.stderr)
        sys.exit(2)
    sys.exit(main())
