"""Libraries of indexes in memory as :class:`~vector_store.VectorStore`; what they write is a file on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vector_store import RANKS, Array, VectorStore

MEMORY = "in memory, without transactions, saved on request"
HNSW = "M=16, ef_construction=200, ef=100"


class Faiss(VectorStore):
    """An index that takes ids; ``parameters`` of a search are a class of FAISS's and its options."""

    package = "faiss-cpu"
    about = ""
    removes = True

    def start(self) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.faiss: Any = faiss
        if not self.removes:
            self.remove = None

    def empty(self, rows: int) -> Any:
        raise NotImplementedError

    def parameters(self, **options: Any) -> Any:
        return self.faiss.SearchParameters(**options)

    def create(self) -> None:
        self.index: Any = None

    def open(self) -> None:
        self.index = self.faiss.read_index(self.path + ".faiss")

    def save(self) -> None:
        self.faiss.write_index(self.index, self.path + ".faiss")

    def add(self, vectors: Array, labels: Array) -> None:
        if self.index is None:
            self.index = self.empty(len(vectors))
            self.index.train(vectors)
        self.index.add_with_ids(vectors, labels.astype(np.int64))

    def remove(self, ids: Array) -> None:
        self.index.remove_ids(np.ascontiguousarray(ids))

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        return self._found(query, k, self.parameters())

    def nearest_where(self, query: Array, k: int, rank: str, below: int) -> Sequence[int]:
        passing = np.packbits(self.ranks[:, RANKS.index(rank)] < below, bitorder="little")
        selector = self.faiss.IDSelectorBitmap(passing)
        return self._found(query, k, self.parameters(sel=selector))

    def _found(self, query: Array, k: int, parameters: Any) -> Sequence[int]:
        ids: Array = self.index.search(query[None], k, params=parameters)[1][0]
        return ids[ids >= 0]

    def settings(self) -> str:
        return f"{self.about}; {MEMORY}; filters by a bitmap, made in the time"


class FaissFlat(Faiss):
    about = "exact; IndexIDMap2 of IndexFlatIP"

    def empty(self, rows: int) -> Any:
        return self.faiss.IndexIDMap2(self.faiss.IndexFlatIP(self.dimensions))


class FaissIvf(Faiss):
    about = "IVF,Flat with 4 √n lists, nprobe=32"

    def empty(self, rows: int) -> Any:
        flat = self.faiss.IndexFlatIP(self.dimensions)
        lists = int(4 * rows**0.5)
        index = self.faiss.IndexIVFFlat(flat, self.dimensions, lists, self.faiss.METRIC_INNER_PRODUCT)
        # By one thread its default would take a quarter of an hour of a million rows.
        index.cp.niter, index.cp.max_points_per_centroid = 10, 64
        return index

    def parameters(self, **options: Any) -> Any:
        return self.faiss.SearchParametersIVF(nprobe=32, **options)


class FaissHnsw(Faiss):
    about = f"HNSW,Flat, {HNSW}; cannot remove"
    removes = False

    def empty(self, rows: int) -> Any:
        index = self.faiss.IndexHNSWFlat(self.dimensions, 16, self.faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 200
        return self.faiss.IndexIDMap2(index)

    def parameters(self, **options: Any) -> Any:
        return self.faiss.SearchParametersHNSW(efSearch=100, **options)


class Hnswlib(VectorStore):
    package = "hnswlib"

    def start(self) -> None:
        import hnswlib

        self._new: Any = hnswlib.Index

    def create(self) -> None:
        self.index: Any = self._new("cosine", self.dimensions)
        self.index.init_index(self.capacity, M=16, ef_construction=200)
        self._set()

    def open(self) -> None:
        self.index = self._new("cosine", self.dimensions)
        self.index.load_index(self.path + ".hnsw", self.capacity)
        self._set()

    def _set(self) -> None:
        self.index.set_num_threads(1)
        self.index.set_ef(100)

    def save(self) -> None:
        self.index.save_index(self.path + ".hnsw")

    def add(self, vectors: Array, labels: Array) -> None:
        self.index.add_items(vectors, labels)

    def remove(self, ids: Array) -> None:
        for id in ids.tolist():
            self.index.mark_deleted(id)

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        found: Sequence[int] = self.index.knn_query(query, k)[0][0]
        return found

    def nearest_where(self, query: Array, k: int, rank: str, below: int) -> Sequence[int]:
        passing = self.ranks[:, RANKS.index(rank)] < below
        try:
            found: Sequence[int] = self.index.knn_query(query, k, filter=passing.__getitem__)[0][0]
        except RuntimeError:  # it found fewer than k, and gives none of them
            return []
        return found

    def settings(self) -> str:
        return f"HNSW, {HNSW}; {MEMORY}; removed rows stay, marked; filters by a Python function"


class Usearch(VectorStore):
    package = "usearch"

    def start(self) -> None:
        from usearch.index import Index

        self._new: Any = Index

    def create(self) -> None:
        self.index: Any = self._new(
            ndim=self.dimensions, metric="cos", dtype="f32", connectivity=16, expansion_add=200, expansion_search=100
        )

    def open(self) -> None:
        self.create()
        self.index.load(self.path + ".usearch")

    def save(self) -> None:
        self.index.save(self.path + ".usearch")

    def add(self, vectors: Array, labels: Array) -> None:
        self.index.add(labels, vectors, threads=1)

    def remove(self, ids: Array) -> None:
        self.index.remove(ids.astype(np.uint64), threads=1)

    def nearest(self, query: Array, k: int) -> Sequence[int]:
        found: Sequence[int] = self.index.search(query, k, threads=1).keys
        return found

    def settings(self) -> str:
        return f"HNSW, f32, {HNSW}; {MEMORY}; no filters in Python"
