"""Print one hash of this Python, this folder and all that the paths given hold: the key of what `make` built.

python scripts/fingerprint.py pyproject.toml native
"""

import hashlib
import os
import sys

SKIPPED = {"target", "__pycache__"}
BUILT = (".so", ".pyd", ".dylib")


def files(path: str) -> list[str]:
    """Return every file at or under `path`, sorted, without build products."""
    if os.path.isfile(path):
        return [path]
    found = []
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED]
        found += [os.path.join(folder, name) for name in names if not name.endswith(BUILT)]
    return sorted(found)


def main() -> None:
    """Hash length-prefixed parts, so that no two lists of files look alike."""
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "little") + part)

    for text in (sys.version, os.path.realpath(sys.executable), os.getcwd()):
        add(text.encode())
    for path in sys.argv[1:]:
        for name in files(path):
            add(name.encode())
            with open(name, "rb") as file:
                add(file.read())
    print(digest.hexdigest())


if __name__ == "__main__":
    main()
