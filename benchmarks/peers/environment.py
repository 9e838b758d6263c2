"""The environment of the packages that ours is compared with."""

import pathlib
import subprocess
import venv
from collections.abc import Sequence


def peers_python(folder: pathlib.Path, packages: Sequence[str]) -> pathlib.Path:
    """The interpreter of an environment that holds the packages, made if there is none.

    Prints the versions.

    Raises:
        SystemExit: The folder holds something else.
    """
    folder = folder.expanduser().absolute()
    python = folder / "bin" / "python"
    marker, wanted = folder / "installed", "\n".join(packages)
    if not marker.exists() or marker.read_text() != wanted:
        if folder.is_dir() and any(folder.iterdir()) and not marker.exists():
            raise SystemExit(f"{folder} is no environment of these programs: --env")
        print(f"Installing {', '.join(packages)} into {folder}.", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        marker.write_text("")
        pip = [str(python), "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", *packages], check=True)
        marker.write_text(wanted)
    freeze = [str(python), "-m", "pip", "list", "--format=freeze"]
    found = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    names = [package.partition("==")[0] for package in packages]
    named = [
        line
        for line in found.replace("_", "-").split()
        if line.partition("==")[0] in names
    ]
    print(", ".join(named))
    return python
