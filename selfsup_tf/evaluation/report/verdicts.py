"""The verdict of `eval.py health`, in a word, a sign and a colour."""

from typing import Any

from selfsup_tf.evaluation.report.markup import Html, element

_LOOKS = {
    "healthy": ("good", "✓"),
    "dimensional collapse": ("warn", "!"),
    "full collapse": ("bad", "✕"),
}


def badge(verdict: Any) -> Html:
    """The verdict; an unknown one is shown without a colour."""
    if verdict is None:
        return element("span", "Health not measured", class_="badge none")
    kind, sign = _LOOKS.get(verdict, ("none", "·"))
    words = str(verdict)
    return element(
        "span",
        element("span", sign, class_="sign", aria_hidden="true"),
        words[:1].upper() + words[1:],
        class_=f"badge {kind}",
    )
