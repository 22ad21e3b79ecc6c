"""The regimes and rows of every claim, by budget."""

from dataclasses import replace

from claims_networks import HALF, SETTINGS, TEACHERS
from claims_plan import Budget, Claim, Method, Regime, Setting, Teacher
from claims_sets import Images

NONE, SMOOTHED = Method("none", "none"), Method("label_smoothing", "label_smoothing")


def kd(alpha: float, temperature: float = 4, tier: int = 0) -> Method:
    """Return KD with a weight and a temperature."""
    settings = {"alpha": alpha, "temperature": temperature}
    return Method(f"kd({alpha:g}, T{temperature:g})", "kd", settings, tier=tier)


KD_ALPHAS = (kd(0.9), kd(0.5), kd(0.2))
ORACLE = {"scorer": "agreement", "per_class": False, "ratio": "right"}
T4, TAMED = {"temperature": 4}, {"max_confidence": "auto"}
UNRELIABLE = (
    NONE,
    *KD_ALPHAS,
    Method("lr", "lr"),
    Method("lr_ds", "lr_ds"),
    Method("lr_ds, tamed", "lr_ds", TAMED, tier=1),
    Method("lr_ds(T4)", "lr_ds", T4, tier=1),
    Method("lr_ds(T4), tamed", "lr_ds", {**T4, **TAMED}, tier=1),
    Method("lr_ds(T4), tamed, by row", "lr_ds", {**T4, **TAMED, "by_row": True}, tier=2),
    Method("lr_ds(T4), tamed, by row, shuffled", "lr_ds", {**T4, **TAMED, "by_row": True, "shuffled": True}, tier=2),
    Method("lr_ds@influence", "lr_ds", {"scorer": "influence"}),
    Method("lr_ds@random", "lr_ds", {"scorer": "random"}),
    # Beside kd(0.5) it differs in the revision alone; lr is twice its loss.
    Method("revise+kd(0.5)", "revise+kd", {"alpha": 0.5}, tier=2),
    Method("lr_ds@oracle", "lr_ds", ORACLE, tier=2),
    Method("lr_ds@oracle, shuffled", "lr_ds", {**ORACLE, "shuffled": True}, tier=2),
    Method("label_smoothing", "label_smoothing", tier=2),
    Method("tame(0.6)+kd(0.5)", "tame+kd", {"alpha": 0.5, "max_confidence": 0.6}, tier=2),
    Method("tame(0.6)+lr", "tame+lr", {"max_confidence": 0.6}, tier=2),
    Method("kd, weight auto", "weigh+kd"),
    Method("kd, weight auto, tamed", "tame+weigh+kd", tier=1),
    Method("kd(T4), weight auto", "weigh+kd", T4, tier=1),
    Method("kd(T4), weight auto, tamed", "tame+weigh+kd", T4, tier=1),
    Method("kd(T4), weight by row", "weigh+kd", {**T4, "by_row": True}, tier=2),
    Method("kd(T4), weight by row, shuffled", "weigh+kd", {**T4, "by_row": True, "shuffled": True}, tier=2),
    # Without revision nothing repairs the rows that the teacher has wrong.
    Method("select+kd(0.5), right rows", "select+kd", {"alpha": 0.5, **ORACLE}, tier=2),
    Method("select+kd(0.5), right rows, shuffled", "select+kd", {"alpha": 0.5, **ORACLE, "shuffled": True}, tier=2),
)
LETTERS = {
    "others": "others",
    "wrong20": "20 % wrong labels",
    "wrong40": "40 % wrong labels",
    "wrong60": "60 % wrong labels",
    "permuted": "three classes permuted",
    "right": "right labels",
}
BANKING = {
    "others": "others",
    "wrong40": "40 % wrong labels",
    "permuted": "30 classes permuted",
    "right": "right labels",
}
B = Claim(
    letter="b",
    title="LR+DS with unreliable teachers",
    text="Revision and selection help where the teacher is wrong, and cost nothing where it is right.",
    regimes=(
        Regime("fashion, others", "fashion_few", "others"),
        Regime("fashion, 20 % wrong labels", "fashion_few", "wrong20"),
        Regime("fashion, 40 % wrong labels", "fashion_few", "wrong40"),
        Regime("fashion, 60 % wrong labels", "fashion_few", "wrong60"),
        Regime("fashion, three classes permuted", "fashion_few", "permuted"),
        Regime("fashion, right labels", "fashion_few", "right", expected=False),
        Regime("fashion, perfect on its images", "fashion_few", "perfect", expected=False, tier=1),
        Regime("cifar100, unseen", "cifar100_unseen", "micronet", tier=3),
        Regime("cifar100, 30 classes permuted", "cifar100_unseen", "micronet_permuted", tier=3),
        Regime("cifar100, seen", "cifar100_few", "micronet", expected=False, tier=3),
        *(
            Regime(f"letters, {about}", "letters_few", f"letters_{name}", expected=name != "right", tier=1)
            for name, about in LETTERS.items()
        ),
        *(
            Regime(f"banking, {about}", "banking_few", f"banking_{name}", expected=name != "right", tier=1)
            for name, about in BANKING.items()
        ),
        Regime("banking, MiniLM", "banking_minilm", "minilm", tier=3),
        Regime("imagenette, ImageNet's teacher", "imagenette_few", "imagenet", tier=3),
        Regime("imagenette, three classes permuted", "imagenette_few", "imagenet_permuted", tier=3),
        Regime("imagenette, twice the images", "imagenette_more", "imagenet", tier=4),
    ),
    methods=UNRELIABLE,
    questions=(
        ("lr", "none"),
        ("lr", "kd, best weight"),
        ("revise+kd(0.5)", "kd(0.5, T4)"),
        ("lr_ds", "none"),
        ("lr_ds", "lr"),
        ("lr_ds", "kd, best weight"),
        ("lr_ds", "lr_ds@random"),
        ("lr_ds", "lr_ds, tamed"),
        ("lr_ds", "lr_ds(T4)"),
        ("lr_ds", "lr_ds(T4), tamed"),
        ("lr_ds(T4), tamed, by row", "lr_ds(T4), tamed, by row, shuffled"),
        ("lr_ds@influence", "lr_ds@random"),
        ("lr_ds@oracle", "lr_ds@oracle, shuffled"),
        ("kd, weight auto", "none"),
        ("kd, weight auto", "kd, best weight"),
        ("kd, weight auto", "kd, weight auto, tamed"),
        ("kd, weight auto", "kd(T4), weight auto"),
        ("kd(T4), weight auto", "none"),
        ("kd(T4), weight by row", "kd(T4), weight by row, shuffled"),
        ("select+kd(0.5), right rows", "select+kd(0.5), right rows, shuffled"),
        ("tame(0.6)+lr", "lr"),
    ),
    choices={
        "kd, best weight": [method.label for method in KD_ALPHAS],
    },
)
F = Claim(
    letter="f",
    title="LR+DS with other students, learning rates and lengths",
    text="What holds for one student, rate and length holds for others.",
    regimes=(
        *(
            Regime(f"fashion, {name}, {about}", setting, name, tier=4)
            for setting, about in (
                ("fashion_small", "small student"),
                ("fashion_gentle", "a fifth of the rate"),
                ("fashion_10", "10 epochs"),
                ("fashion_120", "120 epochs"),
            )
            for name in ("others", "wrong40", "permuted")
        ),
        *(
            Regime(f"letters, {name}, {about}", setting, f"letters_{name}", expected=name != "right", tier=4)
            for setting, about in (
                ("letters_small", "small student"),
                ("letters_large", "large student"),
                ("letters_gentle", "a fifth of the rate"),
                ("letters_10", "10 epochs"),
                ("letters_120", "120 epochs"),
            )
            for name in ("others", "wrong40", "permuted", "right")
        ),
        Regime("imagenette, ImageNet's teacher, a fifth of the rate", "imagenette_gentle", "imagenet", tier=4),
    ),
    methods=tuple(
        replace(method, tier=0)
        for method in UNRELIABLE
        if not method.label.startswith(("label_smoothing", "lr_ds@oracle"))
    ),
    questions=tuple(pair for pair in B.questions if not pair[0].startswith("lr_ds@oracle")),
    choices=B.choices,
)
# The released settings for ResNet-18, with the KL summed over classes.
PAPER = {"alpha": 0.95, "temperature": 6}
C = Claim(
    letter="c",
    title="DR-KD and Tf-KD beside a second training",
    text="A student gains from a first training of itself, and more where that is rectified.",
    regimes=(
        Regime("fashion, data-limited", "fashion_few"),
        Regime("fashion, not data-limited", "fashion_many", expected=False),
        Regime("letters, data-limited", "letters_few"),
        Regime("banking, data-limited", "banking_few"),
        Regime("cifar100, data-limited", "cifar100_few", tier=3),
        Regime("imagenette, data-limited", "imagenette_few", tier=4),
    ),
    methods=(
        NONE,
        SMOOTHED,
        # A first training costs as much as a second one: the control spends both on one student.
        Method("none, twice as long", "none", longer=2),
        Method("tf_kd_self", "tf_kd_self"),
        Method("dr_kd", "dr_kd"),
        Method("tf_kd_self(0.95, T6)", "tf_kd_self", PAPER),
        Method("dr_kd(0.95, T6)", "dr_kd", PAPER),
    ),
    questions=(
        ("dr_kd", "none"),
        ("dr_kd", "tf_kd_self"),
        ("dr_kd", "label_smoothing"),
        ("dr_kd", "none, twice as long"),
        ("dr_kd(0.95, T6)", "none"),
        ("dr_kd(0.95, T6)", "tf_kd_self(0.95, T6)"),
    ),
)
D = Claim(
    letter="d",
    title="LW-KD beside smoothed labels",
    text="A tiny teacher whose targets vary by instance is worth more than the same target for a whole class.",
    regimes=(
        Regime("fashion, data-limited", "fashion_few"),
        Regime("fashion, not data-limited", "fashion_many", expected=False),
        Regime("letters, data-limited", "letters_few"),
        Regime("banking, data-limited", "banking_few"),
        Regime("sst2, data-limited", "sst2_few"),
        Regime("cifar100, data-limited", "cifar100_few", tier=1),
        Regime("imagenette, data-limited", "imagenette_few", tier=3),
    ),
    methods=(
        NONE,
        SMOOTHED,
        Method("tf_kd_reg", "tf_kd_reg"),
        Method("lw_kd", "lw_kd"),
        Method("lw_kd, class means", "lw_kd", teacher={"lightweight": {"class_mean": True}}),
        Method("lw_kd, not adversarial", "lw_kd", {"adversarial_weight": 0}, tier=1),
    ),
    questions=(
        ("lw_kd", "none"),
        ("lw_kd", "label_smoothing"),
        ("lw_kd", "lw_kd, class means"),
        ("lw_kd", "tf_kd_reg"),
        ("lw_kd", "lw_kd, not adversarial"),
    ),
)
# Beside standardized logits the released code multiplies DKD's weights, and softens less.
LSKD_DKD = {"dkd": {"temperature": 2, "alpha": 9, "beta": 72, "warmup": 3}}
KD_GRID = (kd(0.9), kd(0.5), kd(0.9, 8), kd(0.9, 2))
SIZES = ("size1", "size2", "size3", "size4")
A = Claim(
    letter="a",
    title="DIST as the teacher grows",
    text="DIST gains over KD at its best weight and temperature, the more the stronger the teacher.",
    regimes=tuple(
        Regime(f"fashion, {epochs} epochs, {size}", f"fashion_{epochs}", size, expected=size in SIZES[2:])
        for epochs in (10, 40)
        for size in SIZES
    ),
    methods=(NONE, *KD_GRID, Method("dist", "dist"), Method("dist(T1)", "dist", {"temperature": 1}, tier=1)),
    questions=(("dist", "none"), ("dist", "kd, best"), ("dist", "kd(0.9, T4)"), ("dist", "dist(T1)")),
    choices={"kd, best": [method.label for method in KD_GRID]},
)
E = Claim(
    letter="e",
    title="Targets in front of losses",
    text="A composition is worth more than either of its parts.",
    regimes=(
        Regime("fashion, right labels", "fashion_few", "right"),
        Regime("fashion, 40 % wrong labels", "fashion_few", "wrong40"),
        Regime("fashion, others", "fashion_few", "others"),
        Regime("imagenette, ImageNet's teacher", "imagenette_few", "imagenet", tier=3),
        Regime("letters, right labels", "letters_few", "letters_right", tier=1),
        Regime("letters, 40 % wrong labels", "letters_few", "letters_wrong40", tier=1),
        Regime("letters, others", "letters_few", "letters_others", tier=1),
        Regime("banking, right labels", "banking_few", "banking_right", tier=1),
        Regime("banking, 40 % wrong labels", "banking_few", "banking_wrong40", tier=1),
    ),
    methods=(
        NONE,
        kd(0.9),
        Method("lr", "lr"),
        Method("dist", "dist"),
        Method("lr+dist", "lr+dist"),
        Method("dkd", "dkd"),
        Method("revise+dkd", "revise+dkd"),
        Method("lskd+kd", "lskd+kd"),
        Method("lskd+dist", "lskd+dist"),
        # A measured weight, for losses that are heavy beside the labels.
        Method("dist, weight auto", "weigh+dist", tier=1),
        Method("dist, weight auto, tamed", "tame+weigh+dist", tier=1),
        Method("dkd, weight auto", "weigh+dkd", tier=1),
        Method("dkd, weight auto, tamed", "tame+weigh+dkd", tier=1),
        Method("lr+dist, weight auto", "weigh+lr+dist", tier=1),
        Method("lr+dist, weight auto, tamed", "tame+weigh+lr+dist", tier=1),
        Method("dr_kd", "dr_kd"),
        Method("dist, self", "dist", teacher={"source": "self"}),
        Method("dr_kd+dist", "dr_kd+dist"),
    ),
    questions=(
        ("lr+dist", "dist"),
        ("lr+dist", "lr"),
        ("revise+dkd", "dkd"),
        ("lskd+dist", "dist"),
        ("lskd+dist", "lskd+kd"),
        ("dist, weight auto", "dist"),
        ("dist, weight auto", "dist, weight auto, tamed"),
        ("dist, weight auto", "none"),
        ("dkd, weight auto", "dkd"),
        ("dkd, weight auto", "dkd, weight auto, tamed"),
        ("dkd, weight auto", "none"),
        ("lr+dist, weight auto", "lr+dist"),
        ("lr+dist, weight auto", "none"),
        ("dr_kd+dist", "dist, self"),
        ("dr_kd+dist", "dr_kd"),
    ),
)
G = Claim(
    letter="g",
    title="Compositions with a strong teacher of 100 classes",
    text="With a real teacher that nobody here trained, a composition is ahead of KD, DIST and DKD.",
    regimes=(
        Regime("cifar100, 10 epochs", "cifar100_flip_10", "micronet"),
        Regime("cifar100, 30 epochs", "cifar100_flip", "micronet", tier=4),
    ),
    methods=(
        NONE,
        kd(0.9),
        # At T = 4 this teacher's mean largest probability is 3.4 %; divided by .42 it explains its labels best.
        Method("tame(tau 0.42)+kd(0.9, T4)", "tame+kd", {"alpha": 0.9, "tau": 0.42}),
        kd(0.9, 1),
        Method("dist", "dist"),
        Method("lr", "lr"),
        Method("lr_ds", "lr_ds"),
        Method("lr_ds(T4)", "lr_ds", T4),
        Method("lr_ds(T4), tamed", "lr_ds", {**T4, **TAMED}),
        Method("dkd", "dkd", {"warmup": 3}),
        Method("lr+dist", "lr+dist"),
        Method("lskd+dkd", "lskd+dkd", LSKD_DKD),
        Method("kd(T4), weight auto", "weigh+kd", T4, tier=1),
        Method("lr_ds+dist", "lr_ds+dist", tier=1),
        Method("lskd+dist", "lskd+dist", tier=1),
        Method("kd+dist", "kd+dist", tier=1),
    ),
    questions=(
        ("lr+dist", "kd(0.9, T4)"),
        ("lr+dist", "dist"),
        ("lr+dist", "dkd"),
        ("lskd+dkd", "dkd"),
        ("lr_ds+dist", "dist"),
        ("dist", "kd(0.9, T4)"),
        ("kd(T4), weight auto", "kd(0.9, T4)"),
        ("tame(tau 0.42)+kd(0.9, T4)", "kd(0.9, T4)"),
        ("lr_ds", "lr_ds(T4), tamed"),
        ("lr_ds(T4), tamed", "lr_ds(T4)"),
    ),
)
CPU = Budget(
    label="Fashion-MNIST and CIFAR-100, a few thousand images, one thread",
    claims=(B, C, D, A, E, F, G),
    settings=SETTINGS,
    teachers=TEACHERS,
    seeds=5,
)


def reduced(claim: Claim) -> Claim:
    """Return a claim in its first regime."""
    return replace(claim, regimes=claim.regimes[:1])


TINY = Images("sample", 400)
SMOKE = Budget(
    label="every row once on 400 images: tries the script, means nothing about accuracy",
    claims=tuple(map(reduced, CPU.claims)),
    settings={name: Setting(TINY, 1) for name in ("fashion_few", "fashion_10", "fashion_small", "cifar100_flip_10")},
    teachers={
        "others": Teacher(replace(TINY, others=True), "resnet8", HALF, 1, "trained on other images"),
        "size1": Teacher(TINY, "resnet8", HALF, 1, "trained on the student's images"),
        "right": Teacher(replace(TINY, circles=1), "resnet8", HALF, 1, "labels of three classes in a circle"),
        "micronet": Teacher(TINY, "resnet8", HALF, 1, "trained on the student's images"),
    },
    seeds=1,
    test_limit=100,
    lightweight={"per_class": 20, "epochs": 1},
)
BUDGETS = {"smoke": SMOKE, "cpu": CPU}
