"""Label revision (LR) and data selection (DS): correct a wrong teacher, and decide whom it may teach."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from limbeck.errors import UserError
from limbeck.losses import KDLoss, LabelRevisionLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Eta, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.selection import Selection
from limbeck.targets import revise_logits
from limbeck.validation import Settings


class ReviseSettings(Settings):
    """Settings of ``revise``."""

    eta: Eta = 0.8


class LRSettings(ReviseSettings):
    """Settings of ``lr``."""

    temperature: Temperature = 4.0
    ce_weight: Annotated[Weight, Field(description="weight of the true labels")] = 1.0
    kd_weight: Annotated[Weight, Field(description="weight of the KL to the revised teacher")] = 1.0
    loss: Annotated[
        Literal["kd", "port"], Field(description="'kd': CE + KL; 'port': squared errors, split by right and wrong rows")
    ] = "kd"
    lambda1: Annotated[Weight, Field(description="loss: port, weight of the logit error on right rows")] = 4.0
    lambda2: Annotated[Weight, Field(description="loss: port, weight of the probability error on wrong rows")] = 1.0


class LRDSSettings(LRSettings, Selection):
    """Settings of ``lr_ds``."""


def _revise(settings: ReviseSettings) -> Parts:
    return Parts(targets=(partial(revise_logits, eta=settings.eta),), teacher="any")


def _port(settings: LRSettings) -> Parts:
    loss = partial(LabelRevisionLoss, lambda1=settings.lambda1, lambda2=settings.lambda2, eta=settings.eta)
    # No part of it is softened.
    term = Term("label_revision", 1.0, loss, takes_temperature=True)
    return Parts(matching=Matching(0.0, (term,)), teacher="any")


def _lr(settings: LRSettings) -> Parts:
    if settings.loss == "port":
        return _port(settings)
    term = Term("kd", settings.kd_weight, partial(KDLoss, temperature=settings.temperature))
    matching = Matching(settings.ce_weight, (term,), replaceable=True)
    return Parts(matching=matching, targets=_revise(settings).targets, teacher="any")


def _select(settings: Selection) -> Parts:
    return Parts(selection=settings, teacher="any")


def _lr_ds(settings: LRDSSettings) -> Parts:
    if settings.loss == "port":
        raise UserError("loss: got 'port', expected 'kd' with a selection (unselected samples would have no loss)")
    parts = _lr(settings)
    return Parts(matching=parts.matching, targets=parts.targets, selection=settings, teacher=parts.teacher)


_CITATION = (
    "Lan et al., Improve Knowledge Distillation via Label Revision and Data Selection, arXiv 2404.03693;"
    " IEEE Transactions on Cognitive and Developmental Systems 17(6), 2025"
)
_REVISION = "p' = b p^t + (1 - b) onehot(y), b = eta / (p^t_max - p^t_y + 1), where the teacher is wrong; p^t elsewhere"
_OURS_LOSS = (
    "The default loss, CE on all rows + T^2 KL (T = 4) to the revised teacher, is ours: the paper says that revision"
    " combines with other methods. loss: port computes a public port's squared errors instead, which leave rows that"
    " the teacher gets wrong without cross-entropy; there a row of logits further than 6 from the teacher's counts"
    " linearly."
)
_OURS_SELECTION = (
    "The paper's influence score, its direction, ratio and refreshing are not known to us. Ours: the decrease of the"
    " loss on a held-out slice of the training set by a step of the last layer towards what the teacher says about a"
    " sample, in a copy of the student trained plainly for proxy_epochs; the highest share (ratio) is kept. The test"
    " split is never used.",
    "The loss of the selected rows is summed and divided by the number of all rows, so that a selection lowers the"
    " total weight of its teacher; divide_by: selected divides by that of the selected ones.",
    "A selection is only worth something if it beats scorer: random at the same ratio, and itself with shuffled: true,"
    " the same weights on other rows; show both.",
)
ENTRIES = (
    Entry(
        "lr",
        LRSettings,
        _lr,
        Card(
            summary="Revise the teacher's wrong labels before matching them.",
            citation=_CITATION,
            equation=f"L = CE + T^2 KL(revised || student), {_REVISION}",
            ours=(_OURS_LOSS,),
        ),
    ),
    Entry(
        "lr_ds",
        LRDSSettings,
        _lr_ds,
        Card(
            summary="Revise the teacher's wrong labels, and let it teach only the samples where that helps.",
            citation=_CITATION,
            equation=f"L = CE + sum over the selected rows of T^2 KL(revised || student) / N, {_REVISION}",
            ours=(_OURS_LOSS, *_OURS_SELECTION),
        ),
    ),
    Entry(
        "revise",
        ReviseSettings,
        _revise,
        Card(
            summary="Target: revise the teacher's wrong labels (LR), for any loss.",
            citation=_CITATION,
            equation=_REVISION,
            ours=("Revision happens at T = 1; the logarithms of the revised labels then serve as logits.",),
        ),
        component=True,
    ),
    Entry(
        "select",
        Selection,
        _select,
        Card(
            summary="Selection: only the highest-scored share of the samples listens to the teacher, for any loss.",
            citation=_CITATION,
            equation="rows outside the selection get the ground truth only",
            ours=_OURS_SELECTION,
        ),
        component=True,
    ),
)
