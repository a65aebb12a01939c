import pytest
from hypothesis import given
from hypothesis import strategies as st

from dld_d2.engine.schedule import epoch_schedule, with_epoch_schedule
from dld_d2.engine.setup import setup_cfg


def naive_length(num_images, batch, epochs):
    """Batches drawn until every image was seen `epochs` times."""
    seen, iterations = 0, 0
    while seen < epochs * num_images:
        seen += batch
        iterations += 1
    return iterations


@given(st.integers(1, 60), st.integers(1, 80), st.integers(1, 9))
def test_lengths_agree_with_counting(num_images, batch, epochs):
    schedule = epoch_schedule(
        num_images, batch, epochs=epochs, step_epochs=range(1, epochs), eval_epochs=2
    )
    assert schedule.max_iter == naive_length(num_images, batch, epochs)
    assert schedule.steps == tuple(naive_length(num_images, batch, e) for e in range(1, epochs))
    assert schedule.checkpoint_period == naive_length(num_images, batch, 1)
    assert schedule.eval_period == naive_length(num_images, batch, 2)


def test_published_schedule_in_iterations():
    """50 epochs, drops at 30 and 40, 3 images on each of 8 GPUs, Total-Text's 1255 images."""
    schedule = epoch_schedule(1255, 24, epochs=50, step_epochs=(30, 40))
    assert schedule.max_iter == 2615  # 50 * 1255 / 24 = 2614.6
    assert schedule.steps == (1569, 2092)
    assert schedule.eval_period == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"step_epochs": (3, 2)},
        {"step_epochs": (2, 2)},
        {"step_epochs": (0,)},
        {"checkpoint_epochs": 0},
        {"eval_epochs": -1},
    ],
)
def test_refuses_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match="must"):
        epoch_schedule(10, 2, **{"epochs": 5, **wrong})


def test_without_epochs_the_iteration_keys_stay():
    cfg = setup_cfg("", ["SOLVER.MAX_ITER", "77"])
    assert with_epoch_schedule(cfg, 5) is cfg
