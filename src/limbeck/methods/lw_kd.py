"""LW-KD: a tiny teacher trained on synthetic digits, and an adversarial loss."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import AdversarialLoss, KDLoss
from limbeck.methods.card import builtin
from limbeck.methods.fields import Alpha, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class AdversarialSettings(Settings):
    """Settings of ``adversarial``."""

    temperature: Temperature = 4.0
    adversarial_weight: Annotated[Weight, Field(description="weight of -log D(p^s)")] = 0.1
    conditional: Annotated[bool, Field(description="whether the discriminator is given the true class")] = True
    hidden: Annotated[int, Field(ge=1, description="width of the discriminator's hidden layer")] = 64


class LWKDSettings(AdversarialSettings):
    """Settings of ``lw_kd``."""

    # A teacher of simple images is so certain that matching it at 4 needs far larger logits than the labels do.
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


ENTRIES = (
    builtin("lw_kd", LWKDSettings, _lw_kd),
    builtin("adversarial", AdversarialSettings, _adversarial, component=True),
)
