//! `kv_cosine_distance`, `kv_l2_distance`, `kv_l1_distance`, `kv_hamming_distance`, `kv_ip_distance`: the distance of
//! two vectors.

use std::marker::PhantomData;

use kohakuvault_core::distance::{DistanceError, Metric, Query};
use kohakuvault_core::element::{Element, UnknownElement};

use super::api::{BLOB, Context, NULL, TEXT, Value};
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

measures! { Cosine L2 L1 Hamming Ip }

/// `kv_<metric>_distance(a, b[, element])`: NULL if a vector is NULL or the distance is not a number.
pub(super) struct Distance<M>(PhantomData<M>);

impl<M: Measure> Scalar for Distance<M> {
    fn call(context: Context, arguments: &Arguments<'_>) -> SqlResult {
        let ([a, b], element) = if arguments.count() == 2 {
            (arguments.get()?, Element::F32)
        } else {
            let [a, b, element] = arguments.get()?;
            ([a, b], read_element(element).map_err(|problem| named::<M>(&problem))?)
        };
        if a.kind() == NULL || b.kind() == NULL {
            context.result_null();
            return Ok(());
        }
        let (left, right) = (vector::<M>(a, element)?, vector::<M>(b, element)?);
        // The element type may differ from row to row.
        let usable = |query: &&Query| query.element() == element;
        // SAFETY: this function remembers nothing but `Query`, and each function has memory of its own.
        let prepared = unsafe {
            match context.remembered::<Query>(1).filter(usable) {
                Some(query) => Some((query, left)),
                None => context.remembered::<Query>(0).filter(usable).map(|query| (query, right)),
            }
        };
        let distance = match prepared {
            Some((query, row)) => query.distance(row),
            None => first_row::<M>(context, element, left, right),
        };
        match distance.map_err(|error| explain::<M>(element, left, right, error))? {
            number if number.is_nan() => context.result_null(),
            number => context.result_double(number),
        }
        Ok(())
    }
}

/// The element type that an argument names.
#[inline]
pub(super) fn read_element(value: Value<'_>) -> Result<Element, String> {
    if value.kind() != TEXT {
        let given = value.kind_name();
        return Err(format!("element type: expected TEXT, one of f32, f16, i8, bit; {given} given"));
    }
    match Element::ALL.into_iter().find(|element| element.name().as_bytes() == value.utf8()) {
        Some(element) => Ok(element),
        None => value.text().parse().map_err(|error: UnknownElement| error.to_string()),
    }
}

fn named<M: Measure>(problem: &str) -> String {
    format!("kv_{}_distance: {problem}", M::METRIC)
}

/// `SQLite` keeps what is remembered about constant arguments only, and does not say which ones are constant,
/// so the first row offers both.
fn first_row<M: Measure>(
    context: Context,
    element: Element,
    left: &[u8],
    right: &[u8],
) -> Result<f64, DistanceError> {
    let query = Query::from_bytes(M::METRIC, element, right)?;
    let distance = query.distance(left)?;
    context.remember(1, query);
    context.remember(0, Query::from_bytes(M::METRIC, element, left)?);
    Ok(distance)
}

#[inline]
fn vector<M: Measure>(value: Value<'_>, element: Element) -> Result<&[u8], String> {
    if value.kind() == BLOB {
        return Ok(value.blob());
    }
    let given = value.kind_name();
    Err(named::<M>(&format!("{given} given; expected a BLOB of {}", packed_form(element))))
}

/// What vectors are made of, for error messages.
pub(super) fn packed_form(element: Element) -> &'static str {
    match element {
        Element::F32 => "little-endian f32",
        Element::F16 => "little-endian f16",
        Element::I8 => "i8",
        Element::Bit => "packed bits",
    }
}

#[cold]
fn explain<M: Measure>(element: Element, left: &[u8], right: &[u8], error: DistanceError) -> String {
    let (left, right) = (left.len(), right.len());
    named::<M>(&match error {
        DistanceError::Length { .. } => format!(
            "the vectors have {} and {} dimensions; expected equal numbers",
            left / element.cell_bytes(),
            right / element.cell_bytes()
        ),
        DistanceError::Bytes { .. } => {
            format!("the vectors have {left} and {right} bytes of bits; expected equal numbers")
        }
        DistanceError::Ragged { .. } => format!(
            "the vectors have {left} and {right} bytes; expected {}, multiples of {}",
            packed_form(element),
            element.cell_bytes()
        ),
        other => other.to_string(),
    })
}
