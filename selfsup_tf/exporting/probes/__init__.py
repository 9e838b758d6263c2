"""Programs that run an artefact in its own runtime; they import none of this package.

A probe is started in a process of its own and is copied, with `probing.py`, to a device
that shall be measured.
"""
