"""The training loop of a text spotter."""

from __future__ import annotations

import difflib
import logging
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.data.build import get_detection_dataset_dicts
from detectron2.data.common import DatasetFromList
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    HookBase,
    SimpleTrainer,
    TrainerBase,
    create_ddp_model,
    hooks,
)
from detectron2.evaluation import inference_on_dataset, print_csv_format, verify_results
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from dld_d2.data.catalog import EVALUATOR_TYPE, is_labelled
from dld_d2.data.coverage import log_recognition_coverage
from dld_d2.data.mapper import TextDatasetMapper
from dld_d2.data.resolution import (
    MapperByDataset,
    NamedImages,
    at_resolution_of,
    check_short_sides,
    warn_of_held_back,
)
from dld_d2.engine.checkpoint import SpotterCheckpointer
from dld_d2.engine.config_sources import ConfigError
from dld_d2.engine.evaluation.text_spotting import TextSpottingEvaluator, build_evaluator
from dld_d2.engine.first_iteration import FirstIteration
from dld_d2.engine.guard import guard_losses
from dld_d2.engine.hooks import BestCheckpointer, SharedBuffers, StepSeed
from dld_d2.engine.loader_workers import explaining_workers
from dld_d2.engine.named_files import building, check_weights, told_by
from dld_d2.engine.optimizer import build_optimizer
from dld_d2.engine.precision import autocast_in_training, with_possible_precision
from dld_d2.engine.schedule import with_epoch_schedule
from dld_d2.engine.setup import with_seed
from dld_d2.engine.single_values import tolerate_single_values
from dld_d2.engine.stream import TrainingStream, build_stream_loader, seeded
from dld_d2.structures.vocabulary import Vocabulary

__all__ = ["SpotterTrainer"]

logger = logging.getLogger(__name__)


