use std::collections::BTreeSet;

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use serde::de::DeserializeOwned;
use serde_json::Value;
use trawl_dataset::TRAINS;

use super::{By, CannotSplit, FoldRows, FoldSize, RowKeys, Scheme, Split, Validation};
use crate::seed::{Purpose, Seed};

/// The rows of all folds.
fn cut(validation: Validation, seed: u64, keys: RowKeys<'_>) -> Vec<FoldRows> {
    let folds: BTreeSet<u32> = (0..validation.folds()).collect();
    let rows = Split::Validation(validation).rows(Seed(seed), keys, &folds);
    rows.expect("the rows have what they are split by")
        .into_values()
        .collect()
}

fn sizes(validation: Validation, keys: RowKeys<'_>) -> Vec<FoldSize> {
    validation
        .fold_sizes(Seed(7), keys)
        .expect("the rows have what they are split by")
}

fn plain(rows: u32) -> RowKeys<'static> {
    RowKeys {
        rows,
        ..RowKeys::default()
    }
}

/// Rows with classes.
fn keyed(labels: &[u32]) -> RowKeys<'_> {
    RowKeys {
        rows: labels.len() as u32,
        classes: Some(labels),
        column: None,
    }
}

/// Rows with a split column.
fn by_column(column: &[u32]) -> RowKeys<'_> {
    RowKeys {
        rows: column.len() as u32,
        classes: None,
        column: Some(column),
    }
}

/// Numbers by appearance: 0, 1 and so on, like those of groups.
fn by_appearance(values: &[u32]) -> Vec<u32> {
    let mut seen = Vec::new();
    let number = |value: &u32| match seen.iter().position(|known| known == value) {
        Some(number) => number as u32,
        None => {
            seen.push(*value);
            seen.len() as u32 - 1
        }
    };
    values.iter().map(number).collect()
}

fn k_fold(folds: u32, repeats: u32) -> Validation {
    Validation {
        scheme: Scheme::KFold { folds, repeats },
        ..Validation::k_fold(2)
    }
}

/// Labels of some classes, including rare ones.
fn labels() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0_u32..24, 4..300)
        .prop_map(|drawn| drawn.into_iter().map(|label| label.isqrt()).collect())
}

fn count(rows: &[u32], labels: &[u32], class: u32) -> u32 {
    rows.iter().filter(|row| labels[**row as usize] == class).count() as u32
}

