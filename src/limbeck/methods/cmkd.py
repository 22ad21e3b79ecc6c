"""CMKD as a method."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import MIN_SPREAD, CMKDLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import MinSpread, Temperature, Weight
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class CMKDSettings(Settings):
    """Settings of ``cmkd``."""

    temperature: Temperature = 4.0
    rank_temperature: Annotated[
        float, Field(gt=0, description="how far apart standardized logits must be to have different ranks")
    ] = 0.1
    alpha: Annotated[Weight, Field(description="weight of Pearson's distance")] = 16.0
    beta: Annotated[Weight, Field(description="weight of Spearman's distance")] = 16.0
    min_spread: MinSpread = MIN_SPREAD
    ce_weight: Annotated[Weight, Field(description="weight of the true labels")] = 1.0


def _cmkd(settings: CMKDSettings) -> Parts:
    loss = partial(CMKDLoss, **settings.model_dump(exclude={"ce_weight"}))
    # Correlations do not shrink with a temperature.
    term = Term("cmkd", 1.0, loss, scales_with_temperature=False)
    return Parts(matching=Matching(settings.ce_weight, (term,)), teacher="any")


ENTRIES = (
    Entry(
        "cmkd",
        CMKDSettings,
        _cmkd,
        Card(
            summary="Match a strong teacher's values (Pearson) and its ranking of classes (Spearman), by difficulty.",
            citation=(
                "Niu et al., Efficient and Robust Knowledge Distillation from A Stronger Teacher Based on Correlation"
                " Matching, arXiv 2410.06561, 2024"
            ),
            equation=(
                "L = CE + mean_i(alpha (1 - h_i) (1 - rho(p^s_i, p^t_i)) + beta h_i (1 - rho(r^s_i, r^t_i))), z' = z"
                " standardized in its row, p = softmax(z' / T), r = soft ranks of z', h = entropy(softmax(z^t)) / log C"
            ),
            ours=(
                "The paper's are the standardized logits, the two correlations, and weights that follow a sample's"
                " difficulty. Ours are: the teacher's entropy as difficulty; that certain samples use Pearson and"
                " uncertain ones Spearman; Pearson on probabilities; soft ranks as sums of pairwise sigmoids, with"
                " time and memory N C^2; 1e-3 added to each row's variance; and every default.",
                "min_spread d: a row's standard deviation counts as at least d, and below d the soft ranks grow softer,"
                " up to a rank_temperature of 1, so that rows of all but constant logits have a moderate gradient.",
                "alpha = beta = 16 is the T^2 by which DIST multiplies its distances on CIFAR-100; no number published"
                " for CMKD was produced with these settings.",
            ),
            cautions=("A batch of 256 rows of 1000 classes takes about 1 GB a tensor for the ranks.",),
        ),
    ),
)