class SpotterTrainer(DefaultTrainer):
    """Detectron2's default trainer with the data, schedules, and safeguards of this project.

    A training is a function of configuration and seed: what iteration i sees and draws at random
    depends on nothing else. `resume_or_load(resume=True)` goes on from the last checkpoint with the
    same data, and on a CPU with the same weights bit for bit, as if there had been no stop.

    Derived trainers override the class methods `build_model`, `build_training_model`,
    `build_mapper`, `build_evaluator`, and the methods `label_images`, `build_checkpointer` and
    `build_hooks`.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: as `setup_cfg` gives it. `self.cfg` is that with the seed drawn and epochs turned
                into iterations.

        Raises:
            ConfigError: for values that cannot be trained with.
        """
        TrainerBase.__init__(self)
        cfg = with_seed(self.auto_scale_workers(cfg, comm.get_world_size()))
        cfg = with_possible_precision(cfg)
        # Told before a model is built, and before a teacher reads for hours.
        if cfg.TEST.EVAL_ONLY:
            raise ConfigError(
                "this configuration is for --eval-only (TEST.EVAL_ONLY); train with the one that "
                "it is based on"
            )
        _check_data(cfg)
        with seeded(cfg.SEED), building():
            model = self.build_training_model(cfg)
        loader = self.build_train_loader(cfg, self.label_images(cfg, model))
        num_images = len(loader.dataset.images)
        cfg = with_epoch_schedule(cfg, num_images)
        optimizer = self.build_optimizer(cfg, model)

        model = create_ddp_model(
            model,
            broadcast_buffers=False,
            device_ids=[comm.get_local_rank()] if cfg.MODEL.DEVICE.startswith("cuda") else None,
        )
        guard_losses(model)
        tolerate_single_values(model)
        amp = cfg.SOLVER.AMP
        if amp.ENABLED and amp.PRECISION == "float16":
            self._trainer = AMPTrainer(model, loader, optimizer, precision=torch.float16)
        else:
            if amp.ENABLED:
                autocast_in_training(model, cfg.MODEL.DEVICE)
            self._trainer = SimpleTrainer(model, loader, optimizer)

        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = self.build_checkpointer(cfg, model)
        self.checkpointer.max_to_keep = cfg.SOLVER.CHECKPOINTS_TO_KEEP or None
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self._step_seed = StepSeed(cfg.SEED)
        self.register_hooks(self.build_hooks())
        logger.info(
            f"{num_images} training images, {cfg.SOLVER.IMS_PER_BATCH} per batch, {self.max_iter} "
            f"iterations, {self.max_iter * cfg.SOLVER.IMS_PER_BATCH / num_images:.2f} epochs; "
            f"seed {cfg.SEED}"
        )

    def label_images(self, cfg: CfgNode, model: nn.Module) -> Mapping[str, Dataset]:
        """By their names, those data sets of DATASETS.TRAIN that have no annotations, with some.

        None here: a spotter that learns by itself has nobody to ask.

        Args:
            cfg: configuration.
            model: as `build_training_model` gives it.
        """
        return {}

    def build_checkpointer(self, cfg: CfgNode, model: nn.Module) -> SpotterCheckpointer:
        """What saves the model, as it is evaluated and used, with what training goes on from."""
        return SpotterCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last whole checkpoint of OUTPUT_DIR, if asked to and there is one; else
        start from MODEL.WEIGHTS, or from random weights if that is empty."""
        # As the main process sees it: no other may go another way.
        found = comm.all_gather(self.checkpointer.has_checkpoint())[0]
        self.checkpointer.clear_unfinished()
        if not resume:
            if found:
                logger.warning(
                    f"{self.cfg.OUTPUT_DIR} holds checkpoints of an earlier training. This one "
                    "starts anew and will overwrite them; --resume would have gone on with the "
                    "earlier one."
                )
            self.checkpointer.start_anew()
        elif not found:
            logger.info(f"There is no checkpoint in {self.cfg.OUTPUT_DIR} to resume from")
        with told_by("OUTPUT_DIR" if resume and found else "MODEL.WEIGHTS"):
            self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume and found)
        if resume and found:
            self.start_iter = self.iter + 1
        self.data_loader.sampler.start = self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH

    def build_hooks(self) -> list[HookBase]:
        cfg = self.cfg
        shared = SharedBuffers(self._trainer.model, cfg.SOLVER.CHECKPOINT_PERIOD)
        built = [self._step_seed, shared, *super().build_hooks()]
        if comm.is_main_process():
            built.insert(0, FirstIteration())
        if cfg.TEST.BEST_METRIC and comm.is_main_process():
            # The last hook writes the metrics of all others.
            best = BestCheckpointer(cfg.TEST.EVAL_PERIOD, self.checkpointer, cfg.TEST.BEST_METRIC)
            built.insert(-1, best)
        return built

    def train(self) -> Any:
        """As in Detectron2.

        Raises:
            LoaderWorkerError: if a process that loads data was killed.
        """
        with explaining_workers(self.cfg.DATALOADER.NUM_WORKERS):
            return super().train()

    def after_train(self) -> None:
        if self.iter < self.max_iter:
            # Detectron2 would evaluate even if it was the last step that failed.
            skipped = (hooks.EvalHook, BestCheckpointer)
            self._hooks = [hook for hook in self._hooks if not isinstance(hook, skipped)]
        super().after_train()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"seed": self._step_seed.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        seed = state_dict["seed"]
        if seed != self.cfg.SEED:
            logger.info(f"Going on with seed {seed} of the training that is resumed")
        self._step_seed.seed = seed
        self.data_loader.dataset.seed = seed

    @classmethod
    def check_start(cls, cfg: CfgNode, resume: bool = False) -> None:
        """Refuse a training that cannot begin: data sets that are not registered, and files of
        weights that cannot be read. Nothing is built, and no data are read.

        Args:
            cfg: configuration.
            resume: whether the training is to go on from OUTPUT_DIR where it can.

        Raises:
            ConfigError: naming the key, and the file.
        """
        _check_data(cfg)
        resumes = resume and SpotterCheckpointer(nn.Module(), cfg.OUTPUT_DIR).has_checkpoint()
        if cfg.MODEL.WEIGHTS and not resumes:
            check_weights("MODEL.WEIGHTS", cfg.MODEL.WEIGHTS)

    @classmethod
    def build_training_model(cls, cfg: CfgNode) -> nn.Module:
        """What `build_model` gives, with all that only training needs.

        Raises:
            ConfigError: if statistics are to stay that nobody has taken.
        """
        if cfg.MODEL.BACKBONE.FREEZE_STATISTICS and not cfg.MODEL.WEIGHTS:
            raise ConfigError(
                "MODEL.BACKBONE.FREEZE_STATISTICS keeps the statistics of MODEL.WEIGHTS, and there "
                "are none: name a file, or set it to False to train from random weights"
            )
        return cls.build_model(cfg)

    @classmethod
    def deployed(cls, model: nn.Module) -> nn.Module:
        """Of what is trained, distributed or not, the model that is evaluated, saved and used."""
        return model.module if isinstance(model, DistributedDataParallel) else model

    @classmethod
    def build_mapper(cls, cfg: CfgNode, is_train: bool) -> Any:
        """What turns a dictionary of the data set into what the model gets."""
        return TextDatasetMapper(cfg, is_train=is_train)

    @classmethod
    def build_train_loader(
        cls, cfg: CfgNode, labelled: Mapping[str, Dataset] | None = None
    ) -> DataLoader:
        """Loader of this process over the stream of training images.

        Args:
            cfg: configuration.
            labelled: data sets that take the place of those registered by their names, as
                `label_images` gives them.

        Raises:
            ConfigError: for values that cannot be trained with, and for another data set that has
                no annotations.
        """
        _check_data(cfg)
        images = _training_images(cfg, labelled or {})
        if len(cfg.DATASETS.SHORT_SIDES) > 0:
            mapper = MapperByDataset(
                {
                    name: cls.build_mapper(at_resolution_of(cfg, name), is_train=True)
                    for name in dict.fromkeys(cfg.DATASETS.TRAIN)
                }
            )
        else:
            mapper = cls.build_mapper(cfg, is_train=True)
        stream = TrainingStream(images, mapper, cfg.SEED)
        batch = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
        return build_stream_loader(stream, batch, cfg.DATALOADER.NUM_WORKERS)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        mapper = cls.build_mapper(at_resolution_of(cfg, dataset_name), is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, model: nn.Module | None = None
    ) -> TextSpottingEvaluator:
        return build_evaluator(cfg, dataset_name, model)

    @classmethod
    def evaluate(cls, cfg: CfgNode, resume: bool = False) -> OrderedDict:
        """Build the model and evaluate it with the weights MODEL.WEIGHTS.

        Args:
            cfg: configuration.
            resume: take the last whole checkpoint of OUTPUT_DIR instead, if there is one.

        Returns:
            As `test`.

        Raises:
            ConfigError: without weights or without DATASETS.TEST, and as `test`.
            WeightsError: if the weights are of another model or cannot be used, see
                `SpotterCheckpointer`.
            LoaderWorkerError: if a process that loads data was killed.
        """
        if not cfg.DATASETS.TEST:
            raise ConfigError("DATASETS.TEST is empty: there is nothing to evaluate on")
        _check_truth(cfg)
        with building():
            model = cls.build_model(cfg)
        checkpointer = SpotterCheckpointer(model, cfg.OUTPUT_DIR)
        weights = cfg.MODEL.WEIGHTS
        if resume:
            weights = checkpointer.last_whole_checkpoint() or weights
        if not weights:
            raise ConfigError(
                "evaluation needs weights: give MODEL.WEIGHTS FILE.pth, or --resume for the last "
                f"checkpoint in OUTPUT_DIR ({cfg.OUTPUT_DIR})"
            )
        with told_by("MODEL.WEIGHTS" if weights == cfg.MODEL.WEIGHTS else "OUTPUT_DIR"):
            checkpointer.load_exactly(weights, checkpointables=[])
        with explaining_workers(cfg.DATALOADER.NUM_WORKERS):
            results = cls.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> OrderedDict:
        """Evaluate on every data set of DATASETS.TEST.

        Args:
            cfg: configuration.
            model: with the weights to evaluate.
            evaluators: as in Detectron2; None builds them.

        Returns:
            task -> metric -> value, for several data sets below the name of each; on other
            processes than the main one without metrics.

        Raises:
            ConfigError: for a data set without annotations.
        """
        _check_truth(cfg)
        names = cfg.DATASETS.TEST
        model = cls.deployed(model)
        if evaluators is None:
            evaluators = [cls.build_evaluator(cfg, name, model) for name in names]
        results = OrderedDict()
        for name, evaluator in zip(names, evaluators, strict=True):
            loader = cls.build_test_loader(cfg, name)
            with _as_it_was(model):
                results[name] = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process():
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Afterwards each module is in the mode in which it was. Detectron2 leaves all in the mode of
    the outermost one, with which what is frozen would learn on after an evaluation."""
    modes = [(module, module.training) for module in model.modules()]
    yield
    for module, training in modes:
        module.training = training


