"""The protocols of `eval.py`, one module each, found by being here.

A module of your own joins them from any folder of `sys.path`, see `selfsup_tf.doors`;
`protocol.PROTOCOLS` finds them.
"""
