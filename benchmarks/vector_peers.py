"""The stores that ``VectorKVault`` is compared with; for a Python of .venv-vector-peers."""

from __future__ import annotations

from vector_databases import Lance, LanceIvf, PgHnsw, PgIvf, Upstream
from vector_libraries import FaissFlat, FaissHnsw, FaissIvf, Hnswlib, Usearch
from vector_sqlite import SqliteVec, SqliteVss, Vectorlite
from vector_store import one_thread

one_thread()

PEERS = {
    "upstream": Upstream,
    "sqlite-vec": SqliteVec,
    "sqlite-vss": SqliteVss,
    "vectorlite": Vectorlite,
    "faiss-flat": FaissFlat,
    "faiss-ivf": FaissIvf,
    "faiss-hnsw": FaissHnsw,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "lancedb": Lance,
    "lancedb-ivf": LanceIvf,
    "pgvector-hnsw": PgHnsw,
    "pgvector-ivf": PgIvf,
}