def _check_data(cfg: CfgNode) -> None:
    """What can be told about the keys of data without reading any.

    Raises:
        ConfigError: for what cannot be trained with.
    """
    loading = cfg.DATALOADER
    if loading.SAMPLER_TRAIN != "TrainingSampler" or loading.ASPECT_RATIO_GROUPING:
        raise ConfigError(
            "training data comes in a stream that resumes exactly, which allows only "
            "DATALOADER.SAMPLER_TRAIN TrainingSampler and ASPECT_RATIO_GROUPING False"
        )
    batch, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if batch < 1 or batch % processes:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {batch}, which {processes} processes cannot share evenly"
        )
    names = cfg.DATASETS.TRAIN
    if not names:
        raise ConfigError("DATASETS.TRAIN is empty: there is nothing to train on")
    _check_registered("DATASETS.TRAIN", names)
    _check_truth(cfg)


def _check_registered(key: str, names: Sequence[str]) -> None:
    for name in names:
        if name in DatasetCatalog:
            continue
        # Detectron2 brings a hundred that hold no text.
        known = sorted(
            other
            for other in DatasetCatalog
            if MetadataCatalog.get(other).get("evaluator_type") == EVALUATOR_TYPE
        )
        close = difflib.get_close_matches(name, DatasetCatalog, n=1)
        raise ConfigError(
            f"{key}: there is no data set {name!r}"
            + (f"; did you mean {close[0]}?" if close else ".")
            + f" Your own are described in a file that DATASETS.REGISTER names (docs/data.md). "
            f"There are {', '.join(known)}"
        )


