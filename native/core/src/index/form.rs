//! How the vectors of an index are encoded, and how its blocks are searched.

use std::fmt;
use std::str::FromStr;

use super::rotation::Rotation;
use super::{Candidates, eight_bit, id_of, one_bit, rounded_up, signs};
use crate::metric::Metric;
use eight_bit::Compared;
use one_bit::Estimated;

/// What an entry says about its vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    OneBit,
    EightBit,
    Signs,
}

impl Code {
    pub const ALL: [Self; 3] = [Self::OneBit, Self::EightBit, Self::Signs];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OneBit => "one-bit",
            Self::EightBit => "eight-bit",
            Self::Signs => "signs",
        }
    }

    fn encodes(self, metric: Metric) -> bool {
        match self {
            Self::OneBit => matches!(metric, Metric::Cosine | Metric::L2 | Metric::Ip),
            Self::EightBit => !matches!(metric, Metric::Hamming),
            Self::Signs => matches!(metric, Metric::Hamming),
        }
    }
}

impl FromStr for Code {
    type Err = FormError;

    fn from_str(name: &str) -> Result<Self, FormError> {
        Self::ALL
            .into_iter()
            .find(|code| code.name() == name)
            .ok_or_else(|| FormError(format!("unknown code {:?}", crate::text::shorten(name))))
    }
}

/// Why vectors cannot be encoded, or a block cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormError(pub String);

impl fmt::Display for FormError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for FormError {}

/// The most dimensions that vectors of an index have: far more than anyone's.
pub const MOST_DIMENSIONS: usize = 1 << 20;

/// Everything that an index's entries depend on.
#[derive(Clone, Debug)]
pub struct Form {
    code: Code,
    metric: Metric,
    dimensions: usize,
    /// Of one-bit codes; the mean is rotated.
    rotation: Option<(Rotation, Vec<f32>)>,
}

impl Form {
    /// `mean` (of [`Form::normalised`] vectors) and `seed` matter to one-bit codes only; any mean is correct, that of all
    /// vectors is best.
    pub fn new(
        code: Code,
        metric: Metric,
        dimensions: usize,
        seed: u64,
        mean: &[f32],
    ) -> Result<Self, FormError> {
        if !code.encodes(metric) {
            return Err(FormError(format!("{} codes cannot be compared by {metric}", code.name())));
        }
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            return Err(FormError(format!(
                "vectors of {dimensions} dimensions given; those of an index have 1 to {MOST_DIMENSIONS}"
            )));
        }
        let rotation = if code == Code::OneBit {
            if mean.len() != dimensions {
                let given = mean.len();
                return Err(FormError(format!("a mean of {given} dimensions given; expected {dimensions}")));
            }
            let rotation = Rotation::new(dimensions, seed);
            let mut rotated = Vec::new();
            one_bit::rotated(&rotation, mean, &mut rotated);
            Some((rotation, rotated))
        } else {
            None
        };
        Ok(Self { code, metric, dimensions, rotation })
    }

    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        match self.code {
            Code::OneBit => one_bit::entry_bytes(self.dimensions),
            Code::EightBit => eight_bit::entry_bytes(self.dimensions),
            Code::Signs => signs::entry_bytes(self.dimensions),
        }
    }

    /// The vector as it is compared: of length 1 for cosine. `None`: it has no direction.
    #[must_use]
    pub fn normalised(&self, mut vector: Vec<f32>) -> Option<Vec<f32>> {
        if self.metric != Metric::Cosine {
            return Some(vector);
        }
        let squares: f64 = vector.iter().map(|&value| f64::from(value).powi(2)).sum();
        let norm = squares.sqrt();
        for value in &mut vector {
            #[allow(clippy::cast_possible_truncation, reason = "at most 1")]
            let scaled = (f64::from(*value) / norm) as f32;
            *value = scaled;
        }
        (norm > 0.0 && norm.is_finite()).then_some(vector)
    }

    /// Appends the entry of a vector. Factors of one without direction are not numbers.
    pub fn encode(&self, id: i64, vector: Vec<f32>, into: &mut Vec<u8>) -> Result<(), FormError> {
        let given = vector.len();
        if given != self.dimensions {
            return Err(FormError(format!(
                "row {id}: the vector has {given} dimensions; the index has {}",
                self.dimensions
            )));
        }
        let end = into.len() + self.entry_bytes();
        into.extend(id.to_le_bytes());
        match self.normalised(vector) {
            Some(vector) => match (self.code, &self.rotation) {
                (Code::OneBit, Some((rotation, mean))) => {
                    let mut vector = vector;
                    rotation.rotate(&mut vector);
                    one_bit::encode(&vector, mean, self.estimated(), into);
                }
                (Code::Signs, _) => signs::encode(&vector, into),
                _ => eight_bit::encode(&vector, self.compared(), into),
            },
            None => into.extend([f32::NAN; 3].iter().flat_map(|factor| factor.to_le_bytes())),
        }
        into.resize(end, 0);
        Ok(())
    }

    /// Makes a query ready. `None` for one without direction: nothing bounds its distances.
    #[must_use]
    pub fn scan(&self, query: Vec<f32>) -> Option<Scan> {
        let query = self.normalised(query)?;
        let prepared = match (self.code, &self.rotation) {
            (Code::OneBit, Some((rotation, mean))) => {
                let mut query = query;
                rotation.rotate(&mut query);
                Prepared::OneBit(one_bit::Prepared::new(&query, mean, self.estimated()))
            }
            (Code::Signs, _) => {
                let mut code = Vec::new();
                signs::encode(&query, &mut code);
                Prepared::Signs(code)
            }
            _ => Prepared::EightBit(eight_bit::Prepared::new(query, self.compared())),
        };
        Some(Scan {
            entry: self.entry_bytes(),
            metric: self.metric,
            is_one_bit: self.code == Code::OneBit,
            prepared,
            bounds: Vec::new(),
        })
    }

    fn estimated(&self) -> Estimated {
        if self.metric == Metric::Ip { Estimated::Product } else { Estimated::Distance }
    }

    fn compared(&self) -> Compared {
        match self.metric {
            Metric::Cosine => Compared::Cosine,
            Metric::L2 => Compared::Squares,
            Metric::L1 => Compared::Differences,
            _ => Compared::Product,
        }
    }
}

