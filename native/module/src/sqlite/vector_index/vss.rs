//! Candidates from a snapshot in a table of sqlite-vss, an index of FAISS.

use kohakuvault_core::distance::floats_to_bytes;
use kohakuvault_core::frame::checksum;
use kohakuvault_core::metric::Metric;

use super::super::api::BLOB;
use super::super::connection::{Connection, Statement};
use super::source::{Asked, ids, prepare, require_shadows};
use super::{first_int, quoted};

/// How many candidates are asked for, of each of the k nearest and beside: FAISS compares by codes in many of its
/// indexes, and looks at more of a graph the more are asked for.
const PER_NEAREST: usize = 4;
const BESIDE: usize = 100;

/// How much more is asked for when too few fulfil the condition.
const GROWTH: usize = 4;

/// Of sqlite-vss's own form of a vector: it takes bare floats that begin with these bytes for it.
const HEADER: &[u8] = b"v\x01";

pub(super) struct Snapshot {
    nearest: Statement,
    is_filled: Statement,
}

impl Snapshot {
    pub(super) fn open(
        connection: Connection,
        name: &str,
        number: i64,
        expected: i64,
    ) -> Result<Self, String> {
        let table = format!("{name}_vss_{number}");
        require_shadows(connection, &table, &["", "_index", "_data"])?;
        // FAISS ends the process when it reads what it did not write.
        let mut index =
            connection.prepare(&format!("SELECT idx FROM {}", quoted(&format!("{table}_index"))))?;
        let mut rows = index.rows();
        let found =
            rows.next()?.filter(|row| row.kind(0) == BLOB).map(|row| i64::from(checksum(row.blob(0))));
        if found != Some(expected) {
            return Err(format!("table \"{table}_index\" is damaged: call rebuild_index"));
        }
        drop(rows);
        let prepare = |sql: &str| prepare(connection, sql, "vss0", "vss");
        Ok(Self {
            nearest: prepare(&format!(
                "SELECT rowid FROM {} WHERE vss_search(embedding, vss_search_params(?1, ?2))",
                quoted(&table)
            ))?,
            is_filled: prepare(&format!(
                "SELECT EXISTS (SELECT 1 FROM {})",
                quoted(&format!("{table}_data"))
            ))?,
        })
    }

    pub(super) fn candidates(&mut self, asked: &Asked<'_>) -> Result<Option<Vec<i64>>, String> {
        // FAISS ends the process if an empty index is searched.
        if first_int(&mut self.is_filled)? == 0 || asked.k == 0 {
            return Ok(None);
        }
        self.nearest.bind_blob(1, &[HEADER, &floats_to_bytes(&normalised(asked))].concat())?;
        let mut wanted = asked.k.saturating_mul(PER_NEAREST).saturating_add(BESIDE + asked.pending.len());
        // Comparing the rows of a condition is as quick as finding as many.
        let most = asked.ids.map_or(asked.rows, |ids| ids.len().max(wanted)).min(asked.rows.max(BESIDE));
        if let Some(ids) = asked.ids {
            let one_in = asked.rows.div_ceil(ids.len().max(1));
            wanted = wanted.saturating_mul(one_in);
        }
        loop {
            wanted = wanted.min(most);
            self.nearest.bind_int(2, i64::from(i32::try_from(wanted).unwrap_or(i32::MAX)))?;
            let found = ids(&mut self.nearest).map_err(|error| format!("sqlite-vss: {error}"))?;
            let accepted: Vec<i64> = found.into_iter().filter(|&id| asked.accepts(id)).collect();
            if accepted.len() >= asked.k {
                return Ok(Some(accepted));
            }
            if wanted >= most {
                return Ok(None);
            }
            wanted = wanted.saturating_mul(GROWTH);
        }
    }
}

/// The query as FAISS compares it: of length 1 for cosine.
fn normalised(asked: &Asked<'_>) -> Vec<f32> {
    let values = asked.query.values();
    if asked.query.metric() != Metric::Cosine {
        return values.to_vec();
    }
    let norm = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    #[allow(clippy::cast_possible_truncation, reason = "at most 1")]
    values.iter().map(|&value| (f64::from(value) / norm) as f32).collect()
}
