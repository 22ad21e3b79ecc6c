"""A small data set of images with boxes, to be written as files of several layouts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")
SIZE = (20, 30)


class Drawn(NamedTuple):
    """The images of a split and their boxes: (class, left, upper, right, lower edge)."""

    images: dict[str, list[tuple]]

    def write(self, folder: Path, size=SIZE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(self.images):
            pixels = np.random.default_rng(number).integers(256, size=(*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}.png")

    def coco(self, numbers=(7, 3), **changes) -> dict:
        """COCO's annotations; the class names have these numbers."""
        ids = dict(zip(CLASSES, numbers, strict=True))
        images = [
            {"id": 100 + n, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]}
            for n, name in enumerate(self.images)
        ]
        boxes = [(100 + n, *box) for n, rows in enumerate(self.images.values()) for box in rows]
        annotations = [
            {"id": n, "image_id": image, "category_id": ids[name], "bbox": [x, y, r - x, b - y], "iscrowd": 0}
            for n, (image, name, x, y, r, b) in enumerate(boxes)
        ]
        categories = [{"id": number, "name": name} for name, number in ids.items()]
        return {"images": images, "annotations": annotations, "categories": categories, **changes}

    def voc(self, root: Path, split: str) -> None:
        self.write(root / "JPEGImages")
        for part in ("Annotations", "ImageSets/Main"):
            (root / part).mkdir(parents=True, exist_ok=True)
        for name, rows in self.images.items():
            (root / "Annotations" / f"{name}.xml").write_text(xml(rows))
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(self.images) + "\n")


def xml(rows, size=SIZE, **more) -> str:
    """VOC's annotations of an image: the first pixel is 1."""
    things = "".join(
        f"<object><name>{name}</name>{''.join(f'<{k}>{v}</{k}>' for k, v in more.items())}<bndbox>"
        f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{r}</xmax><ymax>{b}</ymax></bndbox></object>"
        for name, x, y, r, b in rows
    )
    return f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{things}</annotation>"


SPLITS = {
    "train": Drawn({"a": [("dog", 1, 2, 11, 12), ("cat", 0, 0, 30, 20)], "b": [("dog", 5, 5, 9, 15)], "c": []}),
    "test": Drawn({"d": [("cat", 3, 4, 8, 9)]}),
}
