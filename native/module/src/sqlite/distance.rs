//! `kv_cosine_distance`, `kv_l2_distance`, `kv_l1_distance`, `kv_hamming_distance`: the distance of two vectors.

use std::marker::PhantomData;

use kohakuvault_core::distance::{DistanceError, Metric, Query};

use super::api::{BLOB, Context, NULL, Value};
use super::callback::{Arguments, Scalar, SqlResult};

/// A metric as a type, because a callback carries nothing else.
pub(super) trait Measure {
    const METRIC: Metric;
}

macro_rules! measures {
    ($($name:ident)*) => {$(
        pub(super) struct $name;
        impl Measure for $name {
            const METRIC: Metric = Metric::$name;
        }
    )*};
}

measures! { Cosine L2 L1 Hamming }

/// `kv_<metric>_distance(a, b)`: NULL if either is NULL or the distance is not a number.
pub(super) struct Distance<M>(PhantomData<M>);

impl<M: Measure> Scalar for Distance<M> {
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let [a, b] = arguments.get()?;
        if a.kind() == NULL || b.kind() == NULL {
            context.result_null();
            return Ok(());
        }
        let (left, right) = (vector::<M>(a)?, vector::<M>(b)?);
        // SAFETY: this function remembers nothing but `Query`, and each function has memory of its own.
        let prepared = unsafe {
            match context.remembered::<Query>(1) {
                Some(query) => Some((query, left)),
                None => context.remembered::<Query>(0).map(|query| (query, right)),
            }
        };
        let distance = match prepared {
            Some((query, row)) => query.distance(row),
            None => first_row::<M>(context, left, right),
        };
        match distance.map_err(|error| explain::<M>(left, right, error))? {
            number if number.is_nan() => context.result_null(),
            number => context.result_double(number),
        }
        Ok(())
    }
}

/// `SQLite` keeps what is remembered about constant arguments only, and does not say which ones are constant,
/// so the first row offers both.
fn first_row<M: Measure>(context: Context, left: &[u8], right: &[u8]) -> Result<f64, DistanceError> {
    let query = Query::from_bytes(M::METRIC, right)?;
    let distance = query.distance(left)?;
    context.remember(1, query);
    context.remember(0, Query::from_bytes(M::METRIC, left)?);
    Ok(distance)
}

fn vector<M: Measure>(value: Value<'_>) -> Result<&[u8], String> {
    match value.kind() {
        BLOB => Ok(value.blob()),
        _ => Err(format!(
            "kv_{}_distance: {} given; expected a BLOB of little-endian f32",
            M::METRIC,
            value.kind_name()
        )),
    }
}

#[cold]
fn explain<M: Measure>(left: &[u8], right: &[u8], error: DistanceError) -> String {
    let metric = M::METRIC;
    match error {
        DistanceError::Length { .. } => format!(
            "kv_{metric}_distance: the vectors have {} and {} dimensions; expected equal numbers",
            left.len() / 4,
            right.len() / 4
        ),
        DistanceError::Ragged { .. } => format!(
            "kv_{metric}_distance: the vectors have {} and {} bytes; expected little-endian f32, multiples of 4",
            left.len(),
            right.len()
        ),
        DistanceError::Empty => format!("kv_{metric}_distance: {error}"),
    }
}
