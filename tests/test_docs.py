"""Every Python block of the documentation runs, and prints what the text block after it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
MARK = "--- end of block ---"


WITH_CODE = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path):
    blocks = [(match["code"], match["output"] or "") for match in BLOCK.finditer(page.read_text())]
    script = tmp_path / "page.py"
    script.write_text("".join(f"{code}\nprint({MARK!r})\n" for code, _ in blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", script.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(MARK + "\n")[:-1]
    for (code, output), actual in zip(blocks, printed, strict=True):
        assert actual == output, code


def test_the_example_that_the_project_began_with(tmp_path):
    code = """
import numpy as np
vector, query = np.random.randn(384), np.random.randn(384)

from kohakuvault import KVault, ColumnVault, VectorKVault
kv = KVault("app.db"); kv["user:123"] = {"name": "Alice"}; kv["emb"] = np.random.randn(768).astype(np.float32)
cv = ColumnVault("app.db"); scores = cv.create_column("scores", "f64"); scores.extend([95.5, 87.3]); scores[0]
search = VectorKVault("app.db", table="search", dimensions=384, metric="cosine")
search.insert(vector, b"payload"); search.search(query, k=10)

assert kv["user:123"] == {"name": "Alice"} and kv["emb"].shape == (768,) and kv["emb"].dtype == np.float32
assert scores[0] == 95.5 and scores[:] == [95.5, 87.3]
((id, distance, payload),) = search.search(query, k=10)
assert payload == b"payload" and id in search and 0 <= distance <= 2
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


def test_every_link_between_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
