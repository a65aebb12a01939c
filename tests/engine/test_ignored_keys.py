"""Keys that would have no effect are refused, with the source that set them and what to set."""

from pathlib import Path

import pytest
import yaml

from dld_d2.engine.setup import ConfigError, setup_cfg


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("INPUT.CROP.ENABLED", "True", "INPUT.AUG.CROP_PROB"),
        ("INPUT.CROP.SIZE", "[0.5, 0.5]", "INPUT.AUG.CROP_PROB"),
        ("INPUT.MIN_SIZE_TRAIN", "(640,)", "INPUT.AUG.BASE_SHORT_SIDE"),
        ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", "INPUT.AUG.SCALE_RANGE"),
        ("INPUT.RANDOM_FLIP", "horizontal", "text is never mirrored"),
        ("INPUT.MASK_FORMAT", "bitmask", "masks are polygons"),
        ("DATASETS.PROPOSAL_FILES_TRAIN", "('a',)", "proposals come from the model"),
        ("DATASETS.PROPOSAL_FILES_TEST", "('a',)", "proposals come from the model"),
        ("DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False", "images without words are trained on"),
        ("DATALOADER.REPEAT_THRESHOLD", "0.5", "one class"),
        ("MODEL.LOAD_PROPOSALS", "True", "proposals come from the model"),
        ("TEST.AUG.ENABLED", "True", "test-time augmentation"),
        ("VIS_PERIOD", "20", "tools/visualize_data.py"),
    ],
)
def test_what_this_project_has_no_use_for(write, key, value, instead):
    with pytest.raises(ConfigError) as error:
        setup_cfg("", [key, value])
    assert str(error.value).startswith(f"command line: {key} has no effect")
    assert instead in str(error.value)
    *sections, last = key.split(".")
    nested = "".join(f"{'  ' * i}{name}:\n" for i, name in enumerate(sections))
    base = write("base.yaml", f"{nested}{'  ' * len(sections)}{last}: {value}\n")
    child = write("run.yaml", "_BASE_: base.yaml\nSEED: 1\n")
    with pytest.raises(ConfigError) as error:
        setup_cfg(child)
    assert str(error.value).startswith(f"{base}: {key} has no effect")


def test_values_that_say_what_holds_anyway_are_welcome():
    opts = ["INPUT.RANDOM_FLIP", "none", "INPUT.MASK_FORMAT", "polygon", "VIS_PERIOD", "0"]
    assert setup_cfg("", opts).INPUT.RANDOM_FLIP == "none"


ITERATIONS = [
    ("SOLVER.MAX_ITER", "10", "SOLVER.EPOCHS"),
    ("SOLVER.STEPS", "(5,)", "SOLVER.STEP_EPOCHS"),
    ("SOLVER.CHECKPOINT_PERIOD", "5", "SOLVER.CHECKPOINT_EPOCHS"),
    ("TEST.EVAL_PERIOD", "5", "SOLVER.EVAL_EPOCHS"),
]


@pytest.mark.parametrize(("key", "value", "instead"), ITERATIONS)
def test_iterations_under_epochs(write, key, value, instead):
    epochs = write("epochs.yaml", "SOLVER:\n  EPOCHS: 3\n")
    with pytest.raises(ConfigError) as error:
        setup_cfg(epochs, [key, value])
    assert str(error.value) == (
        f"command line: {key} has no effect, because SOLVER.EPOCHS is 3 ({epochs}); set {instead}, "
        "or SOLVER.EPOCHS 0 to count in iterations"
    )
    section, name = key.split(".")
    own = f"  {name}: {value}\n"
    same = "SOLVER:\n  EPOCHS: 3\n" + (own if section == "SOLVER" else f"TEST:\n{own}")
    file = write("same.yaml", same)
    with pytest.raises(ConfigError, match=rf"same\.yaml: {key} has no effect.*same\.yaml"):
        setup_cfg(file)
    # In a file that is based on one with epochs.
    child = write("child.yaml", f"_BASE_: epochs.yaml\n{section}:\n{own}")
    with pytest.raises(ConfigError, match=rf"child\.yaml: {key} has no effect.*epochs\.yaml"):
        setup_cfg(child)
    # On one command line.
    with pytest.raises(ConfigError, match=rf"command line: {key} .* is 2 \(command line\)"):
        setup_cfg("", ["SOLVER.EPOCHS", "2", key, value])


