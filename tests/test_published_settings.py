"""The recipe, setting by setting, against what is published.

The table is written out here, not read from anywhere: of the paper (Dynamic Low-Resolution
Distillation for Cost-Efficient End-to-End Text Spotting, ECCV 2022) and, where it is silent, of the
authors' released configuration.
"""

from pathlib import Path

import pytest

from dld_d2.engine.config_sources import leaves
from dld_d2.engine.setup import setup_cfg

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

SPOTTER = {
    # Mask R-CNN, ResNet-50 + FPN, one class, strides in the 3x3 convolutions.
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.FPN.OUT_CHANNELS": 256,
    "MODEL.ROI_HEADS.NUM_CLASSES": 1,
    # Released: no layer is frozen, statistics of the backbone's batch norms are (mmdet's
    # default), and no process waits for another's.
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.BACKBONE.FREEZE_STATISTICS": True,
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.ROI_TEXT_HEAD.NORM": "BN",
    # One size per level, 8 x stride; ratios of height to width.
    "MODEL.ANCHOR_GENERATOR.SIZES": [[8 * 4], [8 * 8], [8 * 16], [8 * 32], [8 * 64]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.1, 0.2, 0.4, 0.8, 1.6, 3.2]],
    # The recognition branch, on p2 alone.
    "MODEL.ROI_TEXT_HEAD.IN_FEATURE": "p2",
    "MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": (8, 32),
    "MODEL.ROI_TEXT_HEAD.POOLER_ENLARGE": 1,
    "MODEL.ROI_TEXT_HEAD.POOLER_TRANSPOSE_RATIO": 1.5,
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON": "map",
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM": 256,
    "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM": 256,
    "MODEL.ROI_TEXT_HEAD.ENCODER.NUM_CONV": 4,
    "MODEL.ROI_TEXT_HEAD.CONTEXT.NUM_LAYERS": 2,
    "MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM": 256,
    "MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM": 256,
    "MODEL.ROI_TEXT_HEAD.CTC_WEIGHT": 0.0,
    "MODEL.ROI_TEXT_HEAD.JITTER": 0.0,
    "MODEL.RECOGNITION.VOCABULARY": "",  # 95 printable ASCII characters
    "MODEL.RECOGNITION.MAX_LENGTH": 32,
    # Inference.
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.5,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.3,
    "TEST.DETECTIONS_PER_IMAGE": 100,
    "TEST.MASK_THRESH": 0.5,
    "TEST.POLYGON_TOLERANCE": 0.01,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 2000,  # released
    "MODEL.RPN.POST_NMS_TOPK_TEST": 2000,  # released
    "INPUT.MAX_SIZE_TRAIN": 1600,
    "INPUT.MAX_SIZE_TEST": 3000,
    # Augmentation.
    "INPUT.AUG.ROTATION": 15.0,
    "INPUT.AUG.BRIGHTNESS": 32.0,
    "INPUT.AUG.SATURATION": 0.5,
    # Optimisation.
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.BASE_LR": 1e-3,
    "SOLVER.WEIGHT_DECAY": 0.0,
    "SOLVER.CLIP_TOTAL_NORM": 35.0,
    "SOLVER.IMS_PER_BATCH": 3 * 8,
    "SOLVER.REFERENCE_WORLD_SIZE": 8,
    "SOLVER.GAMMA": 0.1,
}
MIXTURE = {
    **SPOTTER,
    "DATASETS.TRAIN": (
        "icdar2013_train",
        "icdar2015_train",
        "mlt2017_latin_train",
        "mlt2017_latin_val",
        "totaltext_train",
    ),
    "DATASETS.TEST": ("icdar2013_test", "icdar2015_test", "totaltext_test"),
    "DATASETS.SHORT_SIDES.icdar2013_train": 768,
    "DATASETS.SHORT_SIDES.icdar2013_test": 768,
    "DATASETS.SHORT_SIDES.icdar2015_train": 1280,
    "DATASETS.SHORT_SIDES.icdar2015_test": 1280,
    "DATASETS.SHORT_SIDES.totaltext_train": 896,
    "DATASETS.SHORT_SIDES.totaltext_test": 896,
    "INPUT.AUG.BASE_SHORT_SIDE": 896,  # released; of MLT2017 here
}
TEACHER = {
    **MIXTURE,
    "MODEL.META_ARCHITECTURE": "MaskRCNNSpotter",
    "MODEL.WEIGHTS": "output/teacher_pretrain_synthtext/model_final.pth",
    "SOLVER.EPOCHS": 100,
    "SOLVER.STEP_EPOCHS": (60, 80),
    "SOLVER.WARMUP_ITERS": 500,
    "SOLVER.WARMUP_FACTOR": pytest.approx(1 / 3, abs=1e-6),
    "INPUT.AUG.SCALE_RANGE": (0.3, 1.0),
}
DLD = {
    **MIXTURE,
    "MODEL.META_ARCHITECTURE": "DynamicSpotter",
    "MODEL.WEIGHTS": "",  # those of the teacher
    "MODEL.DISTILL.TEACHER_WEIGHTS": "output/teacher_mixed/model_final.pth",
    "MODEL.DISTILL.TEACHER_CONFIG": "",  # the same architecture
    "SOLVER.EPOCHS": 50,
    "SOLVER.STEP_EPOCHS": (30, 40),
    "SOLVER.WARMUP_ITERS": 0,  # released
    "INPUT.AUG.SCALE_RANGE": (1.0, 1.0),
    # The selector sees the high-resolution image, whole.
    "MODEL.DYNAMIC.SCALES": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "MODEL.DYNAMIC.POLICY": "selector",
    "MODEL.DYNAMIC.SELECTOR.INPUT_SCALE": 1.0,
    "MODEL.DYNAMIC.SELECTOR.CHANNELS": (32, 64, 128, 256),
    "MODEL.DYNAMIC.SELECTOR.NORM": "BN",
    "MODEL.DYNAMIC.SELECTOR.POOLING": "mean",
    "MODEL.DYNAMIC.COST": "measured",
    "MODEL.DYNAMIC.COST_BIAS": 0.0,
    "MODEL.DISTILL.SELECTOR.LEARNING": "gumbel",
    "MODEL.DISTILL.SELECTOR.WEIGHTS": "",
    "MODEL.DISTILL.SELECTOR.TAU_INIT": 5.0,
    "MODEL.DISTILL.SELECTOR.TAU_DECAY": 0.965,
    "MODEL.DISTILL.SELECTOR.ACCURACY_TARGET": "teacher",
    "MODEL.DISTILL.SELECTOR.DETECTION_WEIGHT": 0.0,
    "MODEL.DISTILL.SELECTOR.BATCH_FRACTION": 1.0,
    "MODEL.DISTILL.SELECTOR.LR_FACTOR": 1.0,
    "MODEL.DISTILL.SELECTOR.GAMMA": 0.1,
    # eta 1 and 2, lambda 1 to 3, and the K of L_seq.
    "MODEL.DISTILL.TERMS": ("roi", "context", "sequence"),
    "MODEL.DISTILL.ROI.WEIGHT": 1.0,
    "MODEL.DISTILL.CONTEXT.WEIGHT": 1.0,
    "MODEL.DISTILL.SEQUENCE.WEIGHT": 1.0,
    "MODEL.DISTILL.SEQUENCE.NUM_SEQUENCES": 1,
    "MODEL.ROI_TEXT_HEAD.LOSS_WEIGHT": 1.0,
    "MODEL.DISTILL.SELECTOR.LOSS_WEIGHT": 1.0,
}
SKD_ONLY = DLD | {"MODEL.DYNAMIC.POLICY": "fixed", "MODEL.DYNAMIC.FIXED_SCALE": 0.5}
VANILLA = TEACHER | {
    "MODEL.WEIGHTS": "output/teacher_mixed/model_final.pth",
    "TEST.EVAL_ONLY": True,
}
CHEAP = {"MODEL.DISTILL.SELECTOR.GAMMA": 0.3}
NO_TERMS = {"MODEL.DISTILL.TERMS": ()}
TEXT_PERCEPTRON = {
    # Read in its released code.
    "MODEL.META_ARCHITECTURE": "TextPerceptronSpotter",
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.BACKBONE.FREEZE_STATISTICS": True,
    "MODEL.FPN.OUT_CHANNELS": 256,
    "MODEL.TEXT_PERCEPTRON.IN_FEATURE": "p2",
    "MODEL.TEXT_PERCEPTRON.HEAD.CONV_DIM": 256,
    "MODEL.TEXT_PERCEPTRON.HEAD.NORM": "",
    "MODEL.TEXT_PERCEPTRON.THIN_BACKGROUND": True,
    "MODEL.TEXT_PERCEPTRON.SEG_LOSS_WEIGHT": 1.0,
    "MODEL.TEXT_PERCEPTRON.HEAD_LOSS_WEIGHT": 0.1,
    "MODEL.TEXT_PERCEPTRON.TAIL_LOSS_WEIGHT": 0.1,
    "MODEL.TEXT_PERCEPTRON.CENTRE_LOSS_WEIGHT": 0.01,
    "MODEL.TEXT_PERCEPTRON.CENTRE_THRESH_TEST": 0.35,
    "MODEL.TEXT_PERCEPTRON.HEAD_THRESH_TEST": 0.45,
    "MODEL.TEXT_PERCEPTRON.TAIL_THRESH_TEST": 0.45,
    "MODEL.TEXT_PERCEPTRON.BOUNDARY_THRESH_TEST": 0.35,
    "MODEL.TEXT_PERCEPTRON.BOND_THRESH_TEST": 0.6,
    "MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": (8, 32),
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON": "map",
    "MODEL.RECOGNITION.MAX_LENGTH": 32,
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.WEIGHT_DECAY": 0.0,
    "SOLVER.CLIP_TOTAL_NORM": 5.0,
    "SOLVER.IMS_PER_BATCH": 8 * 8,
    "SOLVER.REFERENCE_WORLD_SIZE": 8,
    "SOLVER.GAMMA": 0.1,
    "INPUT.AUG.BASE_SHORT_SIDE": 736,
    "INPUT.AUG.ROTATION": 15.0,
    "INPUT.MIN_SIZE_TEST": 950,
    "INPUT.MAX_SIZE_TEST": 1350,
}
FIRST_STAGE = TEXT_PERCEPTRON | {
    "DATASETS.TRAIN": ("synthtext_train", "cocotext_train"),
    "SOLVER.BASE_LR": 1e-3,
    "SOLVER.EPOCHS": 4,
    "SOLVER.STEP_EPOCHS": (2, 3),
}
SECOND_STAGE = TEXT_PERCEPTRON | {
    "DATASETS.TRAIN": ("icdar2013_train", "icdar2015_train", "mlt2017_train", "totaltext_train"),
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.EPOCHS": 40,
    "SOLVER.STEP_EPOCHS": (20, 30),
}
VANILLA_TT = {
    "MODEL.META_ARCHITECTURE": "TextPerceptronSpotter",
    "MODEL.WEIGHTS": "output/text_perceptron/teacher_multiscale/model_final.pth",
    "DATASETS.TEST": ("totaltext_test",),
    "INPUT.MAX_SIZE_TEST": 3000,
    "TEST.EVAL_ONLY": True,
}
SETTINGS = {
    "text_perceptron/teacher_pretrain_synthtext.yaml": FIRST_STAGE,
    "text_perceptron/teacher_mixed.yaml": SECOND_STAGE,
    # Table 8.
    **{
        f"text_perceptron/vanilla_{side}_tt.yaml": VANILLA_TT | {"INPUT.MIN_SIZE_TEST": side}
        for side in (896, 768, 640, 512, 384, 256)
    },
    "teacher_mixed.yaml": TEACHER,
    "dld_mixed.yaml": DLD,
    "dld_mixed_gamma0.3.yaml": DLD | CHEAP,
    "drs_only_mixed.yaml": DLD | NO_TERMS,
    "drs_only_mixed_gamma0.3.yaml": DLD | NO_TERMS | CHEAP,
    "skd_only_mixed.yaml": SKD_ONLY,
    "vanilla_high_mixed.yaml": VANILLA,
    "vanilla_half_mixed.yaml": VANILLA
    | {
        "DATASETS.SHORT_SIDES.icdar2013_test": 768 // 2,
        "DATASETS.SHORT_SIDES.icdar2015_test": 1280 // 2,
        "DATASETS.SHORT_SIDES.totaltext_test": 896 // 2,
    },
    # Tables 2 and 4 and the other ablations.
    **{
        f"ablations/skd_{name}.yaml": SKD_ONLY | {"MODEL.DISTILL.TERMS": terms}
        for name, terms in {
            "none": (),
            "roi": ("roi",),
            "con": ("context",),
            "seq": ("sequence",),
        }.items()
    },
    # Table 3.
    "table3/bhunia.yaml": SKD_ONLY
    | {
        "MODEL.DISTILL.TERMS": ("logits", "hint", "attention", "affinity"),
        # Recalled, not read.
        "MODEL.DISTILL.LOGITS.WEIGHT": 0.5,
        "MODEL.DISTILL.LOGITS.TEMPERATURE": 2.0,
        "MODEL.DISTILL.LOGITS.FORM": "hinton",
        "MODEL.DISTILL.HINT.WEIGHT": 5.0,
        "MODEL.DISTILL.ATTENTION.WEIGHT": 1.0,
        "MODEL.DISTILL.AFFINITY.WEIGHT": 1.0,
    },
    "table3/skd_logits.yaml": SKD_ONLY
    | {
        "MODEL.DISTILL.TERMS": ("roi", "context", "logits"),
        "MODEL.DISTILL.LOGITS.WEIGHT": 1.0,
        "MODEL.DISTILL.LOGITS.TEMPERATURE": 2.0,
        "MODEL.DISTILL.LOGITS.FORM": "hinton",
    },
    "table3/skd_logits_released.yaml": SKD_ONLY
    | {
        "MODEL.DISTILL.TERMS": ("roi", "context", "logits"),
        "MODEL.DISTILL.LOGITS.TEMPERATURE": 5.0,
        "MODEL.DISTILL.LOGITS.FORM": "released",
    },
    **{
        f"table3/{name}.yaml": SKD_ONLY
        | {
            "MODEL.DISTILL.TERMS": terms,
            # 0.2 * 3 ** 2 / 3, after 500 iterations.
            "MODEL.DISTILL.PYRAMID.WEIGHT": 0.6,
            "MODEL.DISTILL.PYRAMID.RAMP_ITERS": 500,
        }
        for name, terms in {
            "qi": ("pyramid",),
            "skd_qi": ("roi", "context", "sequence", "pyramid"),
        }.items()
    },
    "table3/teacher_multiscale.yaml": TEACHER
    | {
        "MODEL.META_ARCHITECTURE": "MultiScaleTeacher",
        "MODEL.MULTI_SCALE_TEACHER.FUSED_LOSS_WEIGHT": 0.4,
        "MODEL.MULTI_SCALE_TEACHER.GATE_DIM": 32,
    },
    "ablations/skd_top3.yaml": DLD | {"MODEL.DISTILL.SEQUENCE.NUM_SEQUENCES": 3},
    "ablations/skd_random.yaml": DLD | {"MODEL.DYNAMIC.POLICY": "random"},
    "ablations/scales_half.yaml": DLD | {"MODEL.DYNAMIC.SCALES": (0.5,)},
    "ablations/scales_high.yaml": DLD | {"MODEL.DYNAMIC.SCALES": (0.6, 0.7, 0.8)},
    "ablations/scales_low.yaml": DLD | {"MODEL.DYNAMIC.SCALES": (0.3, 0.4, 0.5)},
    **{
        f"ablations/gamma{gamma}.yaml": DLD | {"MODEL.DISTILL.SELECTOR.GAMMA": gamma}
        for gamma in (0.2, 0.4, 0.5)
    },
    **{
        f"ablations/tau{tau}.yaml": DLD | {"MODEL.DISTILL.SELECTOR.TAU_INIT": float(tau)}
        for tau in (1, 3, 7, 9)
    },
    "ablations/accuracy_ground_truth.yaml": DLD
    | {"MODEL.DISTILL.SELECTOR.ACCURACY_TARGET": "ground_truth"},
    "ablations/cost_power.yaml": DLD | {"MODEL.DYNAMIC.COST": "power"},
    "ablations/teacher_roi16.yaml": TEACHER | {"MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": (16, 64)},
    "ablations/roi16.yaml": DLD
    | {
        "MODEL.ROI_TEXT_HEAD.POOLER_RESOLUTION": (16, 64),
        "MODEL.DISTILL.TEACHER_WEIGHTS": "output/ablations/teacher_roi16/model_final.pth",
    },
    "ablations/roi16_teacher.yaml": DLD
    | {
        "MODEL.DISTILL.TEACHER_CONFIG": "configs/ablations/teacher_roi16.yaml",
        "MODEL.DISTILL.TEACHER_WEIGHTS": "output/ablations/teacher_roi16/model_final.pth",
    },
}


