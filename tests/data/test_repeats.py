"""Captions that stand with more than one image are counted, by their words or by their embeddings."""

import numpy as np

from harness.data.base import Index
from harness.data.repeats import repeated_captions

CAPTIONS = ["a cat", "a dog", "A cat ", "a cat", "a bird", "a bird"]
# Images 0..3; captions 0 and 2 are of image 0 and 1, 3 of image 2 (another split); both "a bird" are of image 3.
INDEX = Index(
    n_images=4,
    caption_image=np.array([0, 0, 1, 2, 3, 3]),
    splits={"train": np.array([2]), "test": np.array([0, 1, 3])},
)


def test_only_other_images_of_the_same_split_count() -> None:
    words = lambda rows: [CAPTIONS[row].strip().lower() for row in rows]  # noqa: E731
    assert repeated_captions(INDEX, "test", words) == 2, "twice a cat; a bird is of one image"
    assert repeated_captions(INDEX, "train", words) == 0


def test_the_manifest_counts_written_captions(temp_project) -> None:
    from PIL import Image

    (temp_project.folder / "pictures").mkdir()
    rows = ["image,caption"]
    for n in range(40):
        Image.new("RGB", (8, 8), (6 * n, 0, 0)).save(temp_project.folder / "pictures" / f"{n}.png")
        rows.append(f"pictures/{n}.png,{'the same thing' if n % 2 else f'thing {n}'}")
    temp_project.write("captions.csv", "\n".join(rows))
    temp_project.write(
        "own.yaml",
        """
        name: own
        data: {kind: manifest, file: captions.csv, split: {train: 0.4, validation: 0.2, test: 0.4, seed: 0}}
        image_encoders: ["packaged:pixels16"]
        text_encoders: ["synthetic:text8"]
        methods: {ape: {epochs: 1, batch_size: 4}}
        storage: runs
        """,
    )
    from harness.run.manifest import make_manifest

    plan = temp_project.plan("own.yaml")
    index = plan.resolved.index
    same = [n for n in index.splits["test"] if n % 2]
    assert make_manifest(plan).repeated_captions == len(same) > 1


def test_embeddings_stand_in_for_words_that_are_not_there(world) -> None:
    from harness.data.bank import Bank
    from harness.data.repeats import embedded
    from harness.run.manifest import make_manifest

    plan = world.plan()
    assert make_manifest(plan).repeated_captions == 0, "nothing is embedded yet"
    plan.resolved.extraction.missing(list(plan.resolved.banks.values()))
    request = plan.resolved.bank(plan.resolved.dataset, "text", "text00")
    identity = embedded(Bank(request.path))
    rows = plan.resolved.index.paired("test")[1].tolist()
    assert len(set(identity(rows))) == len(rows)
    doubled = identity([rows[0], rows[0]])
    assert doubled[0] == doubled[1]
    assert make_manifest(plan).repeated_captions == 0
