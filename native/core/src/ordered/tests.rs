//! Every structure against `BTreeMap`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::skip_list::SkipList;
use super::tree::Tree;
use super::{Sorted, count_below};

#[derive(Clone, Debug)]
enum Step {
    Insert(i32, u32),
    Remove(i32),
    Find(i32),
    Each(i32, i32),
}

type Model = BTreeMap<i32, u32>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..400;
    prop::collection::vec(
        prop_oneof![
            3 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
            2 => key.clone().prop_map(Step::Remove),
            1 => key.clone().prop_map(Step::Find),
            1 => (key.clone(), key).prop_map(|(low, high): (i32, i32)| Step::Each(low.min(high), low.max(high))),
        ],
        0..600,
    )
}

/// Where a key is or belongs, found in both ways.
fn find(map: &impl Sorted<i32, u32>, key: i32) -> (super::Place, bool) {
    let place = map.lower_bound(|keys| count_below(keys, |each| *each, key));
    let mut search = map.begin();
    while let Some(each) = map.probe(&search) {
        let is_below = *each < key;
        map.turn(&mut search, is_below);
    }
    assert_eq!(search.place(), place);
    (place, map.entry(place).is_some_and(|(there, _)| *there == key))
}

fn entries(map: &impl Sorted<i32, u32>) -> Vec<(i32, u32)> {
    let mut found = Vec::new();
    map.each(map.start(), map.end(), |key, value| found.push((*key, *value)));
    found
}

fn has(map: &impl Sorted<i32, u32>, model: &Model) {
    assert_eq!(map.check(), Vec::<String>::new());
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    assert!(entries(map).iter().map(|(key, value)| (key, value)).eq(model));
    let mut backward = Vec::new();
    let mut place = map.end();
    while let Some(before) = map.before(place) {
        backward.extend(map.entry(before));
        place = before;
    }
    assert!(backward.into_iter().eq(model.iter().rev()));
    assert_eq!(map.first(), model.first_key_value());
    assert_eq!(map.last(), model.last_key_value());
    assert_eq!(map.entry(map.end()), None);
    let mut keys = 0;
    let mut values = 0;
    let _: Result<(), ()> = map.visit(
        |_| {
            keys += 1;
            Ok(())
        },
        |_| {
            values += 1;
            Ok(())
        },
    );
    assert!(keys >= model.len());
    assert_eq!(values, model.len());
}

fn apply(map: &mut impl Sorted<i32, u32>, model: &mut Model, step: &Step) {
    match *step {
        Step::Insert(key, value) => {
            let (place, found) = find(map, key);
            assert_eq!(found, model.contains_key(&key));
            if found {
                assert_eq!(map.replace(place, value), model.insert(key, value));
            } else {
                map.insert(place, key, value);
                model.insert(key, value);
            }
        }
        Step::Remove(key) => {
            let (place, found) = find(map, key);
            assert_eq!(found, model.contains_key(&key));
            if found {
                assert_eq!(map.remove(place).map(|(_, value)| value), model.remove(&key));
            }
        }
        Step::Find(key) => {
            let (place, found) = find(map, key);
            assert_eq!(map.entry(place), model.range(key..).next());
            let before = map.before(place).and_then(|place| map.entry(place));
            assert_eq!(before, model.range(..key).next_back());
            if found {
                assert_eq!(map.entry(map.after(place)), model.range(key + 1..).next());
            }
        }
        Step::Each(low, high) => {
            let mut found = Vec::new();
            map.each(find(map, low).0, find(map, high).0, |key, value| found.push((key, value)));
            assert!(found.into_iter().eq(model.range(low..high)));
        }
    }
}

