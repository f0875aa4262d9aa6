//! Distances against double precision, by all kernels.

use super::*;
use proptest::prelude::*;

fn reference(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    match metric {
        Metric::Cosine => {
            let dot: f64 = pairs().map(|(a, b)| a * b).sum();
            let norms: f64 = pairs().map(|(a, _)| a * a).sum::<f64>().sqrt()
                * pairs().map(|(_, b)| b * b).sum::<f64>().sqrt();
            1.0 - dot / norms
        }
        Metric::L2 => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
        Metric::L1 => pairs().map(|(a, b)| (a - b).abs()).sum(),
        #[allow(clippy::cast_precision_loss)]
        Metric::Hamming => pairs().filter(|(a, b)| (*a > 0.0) != (*b > 0.0)).count() as f64,
        Metric::Ip => -pairs().map(|(a, b)| a * b).sum::<f64>(),
    }
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(scale)
}

const NUMBERS: [Element; 3] = [Element::F32, Element::F16, Element::I8];

/// By all kernels that this machine can run.
fn by_all_kernels(metric: Metric, element: Element, a: &[f32], b: &[f32]) -> Vec<f64> {
    let pack = |values: &[f32]| element.encode(values.iter().copied().map(f64::from)).unwrap();
    let query = pack(a);
    // One leading byte makes the row unaligned, as in a database page.
    let mut row = vec![0xAA];
    row.extend(pack(b));
    let kernels: Vec<Kernels> = match element {
        Element::F32 | Element::Bit => Kernels::usable::<4>().collect(),
        Element::F16 => Kernels::usable::<2>().collect(),
        Element::I8 => Kernels::usable::<1>().collect(),
    };
    let distance = |kernels| {
        let values = element.decode(&query);
        let query = Query::with_kernels(metric, element, values, &query, kernels).unwrap();
        query.distance(&row[1..]).unwrap()
    };
    kernels.into_iter().map(distance).collect()
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// What errors are relative to, where not to the distance: cosine subtracts from 1, and an inner product may
/// cancel out.
fn scale(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::Cosine => 1.0,
        Metric::Ip => norm(a) * norm(b),
        _ => 1e-300,
    }
}

proptest! {
    #[test]
    fn agrees_with_double_precision(
        pairs in proptest::collection::vec((-100.0f32..100.0, -100.0f32..100.0), 1..1200),
    ) {
        for element in NUMBERS {
            // What the element holds of the numbers.
            let store = |value: f32| match element {
                Element::I8 => value.round(),
                _ => element.decode(&element.encode([f64::from(value)]).unwrap())[0],
            };
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().map(|&(a, b)| (store(a), store(b))).unzip();
            for metric in Metric::ALL {
                if metric == Metric::Cosine && (norm(&a) == 0.0 || norm(&b) == 0.0) {
                    continue;
                }
                let expected = reference(metric, &a, &b);
                for got in by_all_kernels(metric, element, &a, &b) {
                    let same = close(got, expected, scale(metric, &a, &b));
                    prop_assert!(same, "{metric} of {element}: {got} != {expected}");
                }
            }
        }
    }

    #[test]
    fn differing_bits_are_counted(pairs in proptest::collection::vec(any::<(bool, bool)>(), 1..2000)) {
        let float = |bit: bool| f32::from(u8::from(bit));
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().map(|&(a, b)| (float(a), float(b))).unzip();
        let expected = reference(Metric::Hamming, &a, &b);
        let got = by_all_kernels(Metric::Hamming, Element::Bit, &a, &b);
        prop_assert!(got.iter().all(|&got| got == expected), "{got:?} != {expected}");
    }

    #[test]
    fn any_bytes_have_a_distance_or_an_error(query: Vec<u8>, row: Vec<u8>) {
        for (element, metric) in Element::ALL.into_iter().flat_map(|e| Metric::ALL.map(|m| (e, m))) {
            if let Ok(query) = Query::from_bytes(metric, element, &query) {
                prop_assert_eq!(query.distance(&row).is_ok(), row.len() == query.row_bytes());
            }
        }
    }
}

#[test]
fn long_vectors_stay_precise() {
    #[allow(clippy::cast_precision_loss)]
    let a: Vec<f32> = (0..4096).map(|i| 1.0 + (i % 17) as f32 / 7.0).collect();
    #[allow(clippy::cast_precision_loss)]
    let b: Vec<f32> = (0..4096).map(|i| 0.3 + (i % 29) as f32 / 3.0).collect();
    for metric in Metric::ALL {
        for got in by_all_kernels(metric, Element::F32, &a, &b) {
            assert!(close(got, reference(metric, &a, &b), 0.0), "{metric}");
        }
    }
}

