"""Metadata, dependencies and console scripts of selfsup-tf."""

import pathlib

import setuptools

# Older ones, which Python 3.10 would get, are not tested; their tests skip.
HUB = "keras-hub; python_version >= '3.11'"
# The oldest that is tested: several runs of one process, each with a resumable id.
WANDB = "wandb>=0.31"
SERVING = "tensorflow-serving-api>=2.21,<2.22"  # the protos of warm-up requests
ONNX = ["onnx", "tf2onnx>=1.17", "onnxruntime"]
HERE = pathlib.Path(__file__).parent

setuptools.setup(
    name="selfsup-tf",
    version="0.1.0",
    description="Learn an image encoder from unlabelled images with TensorFlow: "
    "SimCLR and BYOL, evaluated honestly, exported as SavedModel and TFLite.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    # Every method is a package NAME_tf; a new one is found without a change here.
    packages=setuptools.find_packages(include=["*_tf", "*_tf.*"]),
    package_data={"": ["README.md", "*.jinja", "*.config", "templates/*"]},
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.12",
        "tensorflow-datasets>=4.9.7",
        "importlib_resources",
        "numpy",
        "tyro>=0.9",
        "tensorboard",
        "scikit-learn",
        "scipy",
        "threadpoolctl",
        "matplotlib",
        "jinja2",
        "tqdm",
        "pillow",
        "pyarrow",
        "ai-edge-litert",
        "flatbuffers",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "onnx": ONNX,
        "serving": [SERVING],
        "wandb": [WANDB],
        "hub": ["keras-hub"],
        "dev": [
            *("pytest", "pytest-xdist", "ruff", "import-linter", "build", "selenium"),
            *(HUB, WANDB, SERVING, *ONNX),
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