proptest! {
    #[test]
    fn every_row_validates_once_a_repeat(
        seed: u64, labels in labels(), k in 2_u32..12, repeats in 1_u32..4, shuffle: bool, stratify: bool,
    ) {
        let rows = labels.len() as u32;
        let k = k.min(rows);
        let repeats = if shuffle { repeats } else { 1 };
        let validation = Validation { shuffle, stratify, ..k_fold(k, repeats) };
        let cut = cut(validation, seed, keyed(&labels));
        prop_assert_eq!(cut.len() as u32, k * repeats);
        for repeat in cut.chunks(k as usize) {
            let mut seen = vec![0; rows as usize];
            for fold in repeat {
                prop_assert!(fold.train.is_sorted() && fold.validate.is_sorted());
                prop_assert_eq!(fold.train.len() + fold.validate.len(), rows as usize);
                prop_assert!(fold.train.iter().all(|row| fold.validate.binary_search(row).is_err()));
                fold.validate.iter().for_each(|row| seen[*row as usize] += 1);
            }
            prop_assert!(seen.iter().all(|times| *times == 1));
        }
        for (fold, size) in cut.iter().zip(sizes(validation, keyed(&labels))) {
            prop_assert_eq!((fold.train.len() as u32, fold.validate.len() as u32), (size.train, size.validate));
        }
    }

    #[test]
    fn plain_folds_are_runs_of_one_permutation_as_stored_studies_have_them(seed: u64, rows in 2_u32..200, k in 2_u32..12) {
        let k = k.min(rows);
        let order = Seed(seed).stream(Purpose::Folds).permutation(rows as usize);
        let mut rest = &order[..];
        let mut run = |len: u32| {
            let (run, after) = rest.split_at(len as usize);
            rest = after;
            let mut run = run.to_vec();
            run.sort_unstable();
            run
        };
        for (index, fold) in (0..).zip(cut(Validation::k_fold(k), seed, plain(rows))) {
            prop_assert_eq!(fold.validate, run(rows / k + u32::from(index < rows % k)));
        }
        let held_out = (f64::from(rows) * 0.2).round().max(1.0) as usize;
        let mut first = order[..held_out].to_vec();
        first.sort_unstable();
        prop_assert_eq!(&cut(Validation::holdout(0.2), seed, plain(rows))[0].validate, &first);
    }

    #[test]
    fn a_stratified_fold_has_its_share_of_each_class_to_within_a_row(
        seed: u64, labels in labels(), k in 2_u32..12, shuffle: bool,
    ) {
        let rows = labels.len() as u32;
        let k = k.min(rows);
        let validation = Validation { shuffle, stratify: true, ..k_fold(k, 1) };
        for fold in cut(validation, seed, keyed(&labels)) {
            for class in 0..5 {
                let all = count(&(0..rows).collect::<Vec<_>>(), &labels, class);
                let here = count(&fold.validate, &labels, class);
                prop_assert!(here == all / k || here == all.div_ceil(k), "{here} of {all} in a fold of {k}");
            }
        }
    }

    #[test]
    fn a_group_is_never_on_both_sides(
        seed: u64, labels in labels(), groups in 5_u32..40, k in 2_u32..5, repeats in 1_u32..3, stratify: bool, is_holdout: bool,
    ) {
        let column = by_appearance(&(0..labels.len() as u32).map(|row| row * row % groups).collect::<Vec<_>>());
        let there = column.iter().max().map_or(0, |last| last + 1);
        let validation = match is_holdout {
            true => Validation { by: By::Groups, ..Validation::holdout(0.3) },
            false => Validation { by: By::Groups, stratify, ..k_fold(k, repeats) },
        };
        let keys = RowKeys { classes: Some(&labels), ..by_column(&column) };
        let folds: BTreeSet<u32> = (0..validation.folds()).collect();
        let cut = Split::Validation(validation).rows(Seed(seed), keys, &folds);
        if there < validation.scheme.folds_of_repeat().max(2) {
            let is_refused = matches!(cut, Err(CannotSplit::TooFewGroups { .. }));
            prop_assert!(is_refused);
            return Ok(());
        }
        let Ok(cut) = cut else {
            // Stratified groups may be placed quite differently.
            prop_assert!(stratify && !is_holdout);
            return Ok(());
        };
        for fold in cut.values() {
            let of = |rows: &[u32]| -> BTreeSet<u32> { rows.iter().map(|row| column[*row as usize]).collect() };
            prop_assert!(of(&fold.train).is_disjoint(&of(&fold.validate)));
            prop_assert_eq!(fold.train.len() + fold.validate.len(), labels.len());
            if is_holdout {
                // The distance from the share is at most a whole group.
                let mut sizes = vec![0; there as usize];
                column.iter().for_each(|group| sizes[*group as usize] += 1);
                let largest = f64::from(*sizes.iter().max().unwrap_or(&0));
                let off = (fold.validate.len() as f64 - 0.3 * labels.len() as f64).abs();
                prop_assert!(off <= largest, "{off} rows off, and the largest group has {largest}");
            }
        }
    }

    #[test]
    fn no_fold_trains_on_what_comes_after(ranks in proptest::collection::vec(0_u32..30, 8..120), k in 2_u32..6, is_holdout: bool) {
        let validation = match is_holdout {
            true => Validation { by: By::Order, shuffle: false, ..Validation::holdout(0.25) },
            false => Validation { by: By::Order, shuffle: false, ..k_fold(k, 1) },
        };
        let folds: BTreeSet<u32> = (0..validation.folds()).collect();
        let cut = Split::Validation(validation).rows(Seed(7), by_column(&ranks), &folds);
        let different: BTreeSet<u32> = ranks.iter().copied().collect();
        // Ties may leave a run empty.
        prop_assert!(cut.is_ok() || different.len() < ranks.len());
        let Ok(cut) = cut else { return Ok(()) };
        for fold in cut.values() {
            let last_train = fold.train.iter().map(|row| ranks[*row as usize]).max();
            let first_validate = fold.validate.iter().map(|row| ranks[*row as usize]).min();
            prop_assert!(last_train < first_validate, "{last_train:?} and {first_validate:?}");
        }
    }

    #[test]
    fn a_holdout_leaves_rows_on_both_sides(
        seed: u64, labels in labels(), share in 0.001..0.999, shuffle: bool, stratify: bool,
    ) {
        let rows = labels.len() as u32;
        let validation = Validation { shuffle, stratify, ..Validation::holdout(share) };
        let cut = cut(validation, seed, keyed(&labels)).remove(0);
        prop_assert!(!cut.train.is_empty() && !cut.validate.is_empty());
        prop_assert_eq!(cut.train.len() + cut.validate.len(), rows as usize);
        prop_assert_eq!(cut.validate.len() as u32, sizes(validation, keyed(&labels))[0].validate);
        for class in (0..5).filter(|_| stratify) {
            let all = count(&(0..rows).collect::<Vec<_>>(), &labels, class);
            let fair = f64::from(all) * cut.validate.len() as f64 / f64::from(rows);
            let here = f64::from(count(&cut.validate, &labels, class));
            prop_assert!(here == fair.floor() || here == fair.ceil(), "{here} where {fair} were fair");
        }
    }
}

