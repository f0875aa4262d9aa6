//! One search: what is pending exactly, blocks by bounds, candidates exactly.

use std::collections::BinaryHeap;

use kohakuvault_core::distance::{DistanceError, Query};
use kohakuvault_core::id_set::IdSet;
use kohakuvault_core::index::{Candidates, Scan};

use super::super::api::{BLOB, NULL};
use super::super::connection::{Row, Rows, Statement};
use super::lists::Lists;
use super::meta::Entries;
use super::{Index, Wanted};

/// Among no more rows than this, and one in [`ONE_IN`] of all, each is looked up and compared.
const FEW: usize = 300;
const ONE_IN: usize = 400;

/// Where bounds are only probable no more candidates than this, and [`PER_NEAREST`] for each of the k, are compared.
const MOST_CANDIDATES: usize = 1000;
const PER_NEAREST: usize = 20;

/// How often a search begins anew without the entries of rows that turned out to be gone; then it compares every row.
const ROUNDS: usize = 4;

/// A list-wise search for fewer than one in so many rows looks at all lists.
const SELECTIVE: usize = 20;

impl Index {
    /// The nearest rows, nearest first, and of equal distance those with the smallest id.
    pub(in super::super) fn search(&mut self, wanted: &Wanted<'_>) -> Result<Vec<(f64, i64)>, String> {
        let query = Query::from_bytes(self.meta.metric, self.meta.element, wanted.query)
            .map_err(|error| format!("query: {error}"))?;
        // By bytes: of bits some may be behind the last dimension.
        if query.row_bytes() != self.meta.element.row_bytes(self.meta.dimensions) {
            let expected = self.meta.dimensions;
            let given = query.dimensions();
            return Err(format!(
                "query: {given} dimensions given; expected {expected}, or call rebuild_index if the index is wrong"
            ));
        }
        if !query.is_finite() {
            return Err("query: expected finite numbers; NaN or infinity given".to_owned());
        }
        let (has_blocks, rows) = self.size()?;
        let mut found = Nearest::new(wanted.k);
        if let Some(ids) = &wanted.ids
            && ids.len() <= FEW + rows / ONE_IN
        {
            compare_each(&mut self.vector, &query, ids.ids(), &mut found)?;
            return Ok(found.into_sorted());
        }
        if self.source.is_some() {
            return self.search_source(&query, wanted, rows);
        }
        self.search_blocks(&query, wanted, has_blocks.then_some(rows))
    }

    /// Searches the blocks of about so many rows, and compares every row where there are none.
    fn search_blocks(
        &mut self,
        query: &Query,
        wanted: &Wanted<'_>,
        rows: Option<usize>,
    ) -> Result<Vec<(f64, i64)>, String> {
        let mut found = Nearest::new(wanted.k);
        let values = query.values().get(..self.meta.dimensions).unwrap_or_default();
        let scan = self.blocks().and_then(|(entries, _)| entries.form.scan(values.to_vec()));
        let (Some(rows), Some(mut scan)) = (rows, scan) else {
            compare_all(&mut self.rows, query, wanted.ids.as_ref(), &mut found)?;
            return Ok(found.into_sorted());
        };
        // Entries of these do not count: what is pending is compared, and the others' rows are gone.
        let mut left_out = self.compare_pending(query, wanted, &mut found)?;
        for _ in 0..ROUNDS {
            let mut found = found.clone();
            let mut candidates = Candidates::new(wanted.k);
            for distance in found.distances() {
                candidates.bound(scan.score(distance));
            }
            self.scan(&mut scan, &mut candidates, values, wanted.ids.as_ref(), &left_out, rows)?;
            let limit = candidates.limit();
            let gone = compare_candidates(&mut self.vector, query, &scan, candidates, &mut found)?;
            let is_complete = match found.farthest() {
                // What was left out is farther than the limit; rows that are gone may have made that too small.
                Some(farthest) => gone.is_empty() || scan.is_certain() && scan.score(farthest) <= limit,
                // Fewer than there can be: of lists that were left out, or of blocks that somebody damaged.
                None => wanted.ids.as_ref().is_some_and(|ids| found.len() >= ids.len()),
            };
            if is_complete {
                return distinct(found.into_sorted());
            }
            if gone.is_empty() {
                break;
            }
            // REPLACE deletes rows, and no trigger says so.
            left_out.extend(gone);
            left_out.sort_unstable();
        }
        let mut found = Nearest::new(wanted.k);
        compare_all(&mut self.rows, query, wanted.ids.as_ref(), &mut found)?;
        Ok(found.into_sorted())
    }

