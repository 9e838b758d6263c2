"""Methods stand side by side: none imports another, and the house imports none.

import-linter holds the storeys of the house itself (pyproject.toml); methods are found,
so what they may import is held here, for each that is found.
"""

import grimp
import pytest

from selfsup_tf.methods import list_methods

PACKAGES = [f"{name}_tf" for name in list_methods()]


@pytest.fixture(scope="module")
def imports():
    """Every import of one module by another, of our packages."""
    return grimp.build_graph(
        "selfsup_tf", *PACKAGES, cache_dir=None, exclude_type_checking_imports=True
    )


def test_a_package_imports_itself_and_the_house_alone(imports):
    assert len(imports.modules) > 200
    for module in imports.modules:
        for imported in imports.find_modules_directly_imported_by(module):
            package = imported.partition(".")[0]
            assert package in (module.partition(".")[0], "selfsup_tf"), (
                f"{module} imports {imported}"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_method_imports_in_a_circle(package, imports):
    assert not imports.nominate_cycle_breakers(package)