#[test]
fn folds_differ_in_size_by_one_at_most() {
    let sizes = sizes(Validation::k_fold(5), plain(103));
    let lens: Vec<u32> = sizes.iter().map(|size| size.validate).collect();
    assert_eq!(lens, [21, 21, 21, 20, 20]);
    assert!(sizes.iter().all(|size| size.train + size.validate == 103));
}

#[test]
fn a_repeat_cuts_the_rows_anew_and_the_first_one_is_that_without_repeats() {
    let folds = cut(Validation::k_fold(3), 7, plain(10));
    let repeated = cut(k_fold(3, 3), 7, plain(10));
    assert_eq!(repeated[..3], folds);
    assert_ne!(repeated[3..6], folds);
    assert_ne!(repeated[6..], repeated[3..6]);
}

#[test]
fn without_a_shuffle_folds_are_runs_of_the_file_and_a_holdout_is_its_end() {
    let in_order = Validation {
        shuffle: false,
        ..Validation::k_fold(3)
    };
    let validate: Vec<Vec<u32>> = cut(in_order, 7, plain(8))
        .into_iter()
        .map(|fold| fold.validate)
        .collect();
    assert_eq!(validate, [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
    let held_out = Validation {
        shuffle: false,
        ..Validation::holdout(0.25)
    };
    assert_eq!(cut(held_out, 7, plain(8))[0].validate, [6, 7]);
}

#[test]
fn any_folds_alone_are_those_among_all() {
    let all = cut(k_fold(4, 3), 3, plain(30));
    let some = BTreeSet::from([2, 3, 9, 11]);
    let cut = Split::Validation(k_fold(4, 3)).rows(Seed(3), plain(30), &some).unwrap();
    assert!(cut.iter().all(|(fold, rows)| *rows == all[*fold as usize]));
    assert_eq!(cut.into_keys().collect::<BTreeSet<_>>(), some);
}

#[test]
fn a_fit_on_all_rows_validates_none() {
    let cut = Split::All.rows(Seed(3), plain(4), &BTreeSet::from([5])).unwrap();
    assert_eq!(cut[&5].train, [0, 1, 2, 3]);
    assert!(cut[&5].validate.is_empty());
}

#[test]
fn numbers_have_no_strata() {
    let stratified = Validation {
        stratify: true,
        ..Validation::k_fold(2)
    };
    let cut = Split::Validation(stratified).rows(Seed(3), plain(4), &BTreeSet::from([0]));
    assert_eq!(cut, Err(CannotSplit::MissingKeys("classes")));
}

/// Reference splits: `tests/data/splits.json`, by `tests/data/splits_oracle.py`.
fn reference<T: DeserializeOwned>(name: &str) -> T {
    let all: Value = serde_json::from_str(include_str!("../../tests/data/splits.json")).unwrap();
    serde_json::from_value(all[name].clone()).unwrap()
}

/// The fold that each row validates in.
fn fold_of_each_row(folds: &[FoldRows], rows: usize) -> Vec<u32> {
    let mut fold_of = vec![u32::MAX; rows];
    for (number, fold) in (0..).zip(folds) {
        fold.validate.iter().for_each(|row| fold_of[*row as usize] = number);
    }
    fold_of
}

#[test]
fn stratified_folds_are_scikit_learn_s() {
    let cases: Vec<(u32, Vec<u32>, Vec<u32>)> = reference("stratified_k_fold");
    assert_eq!(cases.len(), 4);
    for (k, labels, expected) in cases {
        let in_order = Validation {
            shuffle: false,
            stratify: true,
            ..k_fold(k, 1)
        };
        let folds = cut(in_order, 7, keyed(&labels));
        assert_eq!(fold_of_each_row(&folds, labels.len()), expected);
    }
}

#[test]
fn a_stratified_holdout_has_as_many_rows_of_each_class_as_scikit_learn_s() {
    let cases: Vec<(u32, Vec<u32>, Vec<u32>)> = reference("stratified_holdout");
    assert!(cases.len() >= 3, "{}", cases.len());
    for (held_out, labels, expected) in cases {
        let share = f64::from(held_out) / labels.len() as f64;
        let stratified = Validation {
            stratify: true,
            ..Validation::holdout(share)
        };
        let folds = cut(stratified, 7, keyed(&labels));
        let counts = (0..expected.len() as u32).map(|class| count(&folds[0].validate, &labels, class));
        assert_eq!(counts.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn folds_of_groups_are_as_even_as_scikit_learn_s() {
    let cases: Vec<(u32, Vec<u32>, Vec<u32>)> = reference("group_k_fold");
    assert_eq!(cases.len(), 4);
    for (k, groups, expected) in cases {
        for shuffle in [false, true] {
            let validation = Validation {
                by: By::Groups,
                shuffle,
                ..k_fold(k, 1)
            };
            let mut lens: Vec<u32> = sizes(validation, by_column(&groups))
                .iter()
                .map(|size| size.validate)
                .collect();
            lens.sort_unstable();
            // Groups come largest first, so only equal groups may be placed differently.
            assert_eq!(lens, expected);
        }
    }
}

#[test]
fn stratified_folds_of_groups_are_scikit_learn_s() {
    type Case = (u32, Vec<u32>, Vec<u32>, Vec<u32>);
    let cases: Vec<Case> = reference("stratified_group_k_fold");
    assert_eq!(cases.len(), 3);
    for (k, labels, groups, expected) in cases {
        let validation = Validation {
            by: By::Groups,
            shuffle: false,
            stratify: true,
            ..k_fold(k, 1)
        };
        let keys = RowKeys {
            classes: Some(&labels),
            ..by_column(&groups)
        };
        assert_eq!(fold_of_each_row(&cut(validation, 7, keys), labels.len()), expected);
    }
}

#[test]
fn folds_in_order_are_scikit_learn_s() {
    type Case = (u32, u32, Vec<(u32, u32)>);
    let cases: Vec<Case> = reference("time_series");
    assert_eq!(cases.len(), 3);
    for (rows, k, expected) in cases {
        let in_order = Validation {
            by: By::Order,
            shuffle: false,
            ..k_fold(k, 1)
        };
        let ranks: Vec<u32> = (0..rows).collect();
        let folds = cut(in_order, 7, by_column(&ranks));
        for (fold, (first, end)) in folds.iter().zip(expected) {
            assert_eq!(fold.train, (0..first).collect::<Vec<_>>());
            assert_eq!(fold.validate, (first..end).collect::<Vec<_>>());
        }
    }
}

#[test]
fn rows_of_one_time_are_in_one_run() {
    let in_order = Validation {
        by: By::Order,
        shuffle: false,
        ..k_fold(2, 1)
    };
    let folds = cut(in_order, 7, by_column(&[0, 0, 1, 1, 1, 2, 3, 3, 4]));
    assert_eq!(
        (&folds[0].train[..], &folds[0].validate[..]),
        (&[0, 1, 2, 3, 4][..], &[5][..])
    );
    assert_eq!(
        (&folds[1].train[..], &folds[1].validate[..]),
        (&[0, 1, 2, 3, 4, 5][..], &[6, 7, 8][..])
    );
    let error = Split::Validation(in_order).rows(Seed(7), by_column(&[0, 0, 0, 0, 0, 1]), &BTreeSet::from([0, 1]));
    assert_eq!(error, Err(CannotSplit::EmptyFold(0)));
}

#[test]
fn folds_that_are_given_are_taken() {
    let given = |folds| Validation {
        scheme: Scheme::Given { folds },
        shuffle: false,
        ..k_fold(2, 1)
    };
    let folds = cut(given(2), 7, by_column(&[TRAINS, 1, 0, 1, TRAINS]));
    assert_eq!(
        (&folds[0].train[..], &folds[0].validate[..]),
        (&[0, 1, 3, 4][..], &[2][..])
    );
    assert_eq!(
        (&folds[1].train[..], &folds[1].validate[..]),
        (&[0, 2, 4][..], &[1, 3][..])
    );
    let error = given(3).fold_sizes(Seed(7), by_column(&[2, 0, TRAINS]));
    assert_eq!(error, Err(CannotSplit::EmptyFold(1)));
}

#[test]
fn each_seed_has_the_same_folds() {
    let validation = Validation {
        seeds: 3,
        ..k_fold(2, 2)
    };
    let folds = cut(validation, 7, plain(9));
    assert_eq!(folds.len(), 12);
    assert_eq!(folds[..4], folds[4..8]);
    assert_eq!(folds[..4], folds[8..]);
    let sizes = sizes(validation, plain(9));
    assert!(sizes.iter().zip(&folds).all(|(size, fold)| *size == fold.size()));
}

#[test]
fn too_few_groups_are_refused() {
    let groups = Validation {
        by: By::Groups,
        ..k_fold(5, 1)
    };
    let error = groups
        .fold_sizes(Seed(7), by_column(&[0, 1, 2, 2]))
        .expect_err("three groups");
    assert_eq!(
        error.to_string(),
        "has 3 different values, and 5 are needed: one a fold, or one on each side of a holdout"
    );
}

#[test]
fn a_holdout_takes_no_group_that_is_far_too_large() {
    let held_out = |shuffle, seed, groups: &[u32], share| {
        let validation = Validation {
            by: By::Groups,
            shuffle,
            ..Validation::holdout(share)
        };
        cut(validation, seed, by_column(groups)).remove(0).validate
    };
    let groups: Vec<u32> = [vec![0; 90], vec![1; 10], vec![2; 10]].concat();
    for seed in 0..20 {
        assert_eq!(held_out(true, seed, &groups, 0.1).len(), 10);
    }
    // For an ordered file, its last groups.
    assert_eq!(held_out(false, 7, &[0, 0, 1, 1, 2, 2], 0.33), [4, 5]);
    assert_eq!(held_out(false, 7, &[0, 0, 0, 1, 1], 0.01), [3, 4]);
}

#[test]
fn repeats_deal_groups_out_anew() {
    let sizes = [5, 4, 3, 2, 1, 6, 7];
    let groups: Vec<u32> = (0..).zip(sizes).flat_map(|(group, rows)| vec![group; rows]).collect();
    let validation = Validation {
        by: By::Groups,
        ..k_fold(2, 3)
    };
    let folds = cut(validation, 7, by_column(&groups));
    assert_ne!(folds[..2], folds[2..4]);
    assert_ne!(folds[2..4], folds[4..]);
}
