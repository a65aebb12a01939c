"""Keys of version 0.1: users are told the new names, and old files are read by them."""

import pytest

from dld_d2.engine.config_sources import leaves
from dld_d2.engine.renamed_keys import GONE, RENAMED, current_leaves
from dld_d2.engine.setup import ConfigError, default_cfg, setup_cfg


@pytest.mark.parametrize(("old", "new"), RENAMED.items(), ids=list(RENAMED))
def test_an_old_name_is_answered_with_the_new_one(old, new):
    keys = dict(leaves(default_cfg()))
    assert new in keys and old not in keys
    with pytest.raises(ConfigError) as error:
        setup_cfg("", [old, "1"])
    assert str(error.value) == f"command line: {old} is called {new} now"


@pytest.mark.parametrize(
    ("key", "instead"),
    [("SKD_WEIGHT", "MODEL.DISTILL.TERMS ()"), ("TEACHER_OPTS", "MODEL.DISTILL.TEACHER_CONFIG")],
)
def test_what_is_gone_is_said(tmp_path, key, instead):
    file = tmp_path / "old.yaml"
    file.write_text(f"MODEL:\n  DISTILL:\n    {key}: 0\n")
    with pytest.raises(ConfigError) as error:
        setup_cfg(str(file))
    assert str(error.value).startswith(f"{file}: there is no MODEL.DISTILL.{key} any more; ")
    assert instead in str(error.value)
    assert f"MODEL.DISTILL.{key}" in GONE and f"MODEL.DISTILL.{key}" not in RENAMED


def test_the_distiller_is_called_by_what_it_makes():
    with pytest.raises(ConfigError, match=r"DynamicResolutionDistiller is called DynamicSpotter"):
        setup_cfg("", ["MODEL.META_ARCHITECTURE", "DynamicResolutionDistiller"])


def test_current_leaves_of_a_whole_old_configuration():
    old = {
        "MODEL.META_ARCHITECTURE": "DynamicResolutionDistiller",
        "MODEL.DISTILL.SELECTION": "dynamic",
        "MODEL.DISTILL.SCALES": [0.5, 1.0],
        "MODEL.DISTILL.SKD_WEIGHT": 1.0,
        "MODEL.RECOGNITION.MAX_LENGTH": 9,
        "MODEL.RECOGNITION.ROI.SIZE": [16, 64],
        "SEED": 3,
    }
    assert current_leaves(old) == {
        "MODEL.META_ARCHITECTURE": "DynamicSpotter",
        "MODEL.DYNAMIC.POLICY": "selector",
        "MODEL.DYNAMIC.SCALES": [0.5, 1.0],
        "MODEL.RECOGNITION.MAX_LENGTH": 9,
        "MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": [16, 64],
        "SEED": 3,
    }
    fixed = {"MODEL.DISTILL.SELECTION": "fixed", "MODEL.META_ARCHITECTURE": "MaskRCNNSpotter"}
    assert current_leaves(fixed) == {
        "MODEL.DYNAMIC.POLICY": "fixed",
        "MODEL.META_ARCHITECTURE": "MaskRCNNSpotter",
    }