/// A search of blocks in progress.
#[derive(Clone, Debug)]
pub struct Scan {
    entry: usize,
    metric: Metric,
    is_one_bit: bool,
    prepared: Prepared,
    bounds: Vec<[f32; 2]>,
}

#[derive(Clone, Debug)]
enum Prepared {
    OneBit(one_bit::Prepared),
    EightBit(eight_bit::Prepared),
    Signs(Vec<u8>),
}

impl Scan {
    /// The score by which candidates of this scan are bounded, of a row at `distance`; NaN distances are farthest.
    #[must_use]
    pub fn score(&self, distance: f64) -> f32 {
        if distance.is_nan() {
            return f32::INFINITY;
        }
        rounded_up(match self.metric {
            Metric::L2 => distance * distance,
            Metric::Cosine if self.is_one_bit => 2.0 * distance,
            _ => distance,
        })
    }

    /// Whether bounds are certain, rather than probable.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !self.is_one_bit
    }

    /// Offers the entries of a block whose ids `accept` accepts, and returns how many there are. Entries that are too
    /// far away are not asked about, and counted, unless `asks_all`.
    pub fn block(
        &mut self,
        block: &[u8],
        into: &mut Candidates,
        asks_all: bool,
        accept: impl Fn(i64) -> bool,
    ) -> Result<usize, FormError> {
        if !block.len().is_multiple_of(self.entry) {
            return Err(FormError(format!(
                "{} bytes given; expected entries of {} bytes",
                block.len(),
                self.entry
            )));
        }
        let entries = block.len() / self.entry;
        if self.bounds.len() < entries {
            self.bounds.resize(entries, [0.0; 2]);
        }
        match &self.prepared {
            Prepared::OneBit(query) => one_bit::bounds(query, block, self.entry, &mut self.bounds),
            Prepared::EightBit(query) => eight_bit::bounds(query, block, self.entry, &mut self.bounds),
            Prepared::Signs(query) => signs::bounds(query, block, self.entry, &mut self.bounds),
        }
        let mut counted = 0;
        for (entry, &[lower, upper]) in block.chunks_exact(self.entry).zip(&self.bounds) {
            // A vector without direction has no distance, which is farther than any.
            let is_nowhere = lower.is_nan() && self.metric == Metric::Cosine;
            let [lower, upper] = if is_nowhere { [f32::INFINITY; 2] } else { [lower, upper] };
            if lower > into.limit() && !asks_all {
                counted += 1;
                continue;
            }
            let id = id_of(entry);
            if accept(id) {
                counted += 1;
                into.offer(lower, upper, id);
            }
        }
        Ok(counted)
    }
}
