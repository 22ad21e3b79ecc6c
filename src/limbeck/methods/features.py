"""Methods that compare features: FitNet, mimic, AT, SP, RKD, PKT, VID, CRD and ReviewKD, each beside any other loss."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from limbeck.losses.features import (
    ATLoss,
    CRDLoss,
    FitNetLoss,
    PKTLoss,
    ReviewKDLoss,
    RKDLoss,
    SPLoss,
    VIDLoss,
)
from limbeck.methods.card import Entry, builtin
from limbeck.methods.fields import Temperature, Warmup, Weight
from limbeck.methods.method import Layers
from limbeck.methods.one_loss import one_feature_loss
from limbeck.validation import Settings

OfLoss = Annotated[Weight, Field(description="weight of the loss")]


class FitNetSettings(Settings):
    """Settings of ``fitnet``."""

    fitnet_weight: OfLoss = 100.0


class MimicSettings(Settings):
    """Settings of ``mimic``."""

    mimic_weight: OfLoss = 1.0


class ATSettings(Settings):
    """Settings of ``at``."""

    at_weight: OfLoss = 1000.0
    power: Annotated[float, Field(ge=1, description="p of the attention map, the mean of |f|^p over channels")] = 2.0


class SPSettings(Settings):
    """Settings of ``sp``."""

    sp_weight: OfLoss = 3000.0


class RKDSettings(Settings):
    """Settings of ``rkd``."""

    distance: Annotated[Weight, Field(description="weight of the distances between two samples")] = 25.0
    angle: Annotated[Weight, Field(description="weight of the angles between three samples")] = 50.0


class PKTSettings(Settings):
    """Settings of ``pkt``."""

    pkt_weight: OfLoss = 30000.0


class VIDSettings(Settings):
    """Settings of ``vid``."""

    vid_weight: OfLoss = 1.0
    variance: Annotated[float, Field(gt=1e-5, description="the variance that training begins with")] = 5.0


class CRDSettings(Settings):
    """Settings of ``crd``."""

    crd_weight: OfLoss = 0.8
    negatives: Annotated[int, Field(ge=1, description="images that each is contrasted with")] = 16384
    crd_temperature: Annotated[Temperature, Field(description="what cosines are divided by")] = 0.07
    bank_momentum: Annotated[float, Field(ge=0, lt=1, description="how much of a remembered embedding stays")] = 0.5
    dim: Annotated[int, Field(ge=1, description="length of an embedding")] = 128


class ReviewKDSettings(Settings):
    """Settings of ``reviewkd``."""

    reviewkd_weight: OfLoss = 1.0
    embedding: Annotated[bool, Field(description="whether the averaged last map is one more layer")] = True
    warmup: Warmup = 0


def _crd_loss(*shapes: Any, crd_temperature: float, bank_momentum: float, **options: Any) -> CRDLoss:
    return CRDLoss(*shapes, temperature=crd_temperature, momentum=bank_momentum, **options)


def _entry(name: str, settings: type[Settings], loss: Callable[..., Any], layers: Layers = "all") -> Entry:
    return builtin(name, settings, partial(one_feature_loss, name=name, loss=loss, layers=layers))


ENTRIES = (
    _entry("fitnet", FitNetSettings, FitNetLoss, "middle"),
    _entry("mimic", MimicSettings, FitNetLoss),
    _entry("at", ATSettings, ATLoss),
    _entry("sp", SPSettings, SPLoss, "last"),
    _entry("rkd", RKDSettings, RKDLoss, "last"),
    _entry("pkt", PKTSettings, PKTLoss, "last"),
    _entry("vid", VIDSettings, VIDLoss),
    _entry("crd", CRDSettings, _crd_loss, "last"),
    _entry("reviewkd", ReviewKDSettings, ReviewKDLoss),
)
