"""Every configuration key that `dld_d2` adds to Detectron2, its default, unit and meaning."""

from detectron2.config import CfgNode

__all__ = ["add_dld_config"]


def add_dld_config(cfg: CfgNode) -> None:
    """Add the keys of this project to a Detectron2 configuration, in place.

    Args:
        cfg: what `detectron2.config.get_cfg()` returns. Keys of Detectron2 whose default suits
            natural images but not text (one class, anchor shapes, ...) are set in
            `configs/Base-*.yaml`, where a reader of a config file sees them.
    """
    _add_data_config(cfg)
    _add_spotter_config(cfg)
    _add_distillation_config(cfg)
    _add_solver_config(cfg)
    _add_test_config(cfg)


def _add_data_config(cfg: CfgNode) -> None:
    # YAML file that describes further data sets (see datasets/README.md); a path relative to the
    # working directory. Empty: only the built-in ones.
    cfg.DATASETS.REGISTER = ""

    # What a reader does with an annotation it cannot use: "raise" names file and line and stops,
    # "skip" leaves the instance or image out and reports how many of which kind.
    cfg.DATASETS.ON_BAD_ANNOTATION = "raise"

    cfg.INPUT.AUG = CfgNode()
    # Chance of taking a random crop that cuts no instance.
    cfg.INPUT.AUG.CROP_PROB = 0.5
    # Smallest side of such a crop as a fraction of the image's side.
    cfg.INPUT.AUG.CROP_MIN_SIZE = 0.3
    # In training the short side is scaled to BASE_SHORT_SIDE times a factor drawn from this range.
    # An interval of one value, e.g. (1.0, 1.0), turns random scaling off.
    cfg.INPUT.AUG.SCALE_RANGE = (0.3, 1.0)
    # Short side of a full-resolution image in pixels, in training (before SCALE_RANGE). Testing
    # uses INPUT.MIN_SIZE_TEST; long sides are limited by INPUT.MAX_SIZE_TRAIN / MAX_SIZE_TEST.
    cfg.INPUT.AUG.BASE_SHORT_SIDE = 1280
    # Rotation is drawn from [-ROTATION, ROTATION] degrees with chance ROTATION_PROB.
    cfg.INPUT.AUG.ROTATION = 15.0
    cfg.INPUT.AUG.ROTATION_PROB = 0.5
    # Colour jitter with chance COLOR_PROB: brightness in grey levels out of 255 (additive),
    # contrast and saturation as fractions (a factor in [1 - x, 1 + x]).
    cfg.INPUT.AUG.COLOR_PROB = 0.5
    cfg.INPUT.AUG.BRIGHTNESS = 32.0
    cfg.INPUT.AUG.CONTRAST = 0.5
    cfg.INPUT.AUG.SATURATION = 0.5


def _add_spotter_config(cfg: CfgNode) -> None:
    # A region whose intersection with a don't-care region exceeds this fraction of its own area is
    # never sampled as a negative, neither by the RPN nor by the box head.
    cfg.MODEL.IGNORE_IOA_THRESH = 0.5

    rec = cfg.MODEL.RECOGNITION = CfgNode()
    # FPN level that the recognition branch reads. The published branch uses p2 only (stride 4).
    rec.IN_FEATURE = "p2"
    # File with the characters that can be read, one line, in order. Empty: the 95 printable ASCII
    # characters, space first.
    rec.VOCABULARY = ""
    # Longest word in characters. Longer words train detection only.
    rec.MAX_LENGTH = 32
    rec.LOSS_WEIGHT = 1.0
    # Weight of a CTC loss on the contextual features, which helps the decoder to find out where to
    # look, in training only. The published branch learns without, 0.
    rec.CTC_WEIGHT = 0.0

    rec.ROI = CfgNode()
    # Height and width of a region's features. (16, 64) is the paper's ablation.
    rec.ROI.SIZE = (8, 32)
    # Feature pixels by which a region is enlarged on each side before it is cropped.
    rec.ROI.ENLARGE = 1
    # A region higher than this many widths is transposed, so that vertical words lie down.
    rec.ROI.TRANSPOSE_RATIO = 1.5
    # Where the 3x3 convolution before cropping runs: "map", on the whole feature map as published,
    # or "crop", on the resized regions with a halo of one pixel, at a constant cost per region.
    rec.ROI.CONV_ON = "crop"
    rec.ROI.CONV_DIM = 256

    # In training the sides of ground-truth regions move at random by up to this fraction of their
    # shorter side, so that the branch gets used to regions as the detector finds them. In
    # distillation teacher and student look at the same ones. The published branch learns on exact
    # regions, 0.
    rec.ROI.JITTER = 0.0

    rec.ENCODER = CfgNode()
    # Channels of the six convolutions and number of 3x3 ones among them.
    rec.ENCODER.CONV_DIM = 256
    rec.ENCODER.NUM_CONV = 4
    # Normalisation of all the branch's convolutions: "BN", "SyncBN", "GN" or "FrozenBN".
    rec.NORM = "BN"

    rec.CONTEXT = CfgNode()
    # Stacked bidirectional LSTMs and their hidden units per direction.
    rec.CONTEXT.NUM_LAYERS = 2
    rec.CONTEXT.HIDDEN_DIM = 256

    rec.DECODER = CfgNode()
    # Units of the attention and of the decoder's LSTM cell.
    rec.DECODER.HIDDEN_DIM = 256


