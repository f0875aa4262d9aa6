//! Dates, times, spans and zones.
//!
//! ```text
//! date        year u16 | month u8 | day u8
//! time        hour u8 | minute u8 | second u8 | fold u8 | microsecond u32 | zone
//! datetime    date | time
//! timedelta   days i32 | seconds u32 | microseconds u32
//! zone        empty (none) | 00, offset i64 in microseconds | 01, key of a ZoneInfo | 02, offset, name
//! ```

use kohakuvault_core::packing::extension;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyDate, PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyString, PyTime, PyTimeAccess, PyTuple,
    PyTzInfo, PyTzInfoAccess,
};

use super::classes::classes;
use super::number::wrong;

const OFFSET: u8 = 0;
const KEY: u8 = 1;
const NAMED_OFFSET: u8 = 2;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The extension type and payload of a value of this module's types; `None` for any other, and for zones of
/// other classes.
pub(super) fn payload(value: &Bound<'_, PyAny>) -> PyResult<Option<(i8, Vec<u8>)>> {
    let mut out = Vec::new();
    let kind = if let Ok(value) = value.cast_exact::<PyDateTime>() {
        write_date(&mut out, value);
        write_time(&mut out, value);
        if !write_zone_of(&mut out, value)? {
            return Ok(None);
        }
        extension::DATETIME
    } else if let Ok(value) = value.cast_exact::<PyDate>() {
        write_date(&mut out, value);
        extension::DATE
    } else if let Ok(value) = value.cast_exact::<PyTime>() {
        write_time(&mut out, value);
        if !write_zone_of(&mut out, value)? {
            return Ok(None);
        }
        extension::TIME
    } else if let Ok(value) = value.cast_exact::<PyDelta>() {
        for part in [value.get_days(), value.get_seconds(), value.get_microseconds()] {
            out.extend_from_slice(&part.to_le_bytes());
        }
        extension::TIMEDELTA
    } else {
        if !write_zone(&mut out, value)? {
            return Ok(None);
        }
        extension::ZONE
    };
    Ok(Some((kind, out)))
}

fn write_date(out: &mut Vec<u8>, value: &impl PyDateAccess) {
    // Years are 1 to 9999.
    out.extend_from_slice(&u16::try_from(value.get_year()).unwrap_or_default().to_le_bytes());
    out.extend_from_slice(&[value.get_month(), value.get_day()]);
}

fn write_time(out: &mut Vec<u8>, value: &impl PyTimeAccess) {
    let fold = u8::from(value.get_fold());
    out.extend_from_slice(&[value.get_hour(), value.get_minute(), value.get_second(), fold]);
    out.extend_from_slice(&value.get_microsecond().to_le_bytes());
}

fn write_zone_of<'py>(out: &mut Vec<u8>, value: &impl PyTzInfoAccess<'py>) -> PyResult<bool> {
    value.get_tzinfo().map_or(Ok(true), |zone| write_zone(out, zone.as_any()))
}

/// False for what is neither a `timezone` nor a `ZoneInfo` with a key.
fn write_zone(out: &mut Vec<u8>, zone: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = zone.py();
    let classes = classes(py)?;
    let class = zone.get_type();
    if class.is(&classes.timezone) {
        let arguments = zone.call_method0(intern!(py, "__getinitargs__"))?.cast_into::<PyTuple>()?;
        let offset = arguments.get_item(0)?.cast_into::<PyDelta>()?;
        let micros = i64::from(offset.get_days()) * DAY
            + i64::from(offset.get_seconds()) * SECOND
            + i64::from(offset.get_microseconds());
        let name = arguments.get_item(1).ok();
        out.push(if name.is_some() { NAMED_OFFSET } else { OFFSET });
        out.extend_from_slice(&micros.to_le_bytes());
        if let Some(name) = name {
            out.extend_from_slice(name.cast::<PyString>()?.to_str()?.as_bytes());
        }
        Ok(true)
    } else if class.is(&classes.zone_info) {
        let key = zone.getattr(intern!(py, "key"))?;
        let Ok(key) = key.cast::<PyString>() else { return Ok(false) };
        out.push(KEY);
        out.extend_from_slice(key.to_str()?.as_bytes());
        Ok(true)
    } else {
        Ok(false)
    }
}

pub(super) fn date_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut fields = Fields(payload);
    let (year, month, day) = fields.date()?;
    fields.end()?;
    Ok(PyDate::new(py, year, month, day)?.into_any())
}

