"""Writes files with an old release, whose Python runs it: ``legacy_writer.py RELEASE DIRECTORY``."""

import json
import sys
from pathlib import Path

import numpy as np

import legacy_contents as contents
from kohakuvault import Cbor, ColumnVault, Json, KVault, MsgPack, Pickle, TextVault, VectorKVault

release, directory = sys.argv[1], Path(sys.argv[2])


def write_values(kv):
    for key, value in contents.SAME.items():
        kv[key] = value
    for key, (value, _) in contents.STORED_AS.items():
        kv[key] = value


# -- every kind of value, in one dict ------------------------------------------------------------
kv = KVault(str(directory / "values.db"))
write_values(kv)
kv["deleted"] = 1
kv["changed"] = "before"
kv["json"] = Json({"é": [1, 2.5, None]})
kv["msgpack"] = MsgPack([1, "a"])
kv["cbor"] = Cbor({"x": 1.0})
kv["pickle"] = Pickle((1, {2}))
del kv["deleted"]
kv["changed"] = "after"
kv.close()

kv = KVault(str(directory / "odd.db"), table="odd")
for key, value in contents.AMBIGUOUS.items():
    kv[key] = value
for key, (value, _) in contents.REFUSED.items():
    kv[key] = value
kv["bomb"] = contents.bomb(str(directory / "exploded"))
kv["list of bombs"] = [b"", contents.Bomb(str(directory / "exploded"))]
kv.close()
kv = KVault(str(directory / "odd.db"), table='"Keys of mine"')
for key, value in contents.KEYS.items():
    kv[key] = value
kv.close()
kv = KVault(str(directory / "odd.db"), table="bare")
kv.disable_headers()
kv["text"] = "text"
kv["int"] = 5
kv.close()

# -- columns -------------------------------------------------------------------------------------
small = {"min_chunk_bytes": 4096, "max_chunk_bytes": 8192} if release == "0.8.6" else {"block_bytes": 4096}
cv = ColumnVault(str(directory / "columns.db"), **small)
for dtype, (values, _) in contents.dtypes(release).items():
    cv.create_column(dtype, dtype).extend(list(values))
appended = cv.create_column("appended", "bytes")
for number in range(300):
    appended.append(b"%d" % number * 20)
changed = cv.create_column("changed", "i64")
changed.extend(list(range(2000)))
changed[3] = -3
del changed[1000]
changed.insert(5, 55)
texts = cv.create_column("changed texts", "str")
texts.extend([str(number) for number in range(2000)])
texts[3] = "longer than it was" * 40
del texts[1000]
# 0.8.6 does not get all of it right.
(directory / "changed texts.json").write_text(json.dumps(list(texts)))
cv.create_column("empty", "f64")
cv.create_column("empty texts", "str")
cleared = cv.create_column("cleared", "i64")
cleared.extend(list(range(100)))
cleared.clear()
cleared.append(7)
cv.create_column("gone", "i64").extend([1, 2, 3])
cv.delete_column("gone")
cv.create_column("after gone", "i64").extend([4])
del cv

# -- vectors and texts ---------------------------------------------------------------------------
for metric in ("cosine", "l2", "l1"):
    vault = VectorKVault(str(directory / "vectors.db"), table=f"v_{metric}", dimensions=5, metric=metric)
    for number, vector in enumerate(contents.vectors(1100, 5)):
        vault.insert(vector, {"n": number} if number % 3 else (number, None))
    for id in (1, 7, 1030):
        vault.delete(id)
    vault.update(9, vector=np.ones(5, np.float32), value="changed")
    vault.update(10, value=b"only the value")
    del vault
VectorKVault(str(directory / "vectors.db"), table="v_empty", dimensions=3)

vault = TextVault(str(directory / "texts.db"), table="articles", columns=["title", "body"])
for number in range(50):
    vault.insert({"title": f"title {number}", "body": f"the quick fox {number} é☃"}, {"n": number})
vault.delete(7)
vault.update(9, texts={"title": "new title", "body": "new body"})
vault.update(10, value=(1, 2))
del vault
vault = TextVault(str(directory / "texts.db"))
vault.insert("only text", None)
del vault
