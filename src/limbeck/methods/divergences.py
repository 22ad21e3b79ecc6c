"""Methods that differ from Hinton's only in the distance: reverse KL, Jensen-Shannon, and the logits' squared error."""

from functools import partial
from typing import Annotated

from pydantic import Field

from limbeck.losses import JSDLoss, LogitMSELoss, ReverseKLLoss
from limbeck.methods.card import Card, Entry
from limbeck.methods.fields import Alpha, Temperature
from limbeck.methods.method import Matching, Parts, Term
from limbeck.validation import Settings


class LogitMSESettings(Settings):
    """Settings of ``logit_mse``."""

    alpha: Alpha = 0.9


class ReverseKLSettings(LogitMSESettings):
    """Settings of ``reverse_kl``."""

    temperature: Temperature = 4.0


class JSDSettings(ReverseKLSettings):
    """Settings of ``jsd``."""

    beta: Annotated[float, Field(gt=0, lt=1, description="the teacher's share of the mixture")] = 0.5


def _parts(alpha: float, term: Term) -> Parts:
    return Parts(matching=Matching(1 - alpha, (term,)), teacher="any")


def _reverse_kl(settings: ReverseKLSettings) -> Parts:
    loss = partial(ReverseKLLoss, temperature=settings.temperature)
    return _parts(settings.alpha, Term("reverse_kl", settings.alpha, loss))


def _jsd(settings: JSDSettings) -> Parts:
    loss = partial(JSDLoss, temperature=settings.temperature, beta=settings.beta)
    return _parts(settings.alpha, Term("jsd", settings.alpha, loss))


def _logit_mse(settings: LogitMSESettings) -> Parts:
    return _parts(settings.alpha, Term("logit_mse", settings.alpha, LogitMSELoss))


_GKD = (
    "Agarwal et al., On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes, ICLR 2024,"
    " arXiv 2306.13649"
)
_OURS = "The settings are those of kd (a = .9, T = 4), and the factor T^2; the papers distill language models at T = 1."
_REACH = "The teacher's logits count as at most 90 below the largest of their row, where targets drop classes."
ENTRIES = (
    Entry(
        "reverse_kl",
        ReverseKLSettings,
        _reverse_kl,
        Card(
            summary="Match the teacher where the student puts its probability (mode-seeking).",
            citation=(
                "Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024, arXiv 2306.08543;"
                f" {_GKD}"
            ),
            equation="L = (1 - a) CE + a T^2 KL(softmax(z^s / T) || softmax(z^t / T)), mean over rows",
            ours=(_OURS, _REACH),
        ),
    ),
    Entry(
        "jsd",
        JSDSettings,
        _jsd,
        Card(
            summary="Match the teacher by the generalized Jensen-Shannon divergence, between forward and reverse KL.",
            citation=_GKD,
            equation=(
                "L = (1 - a) CE + a T^2 (b KL(p^t || m) + (1 - b) KL(p^s || m)), m = b p^t + (1 - b) p^s,"
                " p = softmax(z / T)"
            ),
            differences=(
                "Near equal distributions it is b (1 - b) of the KL: at b = .5 a quarter of kd at the same settings.",
                "GKD also trains on what the student itself generates; this is its loss alone.",
            ),
            ours=(_OURS,),
        ),
    ),
    Entry(
        "logit_mse",
        LogitMSESettings,
        _logit_mse,
        Card(
            summary="Match the logits themselves by their squared error.",
            citation=(
                "Ba, Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014, arXiv 1312.6184; Kim et al.,"
                " Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation,"
                " IJCAI 2021, arXiv 2105.08919"
            ),
            equation="L = (1 - a) CE + a mean((z^s - z^t)^2), mean over rows and classes",
            ours=(
                "a = .9, as in kd.",
                "A row whose root mean squared error r is above 24 has the loss 48 r - 576 (Huber), so that a certain"
                " teacher's gradient is bounded.",
                _REACH,
            ),
        ),
    ),
)
