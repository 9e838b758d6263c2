"""Methods: their base, and how those that are installed are found by their names."""

from selfsup_tf.methods.method import Method
from selfsup_tf.methods.packages import (
    MethodPackage,
    find_method,
    list_methods,
    restore_config,
)

__all__ = ["Method", "MethodPackage", "find_method", "list_methods", "restore_config"]
