"""What makes the models of the published configurations small enough for tests."""

SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_narrow_resnet_fpn_backbone",
    "MODEL.BACKBONE.FREEZE_STATISTICS": False,  # weights are random
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.CONV_DIMS": [16],
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.POOLER_CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.ENCODER.CONV_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.CONTEXT.HIDDEN_DIM": 16,
    "MODEL.ROI_TEXT_HEAD.DECODER.HIDDEN_DIM": 16,
    "MODEL.DYNAMIC.COST": "power",  # measuring takes seconds
}
