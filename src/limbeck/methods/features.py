"""Methods that compare features: FitNet, AT, SP, RKD, PKT, VID, CRD and ReviewKD, each beside any other loss."""

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
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Temperature, Warmup, Weight
from limbeck.methods.method import Layers, Parts, Term
from limbeck.validation import Settings

OfLoss = Annotated[Weight, Field(description="weight of the loss")]


class FitNetSettings(Settings):
    """Settings of ``fitnet``."""

    fitnet_weight: OfLoss = 100.0


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


def _parts(name: str, weight: float, loss: Callable[..., Any], layers: Layers = "all", warmup: int = 0) -> Parts:
    return Parts(extras=(Term(name, weight, loss, features=True, layers=layers, warmup=warmup),), teacher="any")


def _fitnet(settings: FitNetSettings) -> Parts:
    return _parts("fitnet", settings.fitnet_weight, FitNetLoss, "middle")


def _at(settings: ATSettings) -> Parts:
    return _parts("at", settings.at_weight, partial(ATLoss, power=settings.power))


def _sp(settings: SPSettings) -> Parts:
    return _parts("sp", settings.sp_weight, SPLoss, "last")


def _rkd(settings: RKDSettings) -> Parts:
    return _parts("rkd", 1.0, partial(RKDLoss, distance=settings.distance, angle=settings.angle), "last")


def _pkt(settings: PKTSettings) -> Parts:
    return _parts("pkt", settings.pkt_weight, PKTLoss, "last")


def _vid(settings: VIDSettings) -> Parts:
    return _parts("vid", settings.vid_weight, partial(VIDLoss, variance=settings.variance))


def _crd(settings: CRDSettings) -> Parts:
    loss = partial(
        CRDLoss,
        dim=settings.dim,
        negatives=settings.negatives,
        temperature=settings.crd_temperature,
        momentum=settings.bank_momentum,
    )
    return _parts("crd", settings.crd_weight, loss, "last")


def _reviewkd(settings: ReviewKDSettings) -> Parts:
    loss = partial(ReviewKDLoss, embedding=settings.embedding)
    return _parts("reviewkd", settings.reviewkd_weight, loss, warmup=settings.warmup)


def _published(name: str, resnet56: str, resnet32x4: str, wrn: str, *, by: str = "CRD's benchmark") -> tuple[str, ...]:
    return (
        f"CIFAR-100, resnet56 -> resnet20: 69.06 alone, 70.66 KD, {resnet56} {name} ({by})",
        f"CIFAR-100, resnet32x4 -> resnet8x4: 72.50 alone, 73.33 KD, {resnet32x4} {name} ({by})",
        f"CIFAR-100, WRN-40-2 -> WRN-40-1: 71.98 alone, 73.54 KD, {wrn} {name} ({by})",
    )


_WEIGHT = "The weight is that of CRD's benchmark (RepDistiller), beside a cross-entropy of weight 1."
_MIDDLE = "Without named layers, the middle one of the stages is compared, as the benchmark does (hint layer 2)."
_LAST = "Without named layers, the last stage is compared."
_POOLED = f"{_LAST[:-1]}, averaged over its places; the benchmark takes the vector in front of the classifier."
_ALL = "Without named layers, all stages are compared, and their losses added up."
_ADAPTERS = "limbeck run trains the learned adapters with the student's optimizer and schedule, as the benchmark does."

