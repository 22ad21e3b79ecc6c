"""Methods that are one loss of logits beside the cross-entropy: KD, DIST, DKD, NKD, TTM, CMKD, RLD and divergences."""

from functools import partial
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from limbeck.losses import (
    MIN_SPREAD,
    CMKDLoss,
    DISTLoss,
    DKDLoss,
    JSDLoss,
    KDLoss,
    LogitMSELoss,
    NKDLoss,
    ReverseKLLoss,
    RLDLoss,
    TTMLoss,
    WTTMLoss,
)
from limbeck.methods.card import Entry, builtin
from limbeck.methods.fields import (
    UNMEASURED,
    Alpha,
    LabelWeight,
    MeasuredTemperature,
    MinSpread,
    Scale,
    Temperature,
    Warmup,
    Weight,
)
from limbeck.methods.method import Parts
from limbeck.methods.one_loss import one_loss
from limbeck.validation import Settings

_TeacherTemperature = Annotated[float, Field(gt=0, description="softens the teacher alone; the paper's gamma is 1 / T")]
# Their own weights drown the labels where a teacher is less right than these: a tenth of them gained as much from good
# teachers, and kept students of bad ones at plain training (docs/claims.md).
_LIGHT = 0.1
_TeacherWeight = Annotated[Weight, Field(description="weight of the teacher")]


class KDSettings(Settings):
    """Settings of ``kd``."""

    temperature: MeasuredTemperature = UNMEASURED
    alpha: Alpha = 0.9


class DISTSettings(Settings):
    """Settings of ``dist``."""

    temperature: Temperature = 4.0
    beta: Annotated[Weight, Field(description="weight of the inter-class term")] = 2.0
    gamma: Annotated[Weight, Field(description="weight of the intra-class term")] = 2.0
    ce_weight: LabelWeight = 1.0
    scale: Annotated[Scale, Field(description="'code' multiplies both terms by T^2, 'paper' does not")] = "code"
    min_spread: MinSpread = MIN_SPREAD
    gather: Annotated[bool, Field(description="use the rows of all processes in the intra-class term")] = True


class DKDSettings(Settings):
    """Settings of ``dkd``."""

    temperature: Temperature = 4.0
    alpha: Annotated[Weight, Field(description="weight of the true class against the rest (TCKD)")] = 1.0
    beta: Annotated[Weight, Field(description="weight of the other classes among themselves (NCKD)")] = 8.0
    ce_weight: LabelWeight = 1.0
    warmup: Warmup = 0


class NKDSettings(Settings):
    """Settings of ``nkd``."""

    temperature: Annotated[float, Field(gt=0, description="softens the other classes of both sides")] = 3.0
    gamma: Annotated[Weight, Field(description="weight of the other classes")] = 3.5
    ce_weight: LabelWeight = 1.0


class TTMSettings(Settings):
    """Settings of ``ttm``."""

    temperature: _TeacherTemperature = 10.0
    beta: _TeacherWeight = 45.0
    ce_weight: LabelWeight = 1.0


class WTTMSettings(TTMSettings):
    """Settings of ``wttm``."""

    temperature: _TeacherTemperature = 5.0
    beta: _TeacherWeight = 4.0


class CMKDSettings(Settings):
    """Settings of ``cmkd``."""

    temperature: Temperature = 4.0
    rank_temperature: Annotated[
        float, Field(gt=0, description="how far apart standardized logits must be to have different ranks")
    ] = 0.1
    alpha: Annotated[Weight, Field(description="weight of Pearson's distance")] = 16.0
    beta: Annotated[Weight, Field(description="weight of Spearman's distance")] = 16.0
    min_spread: MinSpread = MIN_SPREAD
    ce_weight: LabelWeight = 1.0


class RLDSettings(Settings):
    """Settings of ``rld``."""

    temperature: Temperature = 4.0
    confidence_temperature: Annotated[
        float | None, Field(gt=0, description="temperature of the sample confidence; the other one if not given")
    ] = None
    alpha: Annotated[Weight, Field(description="weight of the sample confidence")] = 1.0
    beta: Annotated[Weight, Field(description="weight of the masked correlation")] = 8.0
    ce_weight: LabelWeight = 1.0
    warmup: Warmup = 0


class LogitMSESettings(Settings):
    """Settings of ``logit_mse``."""

    alpha: Alpha = 0.9


class ReverseKLSettings(LogitMSESettings):
    """Settings of ``reverse_kl``."""

    temperature: Temperature = 4.0


class JSDSettings(ReverseKLSettings):
    """Settings of ``jsd``."""

    beta: Annotated[float, Field(gt=0, lt=1, description="the teacher's share of the mixture")] = 0.5


def _dist(settings: DISTSettings) -> Parts:
    scales = settings.scale == "code"
    return one_loss(settings, name="dist", loss=DISTLoss, scales_with_temperature=scales, full_weight=_LIGHT)


def _entry(name: str, settings: type[Settings], loss: type[nn.Module], **options: Any) -> Entry:
    return builtin(name, settings, partial(one_loss, name=name, loss=loss, **options))


ENTRIES = (
    builtin("kd", KDSettings, partial(one_loss, name="kd", loss=KDLoss), softens=True),
    builtin("dist", DISTSettings, _dist),
    _entry("dkd", DKDSettings, DKDLoss, full_weight=_LIGHT),
    # These three soften only a part of what they compare, so that they get a temperature as an argument.
    _entry("nkd", NKDSettings, NKDLoss, takes_temperature=True),
    _entry("ttm", TTMSettings, TTMLoss, weight="beta", takes_temperature=True),
    _entry("wttm", WTTMSettings, WTTMLoss, weight="beta", takes_temperature=True),
    # Correlations do not shrink with a temperature.
    _entry("cmkd", CMKDSettings, CMKDLoss, scales_with_temperature=False),
    _entry("rld", RLDSettings, RLDLoss),
    _entry("reverse_kl", ReverseKLSettings, ReverseKLLoss),
    _entry("jsd", JSDSettings, JSDLoss),
    _entry("logit_mse", LogitMSESettings, LogitMSELoss),
)
