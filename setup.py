"""Metadata, dependencies and console scripts of selfsup-tf."""

import pathlib

import setuptools

HUB = "keras-hub<1"
# The oldest that is tested: several runs of one process, each with a resumable id.
WANDB = "wandb>=0.31,<1"
SERVING = "tensorflow-serving-api>=2.21,<2.22"  # the protos of warm-up requests
HEIC = "pillow-heif<2"  # what Pillow reads HEIC with
ONNX = ["onnx<2", "tf2onnx>=1.17,<2", "onnxruntime<2"]
# A yardstick of the tests, where it has wheels (docs/addons.md). Its typeguard<3 goes
# with tyro up to 0.9.1 alone, and `dev` takes the newest: the Makefile puts it into a
# folder of its own.
ADDONS = [
    f"{name}; python_version < '3.12' and platform_machine != 'aarch64'"
    for name in ("tensorflow-addons>=0.23,<0.24", "tf-keras>=2.21,<2.22")
]
DOCS = [
    *("mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1,<2"),
    "ruff",  # lays out the signatures that are shown
]
TIFF = ["tifffile", "imagecodecs"]  # of other than three channels, compressed ones too
NOTEBOOKS = ["nbclient<1", "nbformat<6", "ipykernel<8"]  # the tests run them
HERE = pathlib.Path(__file__).parent

# Upper bounds stand where a major version may break what is called; pillow, pyarrow and
# flatbuffers number their versions by the calendar. constraints.txt is the tested set.
setuptools.setup(
    name="selfsup-tf",
    version="0.1.0",
    description="Learn an image encoder from unlabelled images with TensorFlow: "
    "SimCLR, BYOL and more, evaluated honestly, exported as SavedModel and TFLite.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    # Every method is a package NAME_tf; a new one is found without a change here.
    packages=setuptools.find_packages(include=["*_tf", "*_tf.*"]),
    package_data={
        "": ["README.md", "*.jinja", "*.config", "templates/*", "curves/*.json"]
    },
    install_requires=[
        "tensorflow>=2.21,<2.22",
        # Before 3.13.2 a .keras file could read any file of the user (HDF5's external
        # storage); before 3.14 BatchNorms of nested networks stayed unsynchronised.
        "keras>=3.14,<4",
        "tensorflow-datasets>=4.9.7,<5",
        "importlib_resources",
        "numpy<3",
        "tyro>=0.9,<2",
        "tensorboard<3",
        "scikit-learn<2",
        "scipy<2",
        "threadpoolctl<4",
        "matplotlib<4",
        "jinja2<4",
        "tqdm<5",
        "pillow",
        "pyarrow",
        "ai-edge-litert<3",
        "flatbuffers",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "onnx": ONNX,
        "serving": [SERVING],
        "wandb": [WANDB],
        "hub": [HUB],
        "heic": [HEIC],
        "tiff": TIFF,
        "addons": ADDONS,
        "docs": DOCS,
        "dev": [
            *(
                "pytest",
                "pytest-xdist",
                "ruff",
                "import-linter",
                "grimp",
                "build",
                "selenium",
            ),
            *(HUB, WANDB, SERVING, HEIC, *TIFF, *ONNX, *DOCS, *NOTEBOOKS),
        ],
    },
    entry_points={
        "console_scripts": [
            "selfsup-train=selfsup_tf.cli:train",
            "selfsup-eval=selfsup_tf.cli:evaluate",
            "selfsup-export=selfsup_tf.cli:export",
        ]
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