fn follow(mut map: impl Sorted<i32, u32>, steps: &[Step]) {
    let mut model = BTreeMap::new();
    for step in steps {
        apply(&mut map, &mut model, step);
        has(&map, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tree_is_what_a_btree_map_is(steps in steps(), order in 1_usize..12) {
        follow(Tree::new(order), &steps);
    }

    #[test]
    fn a_skip_list_is_what_a_btree_map_is(steps in steps()) {
        follow(SkipList::new(), &steps);
    }

    #[test]
    fn a_snapshot_stays_what_it_was(before in steps(), after in steps(), front in 0_usize..500) {
        let mut list = SkipList::new();
        let mut model = BTreeMap::new();
        for step in &before {
            apply(&mut list, &mut model, step);
        }
        let mut snapshot = list.snapshot();
        let expected: Vec<(i32, u32)> = model.iter().map(|(key, value)| (*key, *value)).collect();
        for step in &after {
            apply(&mut list, &mut model, step);
        }
        has(&list, &model);
        // From both ends, until they meet.
        let front = front.min(expected.len());
        let mut found = Vec::new();
        for _ in 0..front {
            found.extend(snapshot.next_entry().map(|(key, value)| (*key, *value)));
        }
        let mut back = Vec::new();
        while let Some((key, value)) = snapshot.previous_entry() {
            back.push((*key, *value));
        }
        found.extend(back.into_iter().rev());
        assert_eq!(found, expected);
        assert_eq!(snapshot.next_entry(), None);
    }
}

proptest! {
    #[test]
    fn numbers_below_one_are_counted(
        mut numbers in prop::collection::vec(-50_i64..50, 0..300), number in -60_i64..60
    ) {
        numbers.sort_unstable();
        assert_eq!(count_below(&numbers, |each| *each, number), numbers.partition_point(|each| *each < number));
    }
}

fn many(mut map: impl Sorted<i32, u32>) {
    let mut model = BTreeMap::new();
    for key in 0..20_000 {
        apply(&mut map, &mut model, &Step::Insert(key, 1));
    }
    has(&map, &model);
    for key in (0..20_000).step_by(2).chain((1..20_000).step_by(2)) {
        apply(&mut map, &mut model, &Step::Remove(key));
    }
    has(&map, &model);
    for key in (0..5_000).rev() {
        apply(&mut map, &mut model, &Step::Insert(key, 2));
    }
    has(&map, &model);
    for key in (0..5_000).map(|number| number * 37 % 5_000) {
        apply(&mut map, &mut model, &Step::Remove(key));
    }
    has(&map, &model);
}

#[test]
fn many_keys_in_order_and_back() {
    many(Tree::new(64));
    many(Tree::new(8));
    many(SkipList::new());
}

#[test]
fn keys_that_are_converted_stay_where_they_are() {
    let mut tree = Tree::new(8);
    let mut list = SkipList::new();
    let mut model = BTreeMap::new();
    for key in (0..1000).map(|number| number * 387 % 1000) {
        let place = tree.lower_bound(|keys| count_below(keys, |each| *each, key));
        tree.insert(place, key, 1_u32);
        let place = list.lower_bound(|keys| count_below(keys, |each| *each, key));
        list.insert(place, key, 1_u32);
        model.insert(key - 5, 1);
    }
    let places = (
        tree.lower_bound(|keys| count_below(keys, |each| *each, 500)),
        list.lower_bound(|keys| count_below(keys, |each| *each, 500)),
    );
    let snapshot = list.snapshot();
    let (tree, list) = (tree.convert(|key| key - 5), list.convert(|key| key - 5));
    has(&tree, &model);
    has(&list, &model);
    assert_eq!(tree.entry(places.0), Some((&495, &1)));
    assert_eq!(list.entry(places.1), Some((&495, &1)));
    drop(snapshot);
}

#[test]
fn keys_in_order_fill_their_nodes() {
    let mut tree = Tree::new(64);
    for key in 0..6400 {
        tree.insert(tree.end(), key, 0);
    }
    let mut nodes = 1;
    let mut node = tree.start().node;
    while let Some(next) = tree.next_node(node) {
        nodes += 1;
        node = next;
    }
    assert_eq!(nodes, 100);
}