def _add_distillation_config(cfg: CfgNode) -> None:
    distill = cfg.MODEL.DISTILL = CfgNode()
    # What is distilled: the student is built by this meta-architecture from this configuration.
    distill.SPOTTER = "MaskRCNNSpotter"
    # The frozen teacher's weights; training needs them. The student starts from them unless
    # MODEL.WEIGHTS says otherwise.
    distill.TEACHER_WEIGHTS = ""
    # Keep the statistics that the student's batch norms start with. Those of a few images at
    # different scales, padded to one size, are not what it meets at inference.
    distill.FREEZE_STATISTICS = False
    # Train the selector alone, for another GAMMA, say, in minutes. The student stays as it is, that
    # of MODEL.WEIGHTS or, without any, the teacher's.
    distill.FREEZE_STUDENT = False
    # Keys in which the teacher differs from the student, as KEY, VALUE, KEY, VALUE, ...
    distill.TEACHER_OPTS = ()
    # Candidate scales of the sides of the full-resolution image.
    distill.SCALES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    # How an image's scale is chosen: "dynamic" by the selector, "fixed" at FIXED_SCALE, or
    # "random" among SCALES in training and FIXED_SCALE at inference.
    distill.SELECTION = "dynamic"
    distill.FIXED_SCALE = 0.5

    selector = distill.SELECTOR = CfgNode()
    # The selector looks at the full-resolution image, shrunk by this factor.
    selector.INPUT_SCALE = 1.0
    selector.CHANNELS = (32, 64, 128, 256)
    selector.NORM = "BN"
    # How its features are pooled over the image: "mean" as published, or "mean_max", which sees
    # small words sooner.
    selector.POOLING = "mean"
    # Checkpoint of a training of the meta-architecture TextSizeEstimator, from which the selector
    # takes all but its last layer. Empty: random weights, as published.
    selector.WEIGHTS = ""
    # Its learning rate in units of SOLVER.BASE_LR: unlike the student it starts from nothing.
    selector.LR_FACTOR = 1.0
    # Temperature of the Gumbel-softmax: TAU_INIT * TAU_DECAY ** epoch. Without SOLVER.EPOCHS an
    # epoch is a pass over DATASETS.TRAIN all the same.
    selector.TAU_INIT = 5.0
    selector.TAU_DECAY = 0.965
    # Weight of the cost in the selector's loss: L_acc + GAMMA * L_flops. 0.1 favours accuracy,
    # 0.3 cost.
    selector.GAMMA = 0.1
    # How the selector learns from that: "gumbel" by the gradient of the scale that was drawn, as
    # published, in hundreds of epochs; or "best_scale" by classification: since all candidates are
    # passed anyway, the one with the smallest L_acc + GAMMA * T_i of an image is known, and some
    # hundred steps do (docs/distillation.md).
    selector.ESTIMATOR = "gumbel"
    # "best_scale" takes scales whose losses differ by less than about this as equally good.
    selector.TARGET_TEMPERATURE = 0.01
    # "best_scale" weighs an image by this power, in [0, 1], of what its worst scale would lose
    # against its best: above 0 for a selector that, in doubt, does not overlook small words.
    selector.REGRET_POWER = 0.0
    # Fraction of a batch's images, at least one, from which the selector learns. Passing all
    # candidates is about a third of a training step; published is 1.
    selector.BATCH_FRACTION = 1.0
    # What L_acc compares the student's reading with: "teacher" (KL divergence, the paper) or
    # "ground_truth" (cross-entropy, the released code).
    selector.ACCURACY_TARGET = "teacher"
    # Relative cost of a scale: "measured" on this configuration, "power" for
    # scale ** COST_EXPONENT (the released code), or a file that tools/flops.py wrote.
    selector.COST = "measured"
    selector.COST_EXPONENT = 1.5
    # At inference this times the relative cost is subtracted from the selector's logits: above 0
    # cheaper, below 0 more accurate than trained.
    selector.COST_BIAS = 0.0

    # Weights of L_DRS (lambda 2) and L_SKD (lambda 3). 0 leaves the part out.
    distill.DRS_WEIGHT = 1.0
    distill.SKD_WEIGHT = 1.0
    # Weights of L_roi, L_con (eta 1) and L_seq (eta 2) within L_SKD. 0 leaves the part out.
    distill.ROI_WEIGHT = 1.0
    distill.CONTEXT_WEIGHT = 1.0
    distill.SEQUENCE_WEIGHT = 1.0
    # Sequences K of the teacher's beam search that L_seq teaches, and the width of the search.
    distill.NUM_SEQUENCES = 1
    distill.BEAM_WIDTH = 5
    # Type of the passes without gradient (teacher, candidates): "float32", "bfloat16" or
    # "float16". Half the width doubles their speed where the hardware has it.
    distill.NO_GRAD_PRECISION = "float32"


