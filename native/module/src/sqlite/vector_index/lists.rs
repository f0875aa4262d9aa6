//! Inverted lists: which of them to search for a query.

use kohakuvault_core::distance::Query;
use kohakuvault_core::metric::Metric;

/// Bits of a block's id that number the blocks of one list.
const SERIAL_BITS: u32 = 32;

/// The centroids of the lists.
pub(super) struct Lists {
    centroids: Vec<u8>,
    row: usize,
    metric: Metric,
    /// How many lists are searched, of a search without condition.
    pub(super) probes: usize,
}

impl Lists {
    /// `None` for what is not at least one centroid of these dimensions, and at least one probe.
    pub(super) fn new(centroids: &[u8], dimensions: usize, metric: Metric, probes: i64) -> Option<Self> {
        let row = dimensions * 4;
        let probes = usize::try_from(probes).ok().filter(|probes| *probes > 0)?;
        let is_whole = !centroids.is_empty() && centroids.len().is_multiple_of(row);
        is_whole.then(|| Self { centroids: centroids.to_vec(), row, metric, probes })
    }

    pub(super) fn len(&self) -> usize {
        self.centroids.len() / self.row
    }

    /// All lists, those with the nearest centroids first.
    pub(super) fn ordered(&self, query: &[f32]) -> Result<Vec<i64>, String> {
        // Vectors belong to the list with the nearest centroid, by their direction for cosine.
        let metric = if self.metric == Metric::Cosine { Metric::Cosine } else { Metric::L2 };
        let query = Query::new(metric, query.to_vec()).map_err(|error| error.to_string())?;
        let mut lists = Vec::with_capacity(self.len());
        for (list, centroid) in (0..).zip(self.centroids.chunks_exact(self.row)) {
            lists.push((query.distance(centroid).map_err(|error| error.to_string())?, list));
        }
        lists.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Ok(lists.into_iter().map(|(_, list)| list).collect())
    }

    /// The ids of a list's blocks: from the first, to below the second.
    pub(super) fn blocks(list: i64) -> [i64; 2] {
        [list << SERIAL_BITS, (list + 1) << SERIAL_BITS]
    }
}
