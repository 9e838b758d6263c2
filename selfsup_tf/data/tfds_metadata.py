"""What TensorFlow Datasets wants to know of prepared images, to read them by itself."""

import pathlib
from collections.abc import Mapping
from typing import Any

from selfsup_tf.data.prepared import IMAGES_PER_FILE, Split


def write_metadata(
    output: pathlib.Path, plan: Mapping[str, Any], splits: Mapping[str, Split]
) -> None:
    """Writes features.json, dataset_info.json and the names of the classes.

    Args:
        output: Where the images are.
        plan: Of `prepare`: channels, encoding and class_names are used.
        splits: What has been written, by split.
    """
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(
            shape=(None, None, plan["channels"]), encoding_format=plan["encoding"]
        ),
        "path": tfds.features.Text(),
    }
    if plan["class_names"] is not None:
        features["label"] = tfds.features.ClassLabel(names=plan["class_names"])
    infos = []
    for name, table in splits.items():
        template = tfds.core.ShardedFileTemplate(
            dataset_name="images",
            data_dir=output,
            split=name,
            filetype_suffix="tfrecord",
        )
        counts = [
            min(IMAGES_PER_FILE, len(table) - start)
            for start in range(0, len(table), IMAGES_PER_FILE)
        ]
        infos.append(
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=counts,
                num_bytes=int(table.length.sum()),
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=output,
        features=tfds.features.FeaturesDict(features),
        split_infos=infos,
        description="Images that selfsup-tf has prepared.",
        check_data=False,
    )