_LEAST = "{} are not scaled up to length 1, so that next to nothing has a moderate gradient."
ENTRIES = (
    Entry(
        "fitnet",
        FitNetSettings,
        _fitnet,
        Card(
            summary="Features: regress the teacher's feature from the student's by a 1x1 convolution.",
            citation="Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550",
            equation="L = CE + w mean (r(f^s) - f^t)^2, r a trained 1x1 convolution",
            published=_published("FitNet", "69.21", "73.50", "72.24"),
            differences=(
                _WEIGHT,
                "The paper trains up to the hint first, and the rest by KD afterwards; the benchmark, as here, trains"
                " all at once.",
                "The benchmark's regressor changes sizes by stride and has a batch norm (RepDistiller: and a ReLU).",
            ),
            ours=("Maps of different sizes are averaged to the smaller one.", _MIDDLE, _ADAPTERS),
        ),
    ),
    Entry(
        "at",
        ATSettings,
        _at,
        Card(
            summary="Features: match where the layers look (attention transfer).",
            citation="Zagoruyko, Komodakis, Paying More Attention to Attention, ICLR 2017, arXiv 1612.03928",
            equation="L = CE + w sum_layers mean (Q^s / |Q^s| - Q^t / |Q^t|)^2, Q = mean_c |f_c|^p",
            published=_published("AT", "70.55", "73.44", "72.77"),
            differences=(
                _WEIGHT,
                "The authors' code, as here, averages squared differences over places and rows; the paper's equation 2"
                " sums unsquared norms, over 2.",
            ),
            ours=(_ALL, _LEAST.format("Activations below .01")),
        ),
    ),
    Entry(
        "sp",
        SPSettings,
        _sp,
        Card(
            summary="Features: match which samples of a batch are alike (similarity-preserving).",
            citation="Tung, Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, arXiv 1907.09682",
            equation="L = CE + w |G^s - G^t|_F^2 / N^2, G = A A^T with rows of length 1",
            published=_published("SP", "69.67", "72.94", "72.43"),
            differences=(_WEIGHT,),
            ours=(
                _LAST,
                "A pair of rows counts by the product of its weights.",
                _LEAST.format("Activations below .05"),
            ),
        ),
    ),
    Entry(
        "rkd",
        RKDSettings,
        _rkd,
        Card(
            summary="Features: match distances between two samples and angles between three (relational).",
            citation="Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068",
            equation=(
                "L = CE + d mean_ij h(|x_i - x_j| / mu) + a mean_ijk h(cos angle(x_j, x_i, x_k)), h Huber's loss"
                " between student and teacher"
            ),
            published=_published("RKD", "69.61", "71.90", "72.22"),
            differences=(
                _WEIGHT,
                "Means run over all N^2 pairs and N^3 triples, those with a sample twice too, as in the authors' code.",
            ),
            ours=(
                _POOLED,
                "Pairs and triples count by the product of their rows' weights.",
                "Distances below 1 count as 1 where they divide, so that samples that are all but identical have a"
                " moderate gradient.",
            ),
        ),
    ),
    Entry(
        "pkt",
        PKTSettings,
        _pkt,
        Card(
            summary="Features: match which samples are likely neighbors (probabilistic knowledge transfer).",
            citation="Passalis, Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018",
            equation="L = CE + w mean_ij p^t_ij log(p^t_ij / p^s_ij), p_ij = k_ij / sum_j k_ij, k = (cos + 1) / 2",
            published=_published("PKT", "70.34", "73.64", "73.45"),
            differences=(
                _WEIGHT,
                "The authors' code, as here, averages over all pairs and keeps a sample as its own neighbor; the paper"
                " sums over others.",
            ),
            ours=(_POOLED, "A pair of rows counts by the product of its weights.", _LEAST.format("Vectors below .05")),
        ),
    ),
    Entry(
        "vid",
        VIDSettings,
        _vid,
        Card(
            summary="Features: maximize a bound of the information about the teacher's layers (variational).",
            citation="Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019",
            equation="L = CE + w sum_layers mean ((f^t - mu(f^s))^2 / s_c^2 + log s_c^2) / 2, mu and s_c trained",
            published=_published("VID", "70.38", "73.09", "73.30"),
            differences=(_WEIGHT, "The benchmark, as here, averages over a row's entries; the paper sums."),
            ours=(_ALL, _ADAPTERS),
        ),
    ),
    Entry(
        "crd",
        CRDSettings,
        _crd,
        Card(
            summary="Features: tell the teacher's view of the same image from those of many others (contrastive).",
            citation="Tian, Krishnan, Isola, Contrastive Representation Distillation, ICLR 2020, arXiv 1910.10699",
            equation=(
                "L = CE + w (NCE(g^s, bank^t) + NCE(g^t, bank^s)), g trained embeddings of length 1, NCE of"
                " exp(cos / T) with K negatives"
            ),
            published=_published("CRD", "71.16", "75.51", "74.14"),
            differences=(_WEIGHT,),
            ours=(
                _POOLED,
                "Negatives are drawn from all other images, and those of the same class do not count once it is known;"
                " the released code draws from other classes. At most all but one image are drawn.",
                "The banks are part of the checkpoint; each of several processes remembers the images of all.",
                _ADAPTERS,
            ),
        ),
    ),
    Entry(
        "reviewkd",
        ReviewKDSettings,
        _reviewkd,
        Card(
            summary="Features: match each teacher layer by a fusion of the student's with all deeper ones (review).",
            citation="Chen et al., Distilling Knowledge via Knowledge Review, CVPR 2021, arXiv 2104.09044",
            equation="L = CE + w sum_layers HCL(fusion_l(f^s_l, f^s_l+1, ...), f^t_l), HCL a mean over pyramid levels",
            published=_published("ReviewKD", "71.89", "75.63", "75.09", by="the paper"),
            differences=(
                "The weight is mdistiller's default; the released scripts choose one a pair of networks, and raise it"
                " over the first 20 epochs, which warmup = 20 does here too.",
                "The released code compares the teacher's maps in front of their last ReLU; name such layers"
                " (layer1.2.add) to do so.",
            ),
            ours=(_ALL, _ADAPTERS),
        ),
    ),
)