@pytest.mark.parametrize(("file", "published"), SETTINGS.items(), ids=SETTINGS)
def test_published_settings(file, published):
    found = dict(leaves(setup_cfg(str(CONFIGS / file))))
    assert {key: found[key] for key in published} == published


def test_there_is_an_expectation_of_every_ablation():
    ablations = {f"ablations/{file.name}" for file in (CONFIGS / "ablations").iterdir()}
    assert ablations == {file for file in SETTINGS if file.startswith("ablations/")}


def test_ablations_differ_from_dld_in_what_they_study_alone():
    base = dict(leaves(setup_cfg(str(CONFIGS / "dld_mixed.yaml"))))
    for file, published in SETTINGS.items():
        found = dict(leaves(setup_cfg(str(CONFIGS / file))))
        if found["MODEL.META_ARCHITECTURE"] != "DynamicSpotter":
            continue
        differing = {key for key in found if found[key] != base[key]}
        assert differing - {"OUTPUT_DIR"} == {k for k in published if published[k] != base[k]}, file


CHEAPER = {
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_ON": "crop",
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "SOLVER.AMP.ENABLED": True,
    "SOLVER.AMP.PRECISION": "bfloat16",
}


def test_fast_configurations_differ_in_what_is_cheaper():
    fast = {
        "dld_mixed.yaml": CHEAPER
        | {
            "MODEL.DYNAMIC.SELECTOR.INPUT_SCALE": 0.5,
            "MODEL.DISTILL.NO_GRAD_PRECISION": "bfloat16",
            "MODEL.DISTILL.SELECTOR.BATCH_FRACTION": 0.5,
            "MODEL.DISTILL.TEACHER_WEIGHTS": "output/fast/teacher_mixed/model_final.pth",
        },
        "teacher_mixed.yaml": CHEAPER
        | {"MODEL.WEIGHTS": "output/fast/teacher_pretrain_synthtext/model_final.pth"},
    }
    for file, expected in fast.items():
        base = dict(leaves(setup_cfg(str(CONFIGS / file))))
        found = dict(leaves(setup_cfg(str(CONFIGS / "fast" / file))))
        differing = {key: found[key] for key in found if found[key] != base[key]}
        assert differing == expected | {"OUTPUT_DIR": f"output/fast/{Path(file).stem}"}
