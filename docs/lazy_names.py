"""Shows mkdocstrings the names that a package imports when they are first asked for.

Griffe reads sources and runs nothing, so that it does not see what `__getattr__` gives.
"""

import importlib
import re

import griffe

_KEYED = re.compile(r"^([A-Z]\w+): (.+(?:\n(?![A-Z]\w+:).+)*)", re.MULTILINE)


class LazyNames(griffe.Extension):
    """Adds the lazy names of a package, and parts lines such as "Reference: ..."."""

    def on_package(self, *, pkg, **others):
        """Adds what `__all__` has at run time and the source has not."""
        module = importlib.import_module(pkg.path)
        verbs = getattr(module, "VERBS", {})
        for name in set(module.__all__) - set(pkg.members):
            home = verbs.get(name) or _home(pkg, name)
            pkg.set_member(name, griffe.Alias(name, f"{home}.{name}"))

    def on_object(self, *, obj, **others):
        """Makes a paragraph of each line with a key, which Markdown runs together.

        Google's style knows no "Reference: A paper" and takes those that go on in
        another line for a box with a title.
        """
        if obj.docstring:
            obj.docstring.value = _KEYED.sub(_paragraph, obj.docstring.value)


def _paragraph(found):
    return f"\n**{found[1]}:** {' '.join(found[2].split())}\n"


def _home(pkg, name):
    """The one module of a method's package that defines a name."""
    places = [m for m in pkg.modules.values() if name in m.members]
    (home,) = (m.path for m in places if not m.members[name].is_alias)
    return home
