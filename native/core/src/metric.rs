//! How the distance of two vectors is measured.

use std::fmt;
use std::str::FromStr;

/// How far apart two vectors are; smaller is nearer for every metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// `1 - a·b / (|a| |b|)`, in `[0, 2]`; not a number where a norm is zero.
    Cosine,
    /// Euclidean distance (with the square root).
    L2,
    /// Sum of absolute differences.
    L1,
    /// Number of dimensions in which exactly one of the two is greater than zero.
    Hamming,
    /// Negative inner product, `-a·b`.
    Ip,
}

impl Metric {
    pub const ALL: [Self; 5] = [Self::Cosine, Self::L2, Self::L1, Self::Hamming, Self::Ip];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::L2 => "l2",
            Self::L1 => "l1",
            Self::Hamming => "hamming",
            Self::Ip => "ip",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The name is not one of [`Metric::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMetric(pub String);

impl fmt::Display for UnknownMetric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "unknown metric {:?}; expected one of cosine, l2, l1, hamming, ip",
            crate::text::shorten(&self.0)
        )
    }
}

impl std::error::Error for UnknownMetric {}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        Self::ALL
            .into_iter()
            .find(|metric| metric.name() == name)
            .ok_or_else(|| UnknownMetric(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        let error = "cos".parse::<Metric>().unwrap_err();
        assert_eq!(error.to_string(), r#"unknown metric "cos"; expected one of cosine, l2, l1, hamming, ip"#);
    }
}
