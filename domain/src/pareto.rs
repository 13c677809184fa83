//! Comparison by several coordinates: a point dominates another if it is nowhere worse, and somewhere better.
//!
//! Coordinates are keys: ascending from best to worst. Equal points are ordered by their index.

use std::cmp::Ordering;

/// Largest front whose hypervolume is computed, for up to two, three and four coordinates: the time grows with its size
/// to the power of the number of coordinates minus one.
const HYPERVOLUME_FRONT_MAX: [usize; 3] = [1_024, 256, 64];

/// True if `a` is nowhere worse than `b`, and somewhere better.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let pairs = || a.iter().zip(b);
    pairs().all(|(a, b)| a <= b) && pairs().any(|(a, b)| a < b)
}

/// The place of each point, from 0 for the best: by non-dominated front, and within a front the points farther from
/// their neighbours first (non-dominated rank and crowding distance of NSGA-II, Deb et al. 2002).
pub fn places<P: AsRef<[f64]>>(points: &[P]) -> Vec<usize> {
    let points: Vec<&[f64]> = points.iter().map(AsRef::as_ref).collect();
    let mut places = vec![0; points.len()];
    let mut next = 0;
    for mut front in fronts(&points) {
        front.sort_unstable();
        let distances = crowding(&points, &front);
        let mut order: Vec<usize> = (0..front.len()).collect();
        // The sort is stable.
        order.sort_by(|a, b| distances[*b].total_cmp(&distances[*a]));
        for member in order {
            places[front[member]] = next;
            next += 1;
        }
    }
    places
}

/// The indices of the points that no other one dominates, ascending.
pub fn front<P: AsRef<[f64]>>(points: &[P]) -> Vec<usize> {
    let points: Vec<&[f64]> = points.iter().map(AsRef::as_ref).collect();
    let mut front: Vec<usize> = Vec::new();
    for point in lexicographic_order(&points) {
        if !front
            .iter()
            .rev()
            .any(|member| dominates(points[*member], points[point]))
        {
            front.push(point);
        }
    }
    front.sort_unstable();
    front
}

/// All points by front: no point dominates another of its front, and a point of the front before dominates each.
fn fronts(points: &[&[f64]]) -> Vec<Vec<usize>> {
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    for point in lexicographic_order(points) {
        // If a front has a point that dominates this one, all fronts before have one too.
        let number = fronts.partition_point(|front| {
            let mut members = front.iter().rev();
            members.any(|member| dominates(points[*member], points[point]))
        });
        match fronts.get_mut(number) {
            Some(front) => front.push(point),
            None => fronts.push(vec![point]),
        }
    }
    fronts
}

/// The points in an order in which no later point dominates an earlier one.
fn lexicographic_order(points: &[&[f64]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| lexicographic(points[*a], points[*b]));
    order
}

fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    let differing = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    differing.fold(Ordering::Equal, Ordering::then)
}

/// Distances of a front's members from their neighbours in it: the sum over coordinates of the distance between the two
/// neighbours, relative to the front's width. Infinite at the ends. A coordinate in which all are equal does not count.
fn crowding(points: &[&[f64]], front: &[usize]) -> Vec<f64> {
    let mut distances = vec![0.0; front.len()];
    let coordinates = front.first().map_or(0, |first| points[*first].len());
    let column = |coordinate: usize| front.iter().map(|member| points[*member][coordinate]).collect();
    for column in (0..coordinates).map(column) {
        let column: Vec<f64> = column;
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|a, b| column[*a].total_cmp(&column[*b]));
        let (Some(first), Some(last)) = (order.first().copied(), order.last().copied()) else {
            continue;
        };
        let width = column[last] - column[first];
        if width > 0.0 {
            distances[first] = f64::INFINITY;
            distances[last] = f64::INFINITY;
            for neighbours in order.windows(3) {
                distances[neighbours[1]] += (column[neighbours[2]] - column[neighbours[0]]) / width;
            }
        }
    }
    distances
}

