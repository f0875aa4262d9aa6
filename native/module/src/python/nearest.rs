//! `NearestAggregate`: the SQL aggregate `kv_nearest` for `sqlite3.Connection.create_aggregate`.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use kohakuvault_core::ranking::{Key, NO_ROWS, Ranking};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyInt, PyString};

use super::distance::{parse_metric, prepare};
use super::errors::{describe, type_error, value_error};
use super::packed_vector::{parse_element, to_packed};

/// The k rows nearest to a query, as JSON.
#[pyclass(frozen, module = "kohakuvault._native")]
pub(crate) struct NearestAggregate(Mutex<Option<Ranking>>);

#[pymethods]
impl NearestAggregate {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Take one row. All but `key` and `vector` are read at the first row only.
    #[pyo3(signature = (key, vector, query, k, metric, elem="f32"))]
    fn step(
        &self,
        key: &Bound<'_, PyAny>,
        vector: Option<&Bound<'_, PyAny>>,
        query: &Bound<'_, PyAny>,
        k: &Bound<'_, PyAny>,
        metric: &str,
        elem: &str,
    ) -> PyResult<()> {
        // No Python code may run while the mutex is held: it could come back here, or let another thread run
        // that does. So arguments are read before, and exceptions are made after.
        let py = key.py();
        let element = if let Some(element) =
            self.with(py, |ranking| ranking.as_ref().map(|ranking| ranking.query().element()))
        {
            element
        } else {
            let ranking = begin(query, k, metric, elem)?;
            self.with(py, |slot| slot.get_or_insert(ranking).query().element())
        };
        let Some(vector) = vector else { return Ok(()) };
        let copied;
        let row = if let Ok(bytes) = vector.cast::<PyBytes>() {
            bytes.as_bytes()
        } else {
            copied = to_packed(vector, element, None)?.bytes;
            &copied
        };
        let measured = self.with(py, |ranking| {
            let ranking = ranking.as_ref()?;
            Some(ranking.distance(row).map(|distance| (distance, ranking.wants(distance))))
        });
        match measured {
            // Finished by another thread in the meantime.
            None => Err(value_error("kv_nearest: step after finalize")),
            Some(Ok((_, false))) => Ok(()),
            Some(Ok((distance, true))) => {
                let key = read_key(key)?;
                self.with(py, |ranking| {
                    if let Some(ranking) = ranking {
                        let Ok(()) = ranking.offer(distance, || Ok::<_, Infallible>(key));
                    }
                });
                Ok(())
            }
            Some(Err(error)) => Err(value_error(match read_key(key) {
                Ok(key) => format!("kv_nearest: row {key}: {error}"),
                Err(_) => format!("kv_nearest: {error}"),
            })),
        }
    }

    /// The JSON array `[[key, distance], ...]`, nearest first.
    fn finalize(&self, py: Python<'_>) -> String {
        match self.with(py, Option::take) {
            Some(ranking) => ranking.into_json(),
            None => NO_ROWS.to_owned(),
        }
    }
}

impl NearestAggregate {
    fn with<R>(&self, py: Python<'_>, work: impl FnOnce(&mut Option<Ranking>) -> R) -> R {
        work(&mut self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }
}

fn begin(query: &Bound<'_, PyAny>, k: &Bound<'_, PyAny>, metric: &str, elem: &str) -> PyResult<Ranking> {
    let query = prepare(parse_metric(metric)?, parse_element(elem)?, query)?;
    match k.cast::<PyInt>().map_err(|_| type_error(format!("k: expected int; {} given", describe(k))))? {
        negative if negative.lt(0)? => Err(value_error(format!("k is {negative}; expected zero or more"))),
        // More rows than memory has addresses cannot be kept anyway.
        k => Ok(Ranking::new(query, k.extract().unwrap_or(usize::MAX))),
    }
}

fn read_key(key: &Bound<'_, PyAny>) -> PyResult<Key> {
    if let Ok(text) = key.cast::<PyString>() {
        return Ok(Key::Text(text.to_str()?.to_owned()));
    }
    match key.cast::<PyInt>() {
        Ok(int) => Ok(Key::Int(int.extract()?)),
        Err(_) => Err(type_error(format!("kv_nearest: key: expected int or str; {} given", describe(key)))),
    }
}
