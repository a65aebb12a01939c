"""`python -m dld_d2.evaluation`: the command of `tools/evaluate.py`."""

import sys

from dld_d2.evaluation.cli import main

sys.argv[0] = "python -m dld_d2.evaluation"  # as its usage shows it
sys.exit(main())
