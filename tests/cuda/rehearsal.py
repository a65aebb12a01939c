"""With `REHEARSE_CUDA_TESTS=1` these tests run on the CPU: that shows that they themselves work, and
nothing of a GPU."""

import os

REHEARSED = os.environ.get("REHEARSE_CUDA_TESTS") == "1"
