//! Groups of rows cut into parts: a group's rows share a part.

use super::Scheme;

/// The rows of one group.
#[derive(Clone, Default)]
struct Group {
    rows: u32,
    /// The group's number of rows of each class; one entry without classes.
    classes: Vec<(u32, u32)>,
}

/// The part of [`Scheme::parts`] of each row, by the number of its group. `order` has every group once.
///
/// Each group goes into the fold with the fewest rows, the largest group first, as in scikit-learn's GroupKFold. With
/// classes, each goes into the fold that spreads the classes most evenly, the group with the most uneven classes first,
/// as in StratifiedGroupKFold. Equal groups come in the given order; without `largest_first`, all groups do. A holdout
/// takes groups in the given order if they bring its number of rows closer to its share.
pub(super) fn cut(
    of_rows: &[u32],
    order: &[u32],
    largest_first: bool,
    classes: Option<&[u32]>,
    scheme: Scheme,
) -> Vec<u32> {
    let groups = groups(of_rows, order.len(), classes);
    let parts = match scheme {
        Scheme::KFold { folds, .. } => match classes {
            None => by_rows(&groups, order, largest_first, folds),
            Some(_) => by_classes(&groups, order, largest_first, folds),
        },
        Scheme::Holdout(_) | Scheme::Given { .. } => held_out(&groups, order, scheme.parts(of_rows.len() as u32)[0]),
    };
    of_rows.iter().map(|group| parts[*group as usize]).collect()
}

fn groups(of_rows: &[u32], count: usize, classes: Option<&[u32]>) -> Vec<Group> {
    let class = |row: usize| classes.map_or(0, |classes| classes[row]);
    let mut rows: Vec<(u32, u32)> = of_rows
        .iter()
        .enumerate()
        .map(|(row, group)| (*group, class(row)))
        .collect();
    rows.sort_unstable();
    let mut groups = vec![Group::default(); count];
    for alike in rows.chunk_by(|a, b| a == b) {
        let (group, class) = alike[0];
        let group = &mut groups[group as usize];
        group.rows += alike.len() as u32;
        group.classes.push((class, alike.len() as u32));
    }
    groups
}

fn by_rows(groups: &[Group], order: &[u32], largest_first: bool, folds: u32) -> Vec<u32> {
    let mut order = order.to_vec();
    if largest_first {
        order.sort_by_key(|group| std::cmp::Reverse(groups[*group as usize].rows));
    }
    let mut rows = vec![0_u64; folds as usize];
    let mut parts = vec![0; groups.len()];
    for group in order {
        let smallest = (0..rows.len()).min_by_key(|fold| rows[*fold]).unwrap_or(0);
        rows[smallest] += u64::from(groups[group as usize].rows);
        parts[group as usize] = smallest as u32;
    }
    parts
}

/// Rows of one class, by fold.
struct Spread {
    folds: Vec<u64>,
    sum: u128,
    squares: u128,
    /// Rows in all folds, once every group is placed.
    total: u64,
}

impl Spread {
    /// The standard deviation of the folds' shares of the class, times the number of folds, if this fold gets `more` rows.
    fn deviation(&self, fold: usize, more: u32) -> f64 {
        let (here, more) = (u128::from(self.folds[fold]), u128::from(more));
        let squares = self.squares + more * (2 * here + more);
        let sum = self.sum + more;
        ((self.folds.len() as u128 * squares - sum * sum) as f64).sqrt() / self.total as f64
    }

    fn add(&mut self, fold: usize, more: u32) {
        let more = u128::from(more);
        self.squares += more * (2 * u128::from(self.folds[fold]) + more);
        self.sum += more;
        self.folds[fold] += more as u64;
    }
}

fn by_classes(groups: &[Group], order: &[u32], largest_first: bool, folds: u32) -> Vec<u32> {
    let count = groups
        .iter()
        .flat_map(|group| &group.classes)
        .map(|(class, _)| class + 1);
    let count = count.max().unwrap_or(0) as usize;
    let mut classes: Vec<Spread> = (0..count)
        .map(|_| Spread {
            folds: vec![0; folds as usize],
            sum: 0,
            squares: 0,
            total: 0,
        })
        .collect();
    for (class, rows) in groups.iter().flat_map(|group| &group.classes) {
        classes[*class as usize].total += u64::from(*rows);
    }
    // The variance of a group's rows over the classes, times the square of the number of classes.
    let unevenness = |group: &Group| {
        let squares: u128 = group.classes.iter().map(|(_, rows)| u128::from(*rows).pow(2)).sum();
        count as u128 * squares - u128::from(group.rows).pow(2)
    };
    let mut order = order.to_vec();
    if largest_first {
        order.sort_by_cached_key(|group| std::cmp::Reverse(unevenness(&groups[*group as usize])));
    }
    let mut rows = vec![0_u64; folds as usize];
    let mut parts = vec![0; groups.len()];
    for group in order {
        let of_group = &groups[group as usize];
        // Other classes' spread does not depend on the fold.
        let deviation = |fold: usize| -> f64 {
            let each = of_group.classes.iter();
            each.map(|(class, more)| classes[*class as usize].deviation(fold, *more))
                .sum()
        };
        let candidates = (0..rows.len()).map(|fold| (deviation(fold), rows[fold], fold));
        let best = candidates.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let fold = best.map_or(0, |(_, _, fold)| fold);
        for (class, more) in &of_group.classes {
            classes[*class as usize].add(fold, *more);
        }
        rows[fold] += u64::from(of_group.rows);
        parts[group as usize] = fold as u32;
    }
    parts
}

/// Part 0 is held out, part 1 trains. Each has at least one group: if each group is too large to be held out, the smallest is.
fn held_out(groups: &[Group], order: &[u32], wanted: u32) -> Vec<u32> {
    let mut parts = vec![1; groups.len()];
    let mut rows = 0_u32;
    for group in order {
        let with = rows + groups[*group as usize].rows;
        if with.abs_diff(wanted) < rows.abs_diff(wanted) {
            rows = with;
            parts[*group as usize] = 0;
        }
    }
    if !parts.contains(&0) {
        let smallest = order.iter().min_by_key(|group| groups[**group as usize].rows);
        smallest.into_iter().for_each(|group| parts[*group as usize] = 0);
    }
    if !parts.contains(&1) {
        let last = order.last();
        last.into_iter().for_each(|group| parts[*group as usize] = 1);
    }
    parts
}
