"""LW-KD: a tiny teacher trained on synthetic digits, and an adversarial loss."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import AdversarialLoss, KDLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Alpha, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class AdversarialSettings(Settings):
    """Settings of ``adversarial``."""

    temperature: Temperature = 4.0
    adversarial_weight: Annotated[Weight, Field(description="weight of -log D(p^s)")] = 0.1
    conditional: Annotated[bool, Field(description="whether the discriminator is told the true class")] = True
    hidden: Annotated[int, Field(ge=1, description="width of the discriminator's hidden layer")] = 64


class LWKDSettings(AdversarialSettings):
    """Settings of ``lw_kd``."""

    # A teacher of simple images is so sure that matching it at 4 asks for far larger logits than the labels do.
    temperature: Temperature = 2.0
    alpha: Alpha = 0.5


def _adversarial_term(settings: AdversarialSettings) -> Term:
    loss = partial(
        AdversarialLoss,
        temperature=settings.temperature,
        hidden=settings.hidden,
        conditional=settings.conditional,
    )
    return Term("adversarial", settings.adversarial_weight, loss, per_class=True, scales_with_temperature=False)


def _adversarial(settings: AdversarialSettings) -> Parts:
    return Parts(extras=(_adversarial_term(settings),), teacher="any")


def _lw_kd(settings: LWKDSettings) -> Parts:
    term = Term("kd", settings.alpha, partial(KDLoss, temperature=settings.temperature))
    return Parts(
        matching=Matching(1 - settings.alpha, (term,), replaceable=True),
        extras=(_adversarial_term(settings),) if settings.adversarial_weight else (),
        teacher="lightweight",
    )


_CITATION = (
    "Liu et al., Learning from a Lightweight Teacher for Efficient Knowledge Distillation, arXiv 2005.09163, 2020"
)
ENTRIES = (
    Entry(
        "lw_kd",
        LWKDSettings,
        _lw_kd,
        Card(
            summary="Learn from a tiny teacher trained in seconds on synthetic digits; works for any modality.",
            citation=_CITATION,
            equation="L = (1 - a) CE + a T^2 KL(softmax(z^t / T) || softmax(z^s / T)) + l (-log D(p^s))",
            ours=(
                "The paper gives the outline: a lightweight teacher, a synthesized simple data set with as many"
                " classes, soft targets that vary by instance, an adversarial loss. Everything below it is ours:",
                "class k is drawn as its decimal digits side by side, from real handwritten digits with light jitter;"
                " a LeNet-5 style teacher; a sample of class k gets the teacher's output for a random synthetic sample"
                " of class k, drawn from (seed, epoch, sample index);",
                "D is a spectrally normalized perceptron on probabilities at T and the true class, with its own Adam,"
                " one step a batch.",
                "alpha = .5 and T = 2 are ours: T = 4 is as good with 10 classes, and worse with 100.",
                "A weak lightweight teacher costs the student points, so its accuracy on held-out"
                " synthetic samples is reported, with a warning below 97 %.",
            ),
            cautions=(
                "In our trials it gained .9 points with 10 classes and 2,000 images and 1.0 with 100 classes and"
                " 20,000, but cost a small student .5 with 100 classes and 2,500 (benchmarks/results:"
                " lightweight-cpu.md, accuracy-cpu-lightweight.md): put label_smoothing beside it.",
                "It makes a student overconfident: look at the calibration too.",
            ),
        ),
    ),
    Entry(
        "adversarial",
        AdversarialSettings,
        _adversarial,
        Card(
            summary="Loss: make the student's output indistinguishable from the teacher's, beside any other loss.",
            citation=_CITATION,
            equation="l (-log D(p^s)); D minimizes -log D(p^t) - log(1 - D(p^s))",
            ours=("The discriminator's form.",),
        ),
        component=True,
    ),
)