def _add_solver_config(cfg: CfgNode) -> None:
    # "ADAMW" (the paper's), or "SGD" with Detectron2's momentum keys.
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    # Length of training in epochs over DATASETS.TRAIN. Above 0 it overrides MAX_ITER, STEPS and
    # CHECKPOINT_PERIOD by EPOCHS, STEP_EPOCHS and CHECKPOINT_EPOCHS, and TEST.EVAL_PERIOD by
    # EVAL_EPOCHS (0: evaluate at the end only). WARMUP_ITERS stays in iterations.
    cfg.SOLVER.EPOCHS = 0
    cfg.SOLVER.STEP_EPOCHS = ()
    cfg.SOLVER.CHECKPOINT_EPOCHS = 1
    cfg.SOLVER.EVAL_EPOCHS = 0
    # The gradient norm over all parameters together is clipped at this value; 0 turns it off.
    # (Detectron2's SOLVER.CLIP_GRADIENTS "norm" clips each parameter by itself.)
    cfg.SOLVER.CLIP_TOTAL_NORM = 35.0
    # Periodic checkpoints that are kept, the latest ones; 0 keeps all.
    cfg.SOLVER.CHECKPOINTS_TO_KEEP = 2
    # Type of mixed-precision computations (SOLVER.AMP.ENABLED): "float16" or "bfloat16".
    cfg.SOLVER.AMP.PRECISION = "float16"

    # A batch is a function of the seed and the iteration, so that training resumes exactly.
    # Detectron2's grouping by aspect ratio, on by default there, is not.
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False


def _add_test_config(cfg: CfgNode) -> None:
    # A pixel belongs to a word when its mask probability exceeds this.
    cfg.TEST.MASK_THRESH = 0.5
    # Polygons are simplified with this tolerance, as a fraction of their perimeter.
    cfg.TEST.POLYGON_TOLERANCE = 0.01
    # IoU that the protocol asks of a match.
    cfg.TEST.MATCH_IOU = 0.5
    # Lexicons to score with, of those that the data set has: "none", "strong", "weak", "generic",
    # "full". Empty: all it has.
    cfg.TEST.LEXICONS = ()
    # Write pictures of this many test images (ground truth beside result) into OUTPUT_DIR.
    cfg.TEST.NUM_PICTURES = 0
    # Metric whose best value in training saves model_best.pth, such as
    # "text_spotting/e2e_none_hmean" (with several DATASETS.TEST, the set's name and a slash before
    # it). Empty: none is saved.
    cfg.TEST.BEST_METRIC = ""