pub(super) fn time_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut fields = Fields(payload);
    let ([hour, minute, second, fold], micros) = fields.time()?;
    let zone = zone_of(py, fields.0)?;
    Ok(PyTime::new_with_fold(py, hour, minute, second, micros, zone.as_ref(), fold == 1)?.into_any())
}

pub(super) fn datetime_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut fields = Fields(payload);
    let (year, month, day) = fields.date()?;
    let ([hour, minute, second, fold], micros) = fields.time()?;
    let zone = zone_of(py, fields.0)?;
    let zone = zone.as_ref();
    let value =
        PyDateTime::new_with_fold(py, year, month, day, hour, minute, second, micros, zone, fold == 1)?;
    Ok(value.into_any())
}

pub(super) fn timedelta_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut fields = Fields(payload);
    let days = i32::from_le_bytes(fields.array()?);
    let seconds = i32::from_le_bytes(fields.array()?);
    let micros = i32::from_le_bytes(fields.array()?);
    fields.end()?;
    if !(0..86_400).contains(&seconds) || !(0..1_000_000).contains(&micros) {
        return Err(wrong("timedelta"));
    }
    Ok(PyDelta::new(py, days, seconds, micros, true)?.into_any())
}

/// The zone of a payload of its own.
pub(super) fn only_zone_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Ok(zone_of(py, payload)?.ok_or_else(|| wrong("time zone"))?.into_any())
}

fn zone_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Option<Bound<'py, PyTzInfo>>> {
    let Some((kind, rest)) = payload.split_first() else { return Ok(None) };
    let classes = classes(py)?;
    let zone = match *kind {
        OFFSET | NAMED_OFFSET => {
            let mut fields = Fields(rest);
            let micros = i64::from_le_bytes(fields.array()?);
            let offset = span(py, micros)?;
            let timezone = classes.timezone.bind(py);
            if *kind == NAMED_OFFSET {
                timezone.call1((offset, PyString::from_bytes(py, fields.0)?))?
            } else {
                fields.end()?;
                timezone.call1((offset,))?
            }
        }
        KEY => classes.zone_info.bind(py).call1((PyString::from_bytes(py, rest)?,))?,
        _ => return Err(wrong("time zone")),
    };
    Ok(Some(zone.cast_into::<PyTzInfo>()?))
}

fn span(py: Python<'_>, micros: i64) -> PyResult<Bound<'_, PyDelta>> {
    let days = i32::try_from(micros.div_euclid(DAY))?;
    let rest = micros.rem_euclid(DAY);
    PyDelta::new(py, days, i32::try_from(rest / SECOND)?, i32::try_from(rest % SECOND)?, true)
}

/// The timestamp of the `MessagePack` specification: seconds since 1970, and nanoseconds, of which Python's
/// datetime keeps the microseconds.
pub(super) fn timestamp_of<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (seconds, nanos) = if let Ok(bytes) = <[u8; 4]>::try_from(payload) {
        (i64::from(u32::from_be_bytes(bytes)), 0)
    } else if let Ok(bytes) = <[u8; 8]>::try_from(payload) {
        let both = u64::from_be_bytes(bytes);
        (i64::try_from(both & 0x3_FFFF_FFFF)?, u32::try_from(both >> 34)?)
    } else {
        let mut fields = Fields(payload);
        let nanos = u32::from_be_bytes(fields.array()?);
        let seconds = i64::from_be_bytes(fields.array()?);
        fields.end()?;
        (seconds, nanos)
    };
    if nanos >= 1_000_000_000 {
        return Err(wrong("timestamp"));
    }
    let utc = PyTzInfo::utc(py)?.to_owned();
    let epoch = PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&utc))?;
    let days = i32::try_from(seconds.div_euclid(86_400))?;
    let rest = i32::try_from(seconds.rem_euclid(86_400))?;
    epoch.as_any().add(PyDelta::new(py, days, rest, i32::try_from(nanos / 1000)?, true)?)
}

/// The rest of a payload.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| wrong("date or time"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn date(&mut self) -> PyResult<(i32, u8, u8)> {
        let year = u16::from_le_bytes(self.array()?).into();
        let [month, day] = self.array()?;
        Ok((year, month, day))
    }

    fn time(&mut self) -> PyResult<([u8; 4], u32)> {
        let fields @ [_, _, _, fold] = self.array()?;
        let micros = u32::from_le_bytes(self.array()?);
        if fold > 1 || micros >= 1_000_000 {
            return Err(wrong("time"));
        }
        Ok((fields, micros))
    }

    fn end(&self) -> PyResult<()> {
        if self.0.is_empty() { Ok(()) } else { Err(wrong("date or time")) }
    }
}
