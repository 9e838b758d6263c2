"""Makes docs/recipes.md from the recipes: their configs and their docstrings.

    python docs/generate_recipes.py > docs/recipes.md

No TensorFlow is imported. A test holds the document to what this prints.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable

from selfsup_tf.config import Config, StartedConfig, ViewConfig, make_plan
from selfsup_tf.methods import find_method, list_methods

KEYS = ("Reproduces", "Command", "Published", "Hardware", "Measured")
COLUMNS = (
    "recipe",
    "data",
    "views",
    "network",
    "batch",
    "epochs",
    "optimizer",
    "loss and heads",
    "published",
    "hardware there",
    "measured here",
    "source",
)
PREFACE = """\
# The recipes

Made by `python docs/generate_recipes.py > docs/recipes.md` from the recipes themselves:
change those, not this. Every constant stands in `recipes.py` of the method, with its
reason or its source beside it.

- **views**: crop law; size where it is its own; area where it is not .08 to 1; colour
  jitter as brightness (x multiplies, + adds), contrast, saturation, hue; blur and
  solarize as probabilities. What another view has otherwise follows.
- **optimizer**: the rate after the warm-up at this batch, how it follows from the rate
  for 256 images, epochs of warm-up, weight decay.
- **source**: where no project is named, files and issues are those of
  google-research/simclr for SimCLR, and of google-deepmind/deepmind-research, `byol/`,
  for BYOL.
- A number is only comparable where all of its row is.
- A run lies in `runs/METHOD-RECIPE` unless `--run_dir` names another place; the same
  command resumes it. A folder of photographs of your own has a place of its own:
  `--run_dir=runs/birds`.
"""


@dataclasses.dataclass(frozen=True)
class Card:
    """What a recipe's docstring says of it.

    Attributes:
        summary: Its first line.
        fields: The text behind each of KEYS, on one line.
    """

    summary: str
    fields: dict[str, str]


def read_card(recipe: Callable[..., Config]) -> Card:
    """Reads the docstring of a recipe.

    Raises:
        ValueError: It lacks a key, or has one twice or in another order.
    """
    summary, _, rest = (inspect.getdoc(recipe) or "").partition("\n")
    parts = re.split(rf"^({'|'.join(KEYS)}):", rest, flags=re.MULTILINE)
    found, texts = tuple(parts[1::2]), parts[2::2]
    fields = {k: " ".join(t.split()) for k, t in zip(found, texts, strict=True)}
    if found != KEYS or parts[0].strip() or not all(fields.values()):
        raise ValueError(
            f"{recipe.__module__}.{recipe.__name__}: expected below the summary the "
            f"keys {', '.join(KEYS)}; received {', '.join(found)}."
        )
    return Card(summary, fields)


def format_document() -> str:
    """The whole of docs/recipes.md."""
    return "\n".join([PREFACE, *map(_format_method, list_methods())])


def _format_method(name: str) -> str:
    package = find_method(name)
    title = package.title
    lines = [f"## {title}", "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
    commands = []
    for recipe_name, recipe in package.recipes.items():
        config, fields = recipe(), read_card(recipe).fields
        lines.append(
            _row(
                [
                    f"`{recipe_name}`",
                    _data(config),
                    _views(config),
                    _network(config),
                    f"{config.batch_size}",
                    f"{config.epochs:g}",
                    _optimizer(config),
                    _method_fields(config),
                    fields["Published"],
                    fields["Hardware"],
                    fields["Measured"],
                    fields["Reproduces"],
                ]
            )
        )
        commands.append(fields["Command"])
    return "\n".join([*lines, "", "```bash", *commands, "```", ""])


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _data(config: Config) -> str:
    name = config.data or "a folder"
    split = "" if config.split == "train" else f" `{config.split}`"
    return f"{name}{split}, {config.image_size} px"


def _views(config: Config) -> str:
    first = _view(config.views[0])
    text = ", ".join(part for part in first if part)
    for number, view in enumerate(config.views[1:], start=2):
        pairs = zip(first, _view(view), strict=True)
        changed = [new or f"not {old}" for old, new in pairs if old != new]
        if changed:
            text += f"; view {number}: {', '.join(changed)}"
    return text


def _view(view: ViewConfig) -> list[str]:
    sign = {"multiply": "x", "add": "+"}[view.brightness_mode]
    jitter = "no jitter"
    if view.jitter:
        jitter = f"jitter {view.brightness:g}{sign} {view.contrast:g} "
        jitter += f"{view.saturation:g} {view.hue:g}"
    rotation = f"rotation {view.rotation:g}" if view.rotation else ""
    plain = view.crop_area == ViewConfig().crop_area
    return [
        view.crop_law,
        f"{view.count} times" if view.count > 1 else "",
        f"{view.size} px" if view.size else "",
        "" if plain else "area {:g} to {:g}".format(*view.crop_area),
        jitter,
        f"blur {view.blur:g}",
        f"solarize {view.solarize:g}",
        rotation,
    ]


def _network(config: Config) -> str:
    if getattr(config, "pretrained", None) is not None:
        return "the pretrained run's"
    encoder = config.encoder
    parts = [encoder.name]
    if encoder.width != 1:
        parts.append(f"width {encoder.width:g}")
    if encoder.sk_ratio:
        parts.append(f"SK {encoder.sk_ratio:g}")
    if encoder.patch_size != 16:
        parts.append(f"patches of {encoder.patch_size}")
    if encoder.fixed_embedding:
        parts.append("fixed embedding")
    if encoder.stem != "imagenet":
        parts.append(f"stem {encoder.stem}")
    if not encoder.zero_init:
        parts.append("last gamma 1")
    return ", ".join(parts)


def _optimizer(config: Config) -> str:
    settings = config.optimizer
    # The rate does not depend on how many images there are, if they fill a batch.
    rate = make_plan(config, 100 * config.batch_size).learning_rate
    scale = {"linear": " x batch/256", "sqrt": " x sqrt(batch/256)", "none": ""}
    name = settings.name
    if name == "lars":
        name += f" {settings.lars_form}, trust {settings.trust_coefficient:g}"
        name += " clipped" if settings.trust_clip else ""
    text = (
        f"{name}; {rate:.3g} = {settings.learning_rate:g}{scale[settings.scaling]}, "
        f"warm-up {settings.warmup_epochs:g}, decay {settings.weight_decay:g}"
    )
    if settings.final_weight_decay is not None:
        text += f" to {settings.final_weight_decay:g}"
    if settings.clip_norm is not None:
        each = " each" if settings.clip_each else ""
        text += f", gradients{each} clipped to {settings.clip_norm:g}"
    return text


def _method_fields(config: Config) -> str:
    """What the method's config declares beyond every config, name and value."""
    # No recipe goes on from an encoder that exists: those that are left to the user.
    kind = StartedConfig if isinstance(config, StartedConfig) else Config
    shared = {field.name for field in dataclasses.fields(kind)}
    own = [f.name for f in dataclasses.fields(config) if f.name not in shared]
    return ", ".join(f"{name} {_plain(getattr(config, name))}" for name in own)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value)) or "none"
    if value == "":
        return "to be named"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    print(format_document(), end="")