/// After each point, the hypervolume of the points so far: the share that they dominate of the box between the best and
/// the worst of each coordinate of all points. `None` once the front is too large.
pub fn hypervolumes<P: AsRef<[f64]>>(points: &[P]) -> Vec<Option<f64>> {
    let points: Vec<&[f64]> = points.iter().map(AsRef::as_ref).collect();
    let scaled = in_unit_box(&points);
    let coordinates = scaled.first().map_or(0, Vec::len);
    let most = HYPERVOLUME_FRONT_MAX[coordinates.saturating_sub(2).min(2)];
    let mut front: Vec<Vec<f64>> = Vec::new();
    let mut volume = 0.0;
    let after = |point: &Vec<f64>| {
        if front.len() > most {
            return None;
        }
        let is_behind = front.iter().any(|member| member == point || dominates(member, point));
        if !is_behind {
            // Rounding may push the sum beyond the box, and a difference below 0.
            volume = (volume + own_volume(point, &front).max(0.0)).min(1.0);
            front.retain(|member| !dominates(point, member));
            front.push(point.clone());
        }
        (front.len() <= most).then_some(volume)
    };
    scaled.iter().map(after).collect()
}

/// Points scaled to 0 for the best and 1 for the worst of each coordinate, without coordinates in which all are equal.
fn in_unit_box(points: &[&[f64]]) -> Vec<Vec<f64>> {
    let coordinates = points.first().map_or(0, |point| point.len());
    let ends = |coordinate: usize| {
        let all = points.iter().map(|point| point[coordinate]);
        let (best, worst) = (
            all.clone().fold(f64::INFINITY, f64::min),
            all.fold(f64::NEG_INFINITY, f64::max),
        );
        (best < worst).then_some((coordinate, best, worst))
    };
    let ends: Vec<_> = (0..coordinates).filter_map(ends).collect();
    let scaled = |point: &&[f64]| {
        let each = ends.iter();
        each.map(|(coordinate, best, worst)| (point[*coordinate] - best) / (worst - best))
            .collect()
    };
    points.iter().map(scaled).collect()
}

/// The volume that a point dominates in the unit box, but no point of the front does (the exclusive hypervolume of WFG,
/// While, Bradstreet and Barone 2012).
fn own_volume(point: &[f64], front: &[Vec<f64>]) -> f64 {
    let box_volume: f64 = point.iter().map(|at| 1.0 - at).product();
    let shared: Vec<Vec<f64>> = front
        .iter()
        .map(|member| member.iter().zip(point).map(|(a, b)| a.max(*b)).collect())
        .collect();
    box_volume - volume(&shared)
}

