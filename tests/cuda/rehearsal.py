"""`REHEARSE_CUDA_TESTS=1` takes these tests through on the CPU.

It shows that the tests themselves work, and nothing of a GPU.
"""

import os

REHEARSED = os.environ.get("REHEARSE_CUDA_TESTS") == "1"
