"""Views of images with boxes: both stay together, and a view is a function of seed, epoch and sample."""

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

from limbeck.data import Augment, load
from limbeck.data.boxes.augment import BoxAugment, cut_view, mirrored
from limbeck.data.boxes.data import BoxData
from limbeck.data.boxes.splits import BoxSet
from limbeck.data.masks.augment import MaskAugment, Window
from limbeck.errors import UserError

SIZES = [(24, 32), (32, 24), (40, 40), (24, 32), (16, 50), (24, 32), (30, 30)]


def sample(number, size):
    """White rectangles of whole pixels on black; their boxes are found in the image again."""
    generator = torch.Generator().manual_seed(number)
    image = torch.zeros(3, *size, dtype=torch.uint8)
    edges = torch.randint(2, 8, (number % 3, 4), generator=generator)
    # One in the left upper quarter, and one in the right lower one.
    shift = torch.tensor([[0, 0], [size[1] // 2, size[0] // 2]])[: len(edges)]
    boxes = torch.cat((edges[:, :2] + shift, edges[:, :2] + edges[:, 2:] + shift), dim=1).float()
    boxes = torch.minimum(boxes, torch.tensor([size[1], size[0]] * 2))
    for left, top, right, bottom in boxes.int().tolist():
        image[:, top:bottom, left:right] = 255
    crowd = torch.arange(len(boxes)) == 1
    return image, {"boxes": boxes, "labels": torch.arange(1, len(boxes) + 1), "crowd": crowd}


@pytest.fixture(scope="module")
def data():
    split = BoxSet(*zip(*(sample(n, size) for n, size in enumerate(SIZES)), strict=True))
    return BoxData("rectangles", ("left", "right"), split, None, split)


def views(data, augment, epoch=0, **options):
    """Image and ground truth of each sample, in the split's order."""
    options = {"batch_size": 3, "seed": 3, **options}
    batches = list(data.batches(data.train, augment=augment, **options).epoch(epoch))
    found = {}
    for batch in batches:
        for row in zip(batch.inputs["images"], batch.targets, batch.indices.tolist(), strict=True):
            found[row[2]] = row[:2]
    assert [len(batch.targets) for batch in batches] == [batch.size for batch in batches]
    return [found[n] for n in range(len(data.train))]


def same(one, other):
    return all(
        torch.equal(a[0], b[0]) and a[1].keys() == b[1].keys() and all(torch.equal(a[1][k], b[1][k]) for k in a[1])
        for a, b in zip(one, other, strict=True)
    )


AUGMENTS = [
    BoxAugment(),
    BoxAugment(flip=True),
    BoxAugment(flip=True, zoom=(0.5, 2.0)),
    BoxAugment(window=(16, 20)),
    BoxAugment(zoom=(1.0, 3.0), window=(48, 48), visible=0.0),
]


def test_images_are_numbers_from_0_to_1_in_their_own_sizes(data):
    for (image, target), size in zip(views(data, None), SIZES, strict=True):
        assert image.dtype == torch.float32
        assert tuple(image.shape[1:]) == size
        assert set(image.unique().tolist()) <= {0.0, 1.0}
        assert (target["boxes"].dtype, target["labels"].dtype, target["crowd"].dtype) == (
            torch.float32,
            torch.int64,
            torch.bool,
        )
        assert target["boxes"].shape == (len(target["labels"]), 4)


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_view_is_a_function_of_seed_epoch_and_sample(augment, data):
    first = views(data, augment)
    for options in ({"batch_size": 7}, {"shuffle": True}, {"batch_size": 1, "shuffle": True}):
        assert same(first, views(data, augment, **options))
    if augment.views != 1:
        assert not same(first, views(data, augment, epoch=1))
        assert not same(first, views(data, augment, seed=4))


def test_two_workers_give_the_same_batches_as_none(data):
    augment = BoxAugment(flip=True, zoom=(0.5, 2.0))
    assert same(views(data, augment), views(data, augment, workers=2))
    with data.batches(data.train, batch_size=2, augment=augment, seed=3, shuffle=True, workers=2) as kept:
        for epoch in (0, 1):
            alone = data.batches(data.train, batch_size=2, augment=augment, seed=3, shuffle=True).epoch(epoch)
            for one, other in zip(kept.epoch(epoch), alone, strict=True):
                assert torch.equal(one.indices, other.indices)
                pairs = zip(one.inputs["images"], other.inputs["images"], strict=True)
                assert all(torch.equal(image, again) for image, again in pairs)


@pytest.mark.parametrize("augment", [BoxAugment(flip=True), BoxAugment(flip=True, zoom=(0.5, 2.0), visible=0.0)])
@pytest.mark.parametrize("epoch", range(6))
def test_boxes_stay_on_what_they_surround(augment, epoch, data):
    for image, target in views(data, augment, epoch=epoch):
        # The border has the mean color, and resized edges lie between black and white.
        white = (image > 0.6).all(dim=0)
        covered = torch.zeros_like(white)
        for left, top, right, bottom in target["boxes"].tolist():
            inner = white[int(top + 1.5) : int(bottom - 0.5), int(left + 1.5) : int(right - 0.5)]
            assert inner.all()
            covered[max(int(top) - 1, 0) : int(bottom + 2), max(int(left) - 1, 0) : int(right + 2)] = True
        assert not (white & ~covered).any()


@pytest.mark.parametrize("zoom", [0.5, 1.0, 1.7])
def test_a_cut_is_what_torchvision_makes_of_image_and_boxes(zoom, data):
    image, target = data.train.images[2], data.train.targets[2]
    size = (40, 40)
    enlarged = [round(zoom * side) for side in size]
    top, left = (round((side - 40) * 0.6) for side in enlarged)
    place = Window(*(torch.tensor(value, dtype=torch.float64) for value in (top, left, zoom, 0)))
    cut, truth = cut_view(image, target, place, size, visible=0.0)
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=size)
    expected = tvf.crop(tvf.resize(tv_tensors.Image(image), enlarged, antialias=True), top, left, *size)
    moved = tvf.crop(tvf.resize(boxes, enlarged), top, left, *size)
    stays = ((moved[:, 2:] - moved[:, :2]) > 0).all(dim=1)
    torch.testing.assert_close(truth["boxes"], moved[stays].as_subclass(torch.Tensor))
    assert truth["labels"].tolist() == target["labels"][stays].tolist()
    inside = (cut.view(3, -1) != torch.tensor([124, 116, 104]).view(3, 1)).any(dim=0).view(size)
    assert torch.equal(cut[:, inside], expected.as_subclass(torch.Tensor)[:, inside])


def test_mirrored_is_what_torchvision_makes(data):
    image, target = data.train.images[2], data.train.targets[2]
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=(40, 40))
    flipped, truth = mirrored(image, target)
    assert torch.equal(truth["boxes"], tvf.horizontal_flip(boxes).as_subclass(torch.Tensor))
    assert torch.equal(flipped, tvf.horizontal_flip(image))


def test_a_box_of_which_little_is_visible_is_left_out():
    target = {
        "boxes": torch.tensor([[0.0, 0.0, 10.0, 4.0], [4.0, 0.0, 14.0, 4.0], [12.0, 0.0, 16.0, 4.0]]),
        "labels": torch.tensor([1, 2, 3]),
        "crowd": torch.tensor([False, True, True]),
    }
    # Of the boxes 2, 6 and 4 of 10, 10 and 4 columns lie within.
    place = Window(*(torch.tensor(value, dtype=torch.float64) for value in (0, 8, 1, 0)))
    image = torch.zeros(3, 8, 20, dtype=torch.uint8)
    for visible, labels in ((0.0, [1, 2, 3]), (0.2, [1, 2, 3]), (0.25, [2, 3]), (0.61, [3]), (1.0, [3])):
        truth = cut_view(image, target, place, (8, 12), visible=visible)[1]
        assert truth["labels"].tolist() == labels
    assert truth["boxes"].tolist() == [[4.0, 0.0, 8.0, 4.0]]
    assert truth["crowd"].tolist() == [True]
    nothing = cut_view(image, target, place._replace(left=torch.tensor(17.0)), (8, 3), visible=0.25)[1]
    assert nothing["boxes"].shape == (0, 4)


def test_a_thin_part_of_a_box_is_left_out_at_any_share():
    target = {"boxes": torch.tensor([[0.0, 2.0, 10.001, 6.0]]), "labels": torch.tensor([1])}
    place = Window(*(torch.tensor(value, dtype=torch.float64) for value in (0, 10, 1, 0)))
    _, seen = cut_view(torch.zeros(3, 20, 500, dtype=torch.uint8), target, place, (20, 400), visible=0.0)
    assert seen["boxes"].shape == (0, 4)


def test_all_samples_of_a_split_have_crowds_or_none():
    image, box = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    plain = {"boxes": box, "labels": torch.tensor([1])}
    with pytest.raises(UserError, match="targets: sample 1: has crowd, unlike sample 0, expected it in all or in none"):
        BoxSet([image] * 2, [plain, {**plain, "crowd": torch.tensor([True])}])


def test_numbered_views(data):
    augment = BoxAugment(flip=True)
    drawn = augment.draw(torch.arange(7), seed=3, epoch=0)
    batch = data.source(data.train, augment).numbered(torch.arange(7), drawn)
    assert 0 < drawn.sum() < 7
    assert same(views(data, augment), list(zip(batch.inputs["images"], batch.targets, strict=True)))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"zoom": (2.0, 1.0)}, r"augment.zoom: got \(2.0, 1.0\), expected two factors"),
        ({"window": (0, 4)}, r"augment.window: got \(0, 4\), expected height and width"),
        ({"visible": 1.5}, "augment.visible: got 1.5, expected a share from 0 to 1"),
    ],
)
def test_settings_out_of_range(settings, line):
    with pytest.raises(UserError, match=line):
        BoxAugment(**settings)


