//! Codes of vectors beside the distances in double precision.

use super::*;
use crate::metric::Metric;
use proptest::prelude::*;

/// Vectors of any magnitude: random, constant, or mostly zeros.
fn vector(dimensions: usize) -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![4 => -1.0f32..1.0, 1 => Just(0.0f32), 1 => Just(1.0f32), 1 => -1e-6f32..1e-6];
    let exponent = prop_oneof![2 => -2i32..3, 1 => -38i32..39];
    let values = prop_oneof![
        3 => proptest::collection::vec(value.clone(), dimensions),
        1 => value.prop_map(move |value| vec![value; dimensions]),
    ];
    (values, exponent).prop_map(|(values, exponent)| {
        let scale = 10f64.powi(exponent);
        #[allow(clippy::cast_possible_truncation)]
        values.into_iter().map(|value| (f64::from(value) * scale) as f32).collect()
    })
}

fn pair() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    let near = (vector(7), 0.0f32..1e-3).prop_map(|(a, by)| {
        let b = a.iter().map(|value| value * (1.0 + by)).collect();
        (a, b)
    });
    let any = (1usize..600).prop_flat_map(|dimensions| (vector(dimensions), vector(dimensions)));
    prop_oneof![4 => any, 1 => near]
}

/// The score that is bounded, and the size of the numbers it is the difference of.
fn score(metric: Metric, a: &[f32], b: &[f32]) -> (f64, f64) {
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let norm = |values: &[f32]| values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    match metric {
        Metric::Cosine => (1.0 - dot / norm(a) / norm(b), 1.0),
        Metric::L2 => (pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>(), 0.0),
        Metric::L1 => (pairs().map(|(a, b)| (a - b).abs()).sum::<f64>(), 0.0),
        Metric::Ip => (-dot, norm(a) * norm(b)),
        #[allow(clippy::cast_precision_loss)]
        Metric::Hamming => (pairs().filter(|(a, b)| (*a > 0.0) != (*b > 0.0)).count() as f64, 0.0),
    }
}

fn form(code: Code, metric: Metric, dimensions: usize) -> Form {
    Form::new(code, metric, dimensions, 42, &vec![0.0; dimensions]).unwrap()
}

/// The bounds of one entry, from minus infinity where nothing is known.
fn bounds_of(scan: &mut Scan, entry: &[u8]) -> [f64; 2] {
    let mut candidates = Candidates::new(1);
    scan.block(entry, &mut candidates, false, |_| true).unwrap();
    let upper = candidates.limit();
    [f64::from(candidates.into_sorted()[0].lower), f64::from(upper)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn bounds_of_eight_bits_are_certain((row, query) in pair()) {
        for metric in [Metric::Cosine, Metric::L2, Metric::L1, Metric::Ip] {
            let form = form(Code::EightBit, metric, row.len());
            let mut entry = Vec::new();
            form.encode(5, row.clone(), &mut entry).unwrap();
            prop_assert_eq!(entry.len(), form.entry_bytes());
            // Without direction nothing is to be bounded.
            let Some(mut scan) = form.scan(query.clone()) else { continue };
            let [lower, upper] = bounds_of(&mut scan, &entry);
            let (true_score, size) = score(metric, &row, &query);
            if true_score.is_nan() {
                prop_assert!(lower == f64::INFINITY);
                continue;
            }
            // What double precision is off by, and what scores are rounded to.
            let slack = 1e-12 * size.max(true_score.abs());
            prop_assert!(lower <= true_score + slack, "{metric}: {lower} > {true_score}");
            prop_assert!(upper >= true_score - slack, "{metric}: {upper} < {true_score}");
        }
    }

    #[test]
    fn signs_are_the_distance((row, query) in pair()) {
        let form = form(Code::Signs, Metric::Hamming, row.len());
        let mut entry = Vec::new();
        form.encode(-1, row.clone(), &mut entry).unwrap();
        let (distance, _) = score(Metric::Hamming, &row, &query);
        prop_assert_eq!(bounds_of(&mut form.scan(query).unwrap(), &entry), [distance; 2]);
    }
}

const FORMS: [(Code, Metric); 8] = [
    (Code::OneBit, Metric::Cosine),
    (Code::OneBit, Metric::L2),
    (Code::OneBit, Metric::Ip),
    (Code::EightBit, Metric::Cosine),
    (Code::EightBit, Metric::L2),
    (Code::EightBit, Metric::Ip),
    (Code::EightBit, Metric::L1),
    (Code::Signs, Metric::Hamming),
];

proptest! {
    #[test]
    fn nothing_panics_on_any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        query in proptest::collection::vec(any::<f32>(), 1..100),
        k in 0usize..5,
    ) {
        for (code, metric) in FORMS {
            let form = form(code, metric, query.len());
            let Some(mut scan) = form.scan(query.clone()) else { continue };
            let mut candidates = Candidates::new(k);
            let is_whole = bytes.len() % form.entry_bytes() == 0;
            prop_assert_eq!(scan.block(&bytes, &mut candidates, false, |_| true).is_ok(), is_whole);
            let whole = bytes.len() / form.entry_bytes();
            let some = &bytes[..whole * form.entry_bytes()];
            prop_assert_eq!(scan.block(some, &mut candidates, true, |_| true), Ok(whole));
            let _ = candidates.into_sorted();
        }
    }

    #[test]
    fn any_numbers_are_encoded(row in proptest::collection::vec(any::<f32>(), 1..100)) {
        for (code, metric) in FORMS {
            let mean = vec![f32::MAX; row.len()];
            let form = Form::new(code, metric, row.len(), 0, &mean).unwrap();
            let mut entry = vec![7];
            form.encode(i64::MIN, row.clone(), &mut entry).unwrap();
            prop_assert_eq!(entry.len(), 1 + form.entry_bytes());
            prop_assert_eq!(id_of(&entry[1..]), i64::MIN);
            let mut candidates = Candidates::new(1);
            if let Some(mut scan) = form.scan(row.clone()) {
                scan.block(&entry[1..], &mut candidates, true, |_| true).unwrap();
            }
            prop_assert!(form.encode(0, vec![0.0; row.len() + 1], &mut entry).is_err());
        }
    }
}

