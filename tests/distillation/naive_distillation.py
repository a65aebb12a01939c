"""A training step of the distiller written out: loops over images, scales, words and characters.

Only the spotter's three calls are shared with the code under test, and the beam search, which has
tests of its own.
"""

import copy

import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, ImageList, Instances

from dld_d2.modeling.recognition.beam_search import beam_search
from dld_d2.structures.polygons import Polygons


def naive_view(image, target, scale):
    """One image (3, h, w), without padding, and its target, smaller."""
    h, w = image.shape[-2:]
    size = (round(h * scale), round(w * scale))
    small = F.interpolate(
        image.contiguous()[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]
    x, y = size[1] / w, size[0] / h
    scaled = Instances(size)
    for name, value in target.get_fields().items():
        if name == "gt_boxes":
            value = Boxes(value.tensor * torch.tensor([x, y, x, y]))
        elif name == "gt_masks":
            value = Polygons(value.vertices * torch.tensor([x, y]))
        scaled.set(name, value)
    return small, scaled


def pad(images):
    height = -(-max(i.shape[1] for i in images) // 32) * 32
    width = -(-max(i.shape[2] for i in images) // 32) * 32
    batch = images[0].new_zeros(len(images), 3, height, width)
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
    return ImageList(batch, [tuple(i.shape[-2:]) for i in images])


def words_of(target):
    """Character classes, `end` included, of each readable word."""
    return [
        [c for c in row.tolist() if c >= 0]
        for row, readable in zip(target.gt_texts, target.gt_readable.tolist(), strict=True)
        if readable
    ]


def log_probability(decoder, context, sequence):
    """log p(sequence | context), character by character; context is (L, C)."""
    memory = decoder.memory(context[None])
    state = decoder.initial_state(memory.context)
    previous, total = decoder.begin, 0.0
    for token in sequence:
        logits, state = decoder.step(memory, torch.tensor([previous]), state)
        total = total + logits[0].log_softmax(dim=0)[token]
        previous = token
    return total


def align_context(context, length):
    """(3 rows of 65, C) to (33, C): mean of the rows, every second column."""
    rows = context.view(3, 65, -1)
    return ((rows[0] + rows[1] + rows[2]) / 3)[::2][:length]


def naive_step(distiller, inputs, h, seed):
    """Losses of a step, and gradients of the student's spotter and by h.

    Args:
        distiller: stays as it is.
        inputs: of the step.
        h: (B, k) one-hot, what was chosen.
        seed: of the generator just after the choice.
    """
    terms = {term.name: term for term in distiller.terms}
    student = copy.deepcopy(distiller.student.spotter)
    aligner = copy.deepcopy(terms["roi"].aligner) if "roi" in terms else None
    teacher, scales = distiller.teacher, distiller.student.scales
    want = ("roi", "context")
    singles = [student.preprocess([x]) for x in inputs]
    images = [batch[0] for batch, _ in singles]
    targets = [target for _, (target,) in singles]
    chosen = [scales[row.index(1.0)] for row in h.tolist()]

    views = [naive_view(*x) for x in zip(images, targets, chosen, strict=True)]
    # Candidates are read with the statistics from before the selected pass.
    reader = copy.deepcopy(student).eval()
    torch.manual_seed(seed)
    own, learnt = student.losses(pad([v[0] for v in views]), [v[1] for v in views], want)
    losses = dict(own)
    words = [word for target in targets for word in words_of(target)]
    image_of = [i for i, target in enumerate(targets) for _ in words_of(target)]

    taught = []  # per word: logits (T, V), RoI features (C, H, W), context (L, C)
    for batch, target in singles:
        if words_of(target[0]):
            with torch.no_grad():
                out = teacher.recognize(batch, target, want)
            taught += zip(out.logits, out.features["roi"], out.context, strict=True)

    if words:
        roi, con, seq = 0.0, 0.0, 0.0
        for n in range(len(words)):
            features, context = learnt.features["roi"][n], learnt.context[n]
            wanted = taught[n][2]
            if aligner is not None:
                features = aligner(features[None])[0]
                wanted = align_context(wanted, len(context))
            roi = roi + (features - taught[n][1]).square().mean() / len(words)
            con = con + (context - wanted).square().mean() / len(words)
            if "sequence" not in terms:
                continue
            found = beam_search(
                teacher.roi_heads.text_head.decoder,
                taught[n][2][None],
                width=terms["sequence"].beam_width,
                num_sequences=terms["sequence"].num_sequences,
                max_length=32,
            )
            p = 0.0
            for row in found.sequences[0].tolist():
                sequence = [c for c in row if c >= 0]
                p = p + log_probability(learnt.decoder, context, sequence).double().exp()
            seq = seq - p.log() / len(words)
        for name, key, value in (
            ("roi", "loss_roi", roi),
            ("context", "loss_con", con),
            ("sequence", "loss_seq", seq),
        ):
            if name in terms:
                losses[key] = terms[name].weight * value

    parameters = [*student.parameters(), *(aligner.parameters() if aligner else ())]
    gradients = torch.autograd.grad(sum(losses.values()), parameters, allow_unused=True)

    h_gradient = None
    learning = distiller.learning
    if learning.num_images(len(h)) > 0:
        h = h.clone().requires_grad_()
        cost = sum((row * distiller.student.relative_cost).sum() for row in h) / len(h)
        readings = []  # per scale and word (T, V)
        for scale in scales:
            readings.append([])
            for image, target in zip(images, targets, strict=True):
                if words_of(target):
                    small, scaled = naive_view(image, target, scale)
                    with torch.no_grad():
                        readings[-1] += reader.recognize(pad([small]), [scaled]).logits
        accuracy, count = 0.0, sum(len(word) for word in words)
        for n, word in enumerate(words):
            weights = h[image_of[n]]
            for t, c in enumerate(word):
                at = [reading[n][t].double() for reading in readings]
                if learning.needs_teacher:
                    p = sum(w * x.softmax(dim=0) for w, x in zip(weights, at, strict=True))
                    q = taught[n][0][t].double().softmax(dim=0)
                    accuracy = accuracy + (p * (p.log() - q.log())).sum() / count
                else:
                    logits = sum(w * x for w, x in zip(weights, at, strict=True))
                    accuracy = accuracy - logits.log_softmax(dim=0)[c] / count
        losses["loss_flops"] = learning.loss_weight * learning.gamma * cost
        losses["loss_acc"] = learning.loss_weight * accuracy
        (h_gradient,) = torch.autograd.grad(losses["loss_flops"] + losses["loss_acc"], h)
    losses = {name: loss.detach() for name, loss in losses.items()}
    return losses, gradients, h_gradient, student