def test_settings_of_other_images_serve_as_far_as_they_can(data):
    assert data.augment(Augment(flip=True)) == BoxAugment(flip=True)
    assert data.augment(MaskAugment(flip=True, zoom=(0.5, 2.0))) == BoxAugment(flip=True, zoom=(0.5, 2.0))
    with pytest.raises(UserError, match="data.augment.crop: got 4, but images with boxes take of such settings flip"):
        data.augment(Augment(crop=4))
    with pytest.raises(UserError, match="data.augment.visible: got 0.5, but images take"):
        load("shapes", options={"train": 2, "test": 2}).augment(BoxAugment(visible=0.5))


def test_a_recipe_holds_the_settings():
    from limbeck.recipes.data_settings import DataSettings

    settings = DataSettings(name="boxes_sample", augment={"flip": True, "zoom": [0.5, 2.0], "visible": 0.5})
    assert settings.augment == BoxAugment(flip=True, zoom=(0.5, 2.0), visible=0.5)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"boxes": torch.zeros(2, 4, dtype=torch.float64)}, r"sample 1: got for boxes torch.float64 \(2, 4\)"),
        ({"boxes": torch.zeros(3, 4)}, r"got for boxes torch.float32 \(3, 4\), expected torch.float32 \(2, 4\)"),
        ({"labels": torch.tensor([0, 1])}, "has the label 0, expected 1 to the number of classes"),
        ({"labels": None}, "got for boxes"),
        ({"crowd": torch.tensor([1, 0])}, "got for crowd torch.int64"),
    ],
)
def test_a_split_checks_its_ground_truth(changes, line):
    good = {"boxes": torch.ones(2, 4), "labels": torch.tensor([1, 2])}
    images = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2
    assert BoxSet(images, [good, good]).labels.tolist() == [1, 1]
    with pytest.raises(UserError, match=line):
        BoxSet(images, [good, {**good, **changes}])
    with pytest.raises(UserError, match="targets: got 1, expected one for each of 2 images"):
        BoxSet(images, [good])
    with pytest.raises(UserError, match=r"images: got torch.uint8 \(1, 8, 8\) \(sample 0\)"):
        BoxSet([image[:1] for image in images], [good, good])