/// About normally distributed numbers, the same for the same seed.
struct Normal(u64);

impl Normal {
    fn vector(&mut self, dimensions: usize, around: f32) -> Vec<f32> {
        #[allow(clippy::cast_precision_loss)]
        let mut uniform = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / (1u32 << 24) as f32
        };
        (0..dimensions).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0 + around).collect()
    }
}

#[test]
#[allow(clippy::cast_precision_loss)]
fn estimates_by_one_bit_are_unbiased_and_mostly_within_their_bounds() {
    for metric in [Metric::Cosine, Metric::L2, Metric::Ip] {
        for dimensions in [48, 64, 100, 384, 768] {
            for around in [0.0, 0.5] {
                let mut normal = Normal(dimensions as u64);
                let mean = vec![around; dimensions];
                let plain = form(Code::EightBit, metric, dimensions);
                let mean = if metric == Metric::Cosine && around > 0.0 {
                    plain.normalised(mean).unwrap()
                } else {
                    mean
                };
                let form = Form::new(Code::OneBit, metric, dimensions, 7, &mean).unwrap();
                let (mut within, mut off, mut width, mut count) = (0, 0.0, 0.0, 0);
                for _ in 0..20 {
                    let query = normal.vector(dimensions, around);
                    let mut scan = form.scan(query.clone()).unwrap();
                    for _ in 0..50 {
                        let row = normal.vector(dimensions, around);
                        let mut entry = Vec::new();
                        form.encode(1, row.clone(), &mut entry).unwrap();
                        let [lower, upper] = bounds_of(&mut scan, &entry);
                        let (true_score, _) = score(metric, &row, &query);
                        let true_score = if metric == Metric::Cosine { 2.0 * true_score } else { true_score };
                        within += usize::from(lower <= true_score && true_score <= upper);
                        off += f64::midpoint(lower, upper) - true_score;
                        width += (upper - lower) / 2.0;
                        count += 1;
                    }
                }
                let case = format!("{metric} {dimensions} {around}");
                assert!(within * 5 >= count * 4, "{case}: {within} of {count} within bounds");
                // A thousand estimates, of a deviation of half the width each.
                assert!(off.abs() < 0.15 * width, "{case}: off by {off} of {width}");
            }
        }
    }
}

#[test]
fn forms_that_there_are_not() {
    for (code, metric, dimensions, mean) in [
        (Code::OneBit, Metric::L1, 3, 3),
        (Code::OneBit, Metric::Hamming, 3, 3),
        (Code::EightBit, Metric::Hamming, 3, 3),
        (Code::Signs, Metric::L2, 3, 3),
        (Code::OneBit, Metric::L2, 3, 2),
        (Code::EightBit, Metric::L2, 0, 0),
        (Code::EightBit, Metric::L2, MOST_DIMENSIONS + 1, 0),
    ] {
        assert!(
            Form::new(code, metric, dimensions, 0, &vec![0.0; mean]).is_err(),
            "{code:?} {metric} {dimensions}"
        );
    }
    assert!("two-bit".parse::<Code>().is_err());
    for code in Code::ALL {
        assert_eq!(code.name().parse(), Ok(code));
    }
}