def _check_truth(cfg: CfgNode) -> None:
    _check_registered("DATASETS.TEST", cfg.DATASETS.TEST)
    try:
        check_short_sides(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    for name in cfg.DATASETS.TEST:
        if not is_labelled(name):
            raise ConfigError(
                f"DATASETS.TEST: {name} has no annotations (format unlabelled) to compare with; "
                "leave it out, or register its images with annotations"
            )


def _training_images(cfg: CfgNode, labelled: Mapping[str, Dataset]) -> Dataset:
    vocabulary = Vocabulary.from_config(cfg.MODEL.RECOGNITION.VOCABULARY)
    images = []
    for name in cfg.DATASETS.TRAIN:
        found = labelled.get(name)
        if found is None and not is_labelled(name):
            raise ConfigError(
                f"DATASETS.TRAIN: {name} has no annotations (format unlabelled). Only a "
                "distillation, whose teacher reads the images, can learn from it: leave it out, "
                "or distil (docs/distillation.md)"
            )
        if found is None:
            found = get_detection_dataset_dicts([name], filter_empty=False)
        images.append(found if isinstance(found, Dataset) else DatasetFromList(found, copy=False))
        if len(images[-1]) == 0:
            raise ConfigError(f"DATASETS.TRAIN: {name} has no images")
        if comm.is_main_process():
            warn_of_held_back(at_resolution_of(cfg, name), name, images[-1])
            max_length = cfg.MODEL.RECOGNITION.MAX_LENGTH
            log_recognition_coverage(name, images[-1], vocabulary, max_length)
        if len(cfg.DATASETS.SHORT_SIDES) > 0:
            images[-1] = NamedImages(images[-1], name)
    return images[0] if len(images) == 1 else ConcatDataset(images)