#[test]
fn equal_vectors_are_at_distance_zero() {
    #[allow(clippy::cast_precision_loss)]
    let a: Vec<f32> = (1..300).map(|i| (i as f32).sin()).collect();
    for metric in [Metric::Cosine, Metric::L2, Metric::L1, Metric::Hamming] {
        for element in [Element::F32, Element::F16] {
            let got = by_all_kernels(metric, element, &a, &a);
            assert!(got.iter().all(|&got| got == 0.0), "{metric} {element} {got:?}");
        }
    }
}

#[test]
fn a_query_is_rounded_as_rows_are() {
    let query = Query::from_values(Metric::L2, Element::F16, &[0.1, 1e-4]).unwrap();
    let row = Element::F16.encode([0.1, 1e-4]).unwrap();
    assert_eq!(query.distance(&row), Ok(0.0));
    assert_eq!(query.values(), Element::F16.decode(&row));
    let error = Query::from_values(Metric::L2, Element::I8, &[0.5]).unwrap_err();
    assert_eq!(error.to_string(), "dimension 0 is 0.5; expected integers from -128 to 127");
}

#[test]
fn zero_norm_has_no_cosine() {
    for element in NUMBERS {
        for (a, b) in [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0])] {
            assert!(by_all_kernels(Metric::Cosine, element, &a, &b).iter().all(|d| d.is_nan()));
        }
    }
}

#[test]
fn no_inner_product_is_a_positive_zero() {
    for element in NUMBERS {
        for distance in by_all_kernels(Metric::Ip, element, &[1.0, 0.0], &[0.0, 1.0]) {
            assert_eq!(distance.to_bits(), 0, "{element}");
        }
    }
}

#[test]
fn extreme_magnitudes_neither_overflow_nor_vanish() {
    for magnitude in [1e-38f32, 1e-25, 1e25, 3e38] {
        let a = vec![magnitude, 0.0, magnitude];
        let b = vec![0.0, magnitude, magnitude];
        for metric in Metric::ALL {
            for got in by_all_kernels(metric, Element::F32, &a, &b) {
                assert!(close(got, reference(metric, &a, &b), 0.0), "{metric} {magnitude} {got}");
            }
        }
    }
    for magnitude in [6e-8f32, 65504.0] {
        let [magnitude] = Element::F16.decode(&Element::F16.encode([magnitude.into()]).unwrap())[..] else {
            panic!("one number")
        };
        let (a, b) = (vec![magnitude; 300], vec![-magnitude; 300]);
        for metric in Metric::ALL {
            for got in by_all_kernels(metric, Element::F16, &a, &b) {
                assert!(close(got, reference(metric, &a, &b), 0.0), "{metric} {magnitude} {got}");
            }
        }
    }
}

#[test]
fn lengths_must_agree() {
    let query = Query::new(Metric::L2, vec![1.0, 2.0]).unwrap();
    assert_eq!(query.distance(&[0; 12]), Err(DistanceError::Length { query: 2, row: 3 }));
    assert_eq!(query.distance(&[0; 7]), Err(DistanceError::Ragged { bytes: 7, element: Element::F32 }));
    assert_eq!(Query::new(Metric::L2, vec![]).unwrap_err(), DistanceError::Empty);
    let query = Query::from_bytes(Metric::L2, Element::F16, &[0; 4]).unwrap();
    assert_eq!(query.distance(&[0; 6]), Err(DistanceError::Length { query: 2, row: 3 }));
    assert_eq!(query.distance(&[0; 7]), Err(DistanceError::Ragged { bytes: 7, element: Element::F16 }));
    let query = Query::from_bytes(Metric::Hamming, Element::Bit, &[0; 4]).unwrap();
    assert_eq!(query.distance(&[0; 6]), Err(DistanceError::Bytes { query: 4, row: 6 }));
    assert_eq!(query.dimensions(), 32);
}

#[test]
fn bits_have_hamming_only() {
    for metric in Metric::ALL {
        let query = Query::from_bytes(metric, Element::Bit, &[0xF0]);
        if metric == Metric::Hamming {
            assert_eq!(query.unwrap().distance(&[0x0F]), Ok(8.0));
        } else {
            let error = DistanceError::Metric { metric, element: Element::Bit };
            assert_eq!(query.unwrap_err(), error);
        }
    }
}