    /// Offers the entries of the blocks that have to be looked at.
    fn scan(
        &mut self,
        scan: &mut Scan,
        candidates: &mut Candidates,
        values: &[f32],
        ids: Option<&IdSet<'_>>,
        left_out: &[i64],
        rows: usize,
    ) -> Result<(), String> {
        let accept = |id: i64| ids.is_none_or(|ids| ids.contains(id)) && left_out.binary_search(&id).is_err();
        match self.blocks() {
            None => Ok(()),
            Some((Entries { lists: Some(lists), .. }, blocks)) => {
                let order = lists.ordered(values)?;
                let enough = enough(lists, ids, rows);
                let mut scanning = Scanning { scan, into: candidates, asks_all: ids.is_some() };
                match enough {
                    Some(enough) => scanning.lists(&mut blocks.of_list, &order, enough, &accept),
                    None => scanning.all(&mut blocks.all, &accept),
                }
            }
            Some((_, blocks)) => {
                Scanning { scan, into: candidates, asks_all: false }.all(&mut blocks.all, &accept)
            }
        }
    }

    /// Whether there are blocks, and about how many rows are in them.
    fn size(&mut self) -> Result<(bool, usize), String> {
        let mut rows = self.state.rows();
        let Some(row) = rows.next()? else { return Ok((false, 0)) };
        Ok((row.int(1) != 0, usize::try_from(row.int(2)).unwrap_or(0)))
    }

    /// Compares what changed since the blocks were written; returns those ids.
    pub(super) fn compare_pending(
        &mut self,
        query: &Query,
        wanted: &Wanted<'_>,
        found: &mut Nearest,
    ) -> Result<Vec<i64>, String> {
        let mut pending = Vec::new();
        let mut rows = self.pending.rows();
        while let Some(row) = rows.next()? {
            let id = row.int(0);
            pending.push(id);
            if wanted.ids.as_ref().is_none_or(|ids| ids.contains(id)) {
                compare(query, id, &row, 1, found)?;
            }
        }
        Ok(pending)
    }
}

/// How many entries that fulfil the condition are enough; `None` for all.
fn enough(lists: &Lists, ids: Option<&IdSet<'_>>, rows: usize) -> Option<usize> {
    if ids.is_some_and(|ids| ids.len() < rows / SELECTIVE) {
        return None;
    }
    Some(rows.div_ceil(lists.len().max(1)).saturating_mul(lists.probes))
}

/// What blocks are scanned with.
struct Scanning<'search> {
    scan: &'search mut Scan,
    into: &'search mut Candidates,
    asks_all: bool,
}

impl Scanning<'_> {
    /// Scans list after list until `enough` entries were accepted.
    fn lists(
        &mut self,
        blocks: &mut Statement,
        order: &[i64],
        enough: usize,
        accept: &impl Fn(i64) -> bool,
    ) -> Result<(), String> {
        let mut seen = 0;
        for &list in order {
            let [from, to] = Lists::blocks(list);
            blocks.bind_int(1, from)?;
            blocks.bind_int(2, to)?;
            seen += self.blocks(blocks.rows(), accept)?;
            if seen >= enough {
                break;
            }
        }
        Ok(())
    }

    /// Scans every block.
    fn all(&mut self, blocks: &mut Statement, accept: &impl Fn(i64) -> bool) -> Result<(), String> {
        self.blocks(blocks.rows(), accept).map(drop)
    }

    fn blocks(&mut self, mut rows: Rows<'_>, accept: &impl Fn(i64) -> bool) -> Result<usize, String> {
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            if row.kind(0) != BLOB {
                return Err(format!("block {} is no BLOB: call rebuild_index", row.int(1)));
            }
            seen += self
                .scan
                .block(row.blob(0), self.into, self.asks_all, accept)
                .map_err(|error| format!("block {} is damaged: {error}; call rebuild_index", row.int(1)))?;
        }
        Ok(seen)
    }
}

