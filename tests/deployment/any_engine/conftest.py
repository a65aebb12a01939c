import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    from block_engine import folder_of

    return folder_of(tmp_path_factory.mktemp("blocks") / "photos", 30)
