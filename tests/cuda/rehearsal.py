"""`REHEARSE_CUDA_TESTS=1` runs these tests on the CPU: that they themselves work, it shows."""

import os

REHEARSED = os.environ.get("REHEARSE_CUDA_TESTS") == "1"