def test_epochs_over_a_base_with_iterations_are_obeyed(write):
    write(
        "base.yaml",
        "SOLVER:\n  MAX_ITER: 10\n  STEPS: (5,)\n  CHECKPOINT_PERIOD: 2\nTEST:\n  EVAL_PERIOD: 3\n",
    )
    child = write("child.yaml", "_BASE_: base.yaml\nSOLVER:\n  EPOCHS: 2\n  STEP_EPOCHS: (1,)\n")
    assert setup_cfg(child).SOLVER.EPOCHS == 2
    # The nearer base decides, however far it is.
    write("middle.yaml", "_BASE_: child.yaml\nSEED: 1\n")
    assert setup_cfg(write("last.yaml", "_BASE_: middle.yaml\nSEED: 2\n")).SOLVER.EPOCHS == 2
    opts = ["SOLVER.EPOCHS", "4"]
    assert setup_cfg(str(write("again.yaml", "_BASE_: base.yaml\n")), opts).SOLVER.EPOCHS == 4


@pytest.mark.parametrize(("key", "value", "instead"), ITERATIONS)
def test_no_epochs_over_a_base_with_epochs_are_obeyed(write, key, value, instead):
    write(
        "base.yaml",
        "SOLVER:\n  EPOCHS: 3\n  STEP_EPOCHS: (1,)\n  CHECKPOINT_EPOCHS: 1\n  EVAL_EPOCHS: 1\n",
    )
    child = write("child.yaml", "_BASE_: base.yaml\nSOLVER:\n  EPOCHS: 0\n")
    cfg = setup_cfg(child, [key, value])
    assert cfg.SOLVER.EPOCHS == 0
    cfg = setup_cfg(str(child).replace("child", "base"), ["SOLVER.EPOCHS", "0", key, value])
    assert cfg.SOLVER.EPOCHS == 0


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("SOLVER.STEP_EPOCHS", "(1,)", "SOLVER.STEPS"),
        ("SOLVER.CHECKPOINT_EPOCHS", "2", "SOLVER.CHECKPOINT_PERIOD"),
        ("SOLVER.EVAL_EPOCHS", "2", "TEST.EVAL_PERIOD"),
    ],
)
def test_epoch_keys_without_epochs(write, key, value, instead):
    message = f"{key} has no effect, because SOLVER.EPOCHS is 0; set {instead}"
    for file, opts in (
        ("", [key, value]),
        ("", ["SOLVER.EPOCHS", "0", key, value]),
        (write("none.yaml", "SOLVER:\n  EPOCHS: 0\n"), [key, value]),
    ):
        with pytest.raises(ConfigError) as error:
            setup_cfg(file, opts)
        assert str(error.value) == f"command line: {message}"
    own = write("own.yaml", f"SOLVER:\n  {key.split('.')[1]}: {value}\n")
    with pytest.raises(ConfigError) as error:
        setup_cfg(own)
    assert str(error.value) == f"{own}: {message}"
    # A base that counts in iterations does not hinder a file that sets epochs elsewhere.
    assert setup_cfg(own, ["SOLVER.EPOCHS", "3"]).SOLVER.EPOCHS == 3


TINY = Path(__file__).resolve().parents[2] / "configs" / "tiny"


@pytest.mark.parametrize("name", ["overfit.yaml", "dld.yaml"])  # in epochs, and in iterations
def test_the_configuration_that_a_training_wrote_is_welcome(write, name):
    """`config.yaml` in OUTPUT_DIR holds all keys."""
    cfg = setup_cfg(str(TINY / name), ["MODEL.DEVICE", "cpu"])
    file = write("config.yaml", cfg.dump())
    assert yaml.safe_load(setup_cfg(file).dump()) == yaml.safe_load(cfg.dump())
    assert setup_cfg(file, ["SEED", "9"]).SEED == 9
    # What is set on top of it is looked at as ever.
    with pytest.raises(ConfigError, match=r"^command line: INPUT\.RANDOM_FLIP has no effect"):
        setup_cfg(file, ["INPUT.RANDOM_FLIP", "horizontal"])
    wrong = ["SOLVER.MAX_ITER", "5"] if cfg.SOLVER.EPOCHS else ["SOLVER.STEP_EPOCHS", "(5,)"]
    with pytest.raises(ConfigError, match=rf"^command line: {wrong[0]} has no effect"):
        setup_cfg(file, wrong)
    child = write("child.yaml", "_BASE_: config.yaml\nINPUT:\n  MIN_SIZE_TRAIN: (640,)\n")
    with pytest.raises(ConfigError, match=r"child\.yaml: INPUT\.MIN_SIZE_TRAIN has no effect"):
        setup_cfg(child)
    counts = ["SOLVER.EPOCHS", "0", "SOLVER.MAX_ITER", "5"]
    assert setup_cfg(file, counts).SOLVER.MAX_ITER == 5