/// Compares candidates by their vectors, as long as one of them may be among the nearest; returns those whose rows are
/// gone.
fn compare_candidates(
    vector: &mut Statement,
    query: &Query,
    scan: &Scan,
    candidates: Candidates,
    found: &mut Nearest,
) -> Result<Vec<i64>, String> {
    let most =
        if scan.is_certain() { usize::MAX } else { found.k.saturating_mul(PER_NEAREST).max(MOST_CANDIDATES) };
    let (mut gone, mut compared) = (Vec::new(), 0);
    for candidate in candidates.into_sorted() {
        if let Some(farthest) = found.farthest()
            && (candidate.lower > scan.score(farthest) || compared >= most)
        {
            break;
        }
        // Those that nothing is known of come first, and do not keep others from being compared.
        compared += usize::from(candidate.lower > f32::NEG_INFINITY);
        if !compare_one(vector, query, candidate.id, found)? {
            gone.push(candidate.id);
        }
    }
    Ok(gone)
}

/// The rows, each of which is to be found once.
fn distinct(nearest: Vec<(f64, i64)>) -> Result<Vec<(f64, i64)>, String> {
    // Equal rows are beside each other.
    match nearest.iter().zip(nearest.iter().skip(1)).find(|(one, next)| one.1 == next.1) {
        Some(((_, id), _)) => Err(format!("row {id} is in it twice: call rebuild_index")),
        None => Ok(nearest),
    }
}

/// Compares rows by their ids.
pub(super) fn compare_each(
    vector: &mut Statement,
    query: &Query,
    ids: impl Iterator<Item = i64>,
    found: &mut Nearest,
) -> Result<(), String> {
    for id in ids {
        compare_one(vector, query, id, found)?;
    }
    Ok(())
}

/// Compares the row of an id; returns whether there is one.
fn compare_one(vector: &mut Statement, query: &Query, id: i64, found: &mut Nearest) -> Result<bool, String> {
    vector.bind_int(1, id)?;
    let mut rows = vector.rows();
    match rows.next()? {
        Some(row) => {
            compare(query, id, &row, 0, found)?;
            Ok(row.kind(0) != NULL)
        }
        None => Ok(false),
    }
}

/// Compares every row that fulfils the condition.
pub(super) fn compare_all(
    all: &mut Statement,
    query: &Query,
    ids: Option<&IdSet<'_>>,
    found: &mut Nearest,
) -> Result<(), String> {
    let mut rows = all.rows();
    while let Some(row) = rows.next()? {
        let id = row.int(0);
        if ids.is_none_or(|ids| ids.contains(id)) {
            compare(query, id, &row, 1, found)?;
        }
    }
    Ok(())
}

/// Offers a row; one without vector is none.
#[inline]
fn compare(query: &Query, id: i64, row: &Row<'_>, column: i32, found: &mut Nearest) -> Result<(), String> {
    match row.kind(column) {
        BLOB => {
            let distance = query.distance(row.blob(column)).map_err(|error| explain(id, error))?;
            found.offer(distance, id);
            Ok(())
        }
        NULL => Ok(()),
        _ => Err(format!("the vector of row {id} is no BLOB")),
    }
}

#[cold]
fn explain(id: i64, error: DistanceError) -> String {
    format!("the vector of row {id}: {error}")
}

/// The k nearest rows so far.
#[derive(Clone)]
pub(super) struct Nearest {
    k: usize,
    heap: BinaryHeap<Found>,
}

/// Ordered by distance, numbers before NaN, then by id.
#[derive(Clone, Copy, PartialEq)]
struct Found(f64, i64);

impl Eq for Found {}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0
            .partial_cmp(&other.0)
            .unwrap_or_else(|| self.0.is_nan().cmp(&other.0.is_nan()))
            .then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Nearest {
    pub(super) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, distance: f64, id: i64) {
        let new = Found(distance, id);
        if self.heap.len() < self.k {
            self.heap.push(new);
        } else if let Some(mut farthest) = self.heap.peek_mut()
            && new < *farthest
        {
            *farthest = new;
        }
    }

    fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.heap.len() >= self.k
    }

    /// The distance of the k-th, once there are k.
    fn farthest(&self) -> Option<f64> {
        if self.is_full() { self.heap.peek().map(|found| found.0) } else { None }
    }

    fn distances(&self) -> impl Iterator<Item = f64> + '_ {
        self.heap.iter().map(|found| found.0)
    }

    pub(super) fn into_sorted(self) -> Vec<(f64, i64)> {
        self.heap.into_sorted_vec().into_iter().map(|found| (found.0, found.1)).collect()
    }
}