/// The volume that points dominate together in the unit box: slice by slice of the last coordinate.
fn volume(points: &[Vec<f64>]) -> f64 {
    let mut points: Vec<&[f64]> = front(points).into_iter().map(|index| &points[index][..]).collect();
    let Some(last) = points.first().and_then(|first| first.len().checked_sub(1)) else {
        return 0.0;
    };
    points.sort_by(|a, b| a[last].total_cmp(&b[last]));
    match last {
        0 => return 1.0 - points[0][0],
        // In a front of two coordinates, one descends where the other ascends.
        1 => {
            let ends = points.iter().skip(1).map(|next| next[1]).chain([1.0]);
            let slices = points.iter().zip(ends);
            return slices.map(|(point, end)| (end - point[1]) * (1.0 - point[0])).sum();
        }
        _ => {}
    }
    let mut sum = 0.0;
    for (index, point) in points.iter().enumerate() {
        let end = points.get(index + 1).map_or(1.0, |next| next[last]);
        if end > point[last] {
            let slice: Vec<Vec<f64>> = points[..=index].iter().map(|point| point[..last].to_vec()).collect();
            sum += (end - point[last]) * volume(&slice);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, proptest};

    use super::{dominates, front, hypervolumes, places, volume};

    fn points(written: &[[f64; 2]]) -> Vec<Vec<f64>> {
        written.iter().map(|point| point.to_vec()).collect()
    }

    #[test]
    fn fronts_come_one_after_another_and_their_ends_first() {
        // Three fronts: 1 2 3 4, where 1 and 4 are the ends and 2 is farther from its neighbours than 3; 0 and 6, which are equal; 5.
        let points = points(&[
            [3.0, 3.0],
            [0.0, 4.0],
            [1.0, 1.0],
            [2.0, 0.5],
            [4.0, 0.0],
            [5.0, 5.0],
            [3.0, 3.0],
        ]);
        assert_eq!(front(&points), [1, 2, 3, 4]);
        assert_eq!(places(&points), [4, 0, 2, 3, 1, 6, 5]);
        assert_eq!(places::<&[f64]>(&[]), [0_usize; 0]);
    }

    #[test]
    fn a_hypervolume_is_the_share_of_the_box() {
        let points = points(&[[0.0, 10.0], [4.0, 0.0], [2.0, 5.0], [3.0, 5.0], [2.0, 5.0]]);
        // The box is 4 by 10. The two ends dominate nothing of it, [2, 5] a quarter.
        let volumes = hypervolumes(&points);
        assert_eq!(volumes, [Some(0.0), Some(0.0), Some(0.25), Some(0.25), Some(0.25)]);
        // If all are equal, nothing is left to dominate.
        assert_eq!(hypervolumes(&[vec![1.0, 2.0], vec![1.0, 2.0]]), [Some(1.0), Some(1.0)]);
    }

    #[test]
    fn a_front_that_is_too_large_has_no_hypervolume() {
        let along = |n: u32| {
            let x = f64::from(n) / 2_000.0;
            vec![x, 1.0 - x]
        };
        let volumes = hypervolumes(&(0..=2_000).map(along).collect::<Vec<_>>());
        assert!(volumes[1_023].is_some() && volumes[1_024].is_none() && volumes[2_000].is_none());
    }

    fn cloud(coordinates: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
        let coordinate = (0_u32..6).prop_map(|at| f64::from(at) / 5.0);
        prop::collection::vec(prop::collection::vec(coordinate, coordinates), 1..24)
    }

    proptest! {
        #[test]
        fn nobody_is_placed_before_whom_it_is_dominated_by(points in (2_usize..5).prop_flat_map(cloud)) {
            let places = places(&points);
            let mut sorted = places.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..points.len()).collect::<Vec<_>>());
            for (a, place) in points.iter().zip(&places) {
                for (b, other) in points.iter().zip(&places) {
                    prop_assert!(!dominates(a, b) || place < other);
                }
            }
            let kept = front(&points);
            for (index, point) in points.iter().enumerate() {
                let is_dominated = points.iter().any(|other| dominates(other, point));
                prop_assert_eq!(kept.contains(&index), !is_dominated);
            }
        }

        #[test]
        fn volumes_are_those_of_counted_cells((coordinates, points) in (2_usize..5).prop_flat_map(|n| (Just(n), cloud(n)))) {
            // Coordinates are fifths, so the box has 5ⁿ cells, and each is dominated if its middle is.
            let cells = 5_usize.pow(coordinates as u32);
            let middle = |cell: usize| -> Vec<f64> {
                (0..coordinates).map(|at| ((cell / 5_usize.pow(at as u32) % 5) as f64 + 0.5) / 5.0).collect()
            };
            let dominated = (0..cells).filter(|cell| points.iter().any(|point| dominates(point, &middle(*cell))));
            let share = dominated.count() as f64 / cells as f64;
            prop_assert!((volume(&points) - share).abs() < 1e-12);
            // If the box is the unit box, the last growing hypervolume is that of all points.
            let end = |coordinate: usize| (0..coordinates).map(|at| f64::from(u8::from(at != coordinate))).collect();
            let points: Vec<Vec<f64>> = points.into_iter().chain((0..coordinates).map(end)).collect();
            let last = hypervolumes(&points).pop().flatten().expect("a small front");
            prop_assert!((last - volume(&points)).abs() < 1e-12);
        }
    }
}
