//! `kv_nearest(key, vector, query, k, metric[, element])`: the k rows nearest to a query, as JSON.

use kohakuvault_core::distance::{DistanceError, Metric, Query};
use kohakuvault_core::element::Element;
use kohakuvault_core::ranking::{Key, NO_ROWS, Ranking};
use std::ptr;

use super::api::{BLOB, Context, INTEGER, NULL, TEXT, Value};
use super::callback::{Aggregate, Arguments, SqlResult};
use super::distance::{packed_form, read_element};

pub(super) struct Nearest;

impl Aggregate for Nearest {
    fn step(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let ([key, vector, query, k, metric], element) = if arguments.count() == 5 {
            (arguments.get()?, None)
        } else {
            let [key, vector, query, k, metric, element] = arguments.get()?;
            ([key, vector, query, k, metric], Some(element))
        };
        // SAFETY: null or SQLite's zeroed, aligned memory for one pointer, which only this aggregate uses.
        let group = unsafe { context.group::<Ranking>().as_mut() }.ok_or("kv_nearest: out of memory")?;
        if group.is_null() {
            *group = Box::into_raw(Box::new(begin(query, k, metric, element)?));
        }
        // SAFETY: set above or by an earlier row, freed by `finish` only; one call at a time uses the group.
        let ranking = unsafe { &mut **group };
        let row = match vector.kind() {
            BLOB => vector.blob(),
            NULL => return Ok(()),
            _ => return Err(not_packed("vector", ranking.query().element(), vector)),
        };
        let distance = ranking.distance(row).map_err(|error| explain(key, &error))?;
        if ranking.wants(distance) {
            return ranking.offer(distance, || read_key(key));
        }
        Ok(())
    }

    fn finish(context: Context) -> SqlResult {
        // SAFETY: as in `step`. Called once per group, after errors too.
        let group = unsafe { context.finished_group::<Ranking>().as_mut() };
        match group.map(|group| std::mem::replace(group, ptr::null_mut())) {
            Some(ranking) if !ranking.is_null() => {
                // SAFETY: made by `Box::into_raw` in `step`, and no longer reachable from the group.
                let ranking = unsafe { Box::from_raw(ranking) };
                context.result_text(&ranking.into_json());
            }
            _ => context.result_text(NO_ROWS),
        }
        Ok(())
    }
}

/// Reads what is the same for every row.
fn begin(
    query: Value<'_>,
    k: Value<'_>,
    metric: Value<'_>,
    element: Option<Value<'_>>,
) -> Result<Ranking, String> {
    if metric.kind() != TEXT {
        return Err(unsuitable("metric", "TEXT, one of cosine, l2, l1, hamming, ip", metric));
    }
    let metric: Metric = metric.text().parse().map_err(|error| format!("kv_nearest: {error}"))?;
    let element = match element {
        Some(name) => read_element(name).map_err(|error| format!("kv_nearest: {error}"))?,
        None => Element::F32,
    };
    if query.kind() != BLOB {
        return Err(not_packed("query", element, query));
    }
    let query = Query::from_bytes(metric, element, query.blob())
        .map_err(|error| format!("kv_nearest: query: {error}"))?;
    if !query.is_finite() {
        return Err("kv_nearest: query: expected finite numbers; NaN or infinity given".to_owned());
    }
    if k.kind() != INTEGER {
        return Err(unsuitable("k", "an INTEGER", k));
    }
    match k.integer() {
        negative if negative < 0 => Err(format!("kv_nearest: k is {negative}; expected zero or more")),
        // More rows than memory has addresses cannot be kept anyway.
        k => Ok(Ranking::new(query, usize::try_from(k).unwrap_or(usize::MAX))),
    }
}

fn read_key(key: Value<'_>) -> Result<Key, String> {
    match key.kind() {
        INTEGER => Ok(Key::Int(key.integer())),
        TEXT => Ok(Key::Text(key.text())),
        _ => Err(unsuitable("key", "INTEGER or TEXT", key)),
    }
}

#[cold]
fn not_packed(name: &str, element: Element, given: Value<'_>) -> String {
    unsuitable(name, &format!("a BLOB of {}", packed_form(element)), given)
}

#[cold]
fn unsuitable(name: &str, expected: &str, given: Value<'_>) -> String {
    format!("kv_nearest: {name}: expected {expected}; {} given", given.kind_name())
}

#[cold]
fn explain(key: Value<'_>, error: &DistanceError) -> String {
    match read_key(key) {
        Ok(key) => format!("kv_nearest: row {key}: {error}"),
        Err(_) => format!("kv_nearest: {error}"),
    }
}