def test_fingerprints_differ_by_pixels_boxes_classes_and_order(data):
    split = data.train
    prints = {split.fingerprint()}
    for change in (
        lambda n, i, t: (i ^ (n == 3), t),
        lambda n, i, t: (i, {**t, "boxes": t["boxes"] + 1}),
        lambda n, i, t: (i, {**t, "labels": t["labels"] + 1}),
        lambda n, i, t: (i, {name: t[name] for name in ("boxes", "labels")}),
        lambda n, i, t: (i.view(3, i.shape[2], i.shape[1]), t),
    ):
        samples = [change(n, i, t) for n, (i, t) in enumerate(zip(split.images, split.targets, strict=True))]
        prints.add(BoxSet(*zip(*samples, strict=True)).fingerprint())
    prints.add(split.select(torch.tensor([1, 0, 2, 3, 4, 5, 6])).fingerprint())
    assert len(prints) == 7
    assert split.select(torch.arange(7)).fingerprint() in prints


def test_the_sample_is_drawn_alike_by_seed():
    options = {"train": 6, "test": 2, "side": 48}
    one, other = (load("boxes_sample", seed=seed, options=options) for seed in (0, 0))
    assert one.fingerprint == other.fingerprint != load("boxes_sample", seed=1, options=options).fingerprint
    assert one.form.endswith("48x48 rgb")
    for options in ({"train": 0}, {"side": 3}, {"noise": -1.0}):
        with pytest.raises(UserError, match=f"data.options.{next(iter(options))}"):
            load("boxes_sample", options=options)


def test_the_sample_has_boxes_of_every_class_within_its_images():
    data = load("boxes_sample", options={"train": 60, "test": 2, "noise": 0.0})
    labels = torch.cat([target["labels"] for target in data.train.targets])
    assert (labels.bincount(minlength=4)[1:] > 20).all()
    for target in data.train.targets:
        boxes = target["boxes"]
        assert ((boxes >= 0) & (boxes <= 96)).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 8).all()


def test_cuts_take_boxes_along():
    options = {"train": 40, "test": 10, "side": 48}
    data = load("boxes_sample", validation=0.25, train_limit=20, test_limit=5, options=options)
    assert (len(data.train), len(data.test)) == (20, 5)
    assert 8 <= len(data.validation) <= 12
    assert len(data.train.targets) == 20


def test_settings_of_image_folders_are_refused(data):
    from limbeck.build.data import load_data
    from limbeck.build.pixels import with_store
    from limbeck.recipes.data_settings import DataSettings

    settings = {"name": "boxes_sample", "options": {"train": 2, "test": 2}}
    with pytest.raises(UserError, match="data.store: got 'disk', but rectangles is no image folder"):
        with_store(data, DataSettings(**settings, store="disk"), None)
    with pytest.raises(UserError, match="data.normalize: got one, but images of boxes_sample are not normalized"):
        load_data(DataSettings(**settings, normalize={"mean": [0.5] * 3, "std": [0.5] * 3}))
    with pytest.raises(UserError, match="data.unlabeled: got .*, but boxes_sample has images with .* boxes"):
        load_data(DataSettings(**settings, unlabeled="somewhere"))
