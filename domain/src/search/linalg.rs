//! Triangular matrices for a Gaussian process.
//!
//! Every sum has a fixed order, written out in the code: eight interleaved partial sums, which processors add side by
//! side, then their sum.

/// A lower triangular matrix by its rows; row i has i + 1 numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Triangle {
    rows: Vec<f64>,
    len: usize,
}

impl Triangle {
    /// One of `len` rows whose numbers are `number(row, column)`, column <= row.
    pub(super) fn new(len: usize, mut number: impl FnMut(usize, usize) -> f64) -> Self {
        let mut rows = Vec::with_capacity(len * (len + 1) / 2);
        for row in 0..len {
            rows.extend((0..=row).map(|column| number(row, column)));
        }
        Self { rows, len }
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The numbers of a row.
    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.rows[row * (row + 1) / 2..][..=row]
    }

    /// Adds a row, one number longer than the last.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = f64>) {
        self.rows.extend(row);
        self.len += 1;
        debug_assert_eq!(self.rows.len(), self.len * (self.len + 1) / 2);
    }

    /// Cholesky's factor L of the symmetric matrix K = L Lᵀ whose lower half this is. A pivot below `pivot_min` is
    /// raised to it: K may be singular by rounding.
    pub(super) fn cholesky(mut self, pivot_min: f64) -> Self {
        for row in 0..self.len {
            let (above, from_row) = self.rows.split_at_mut(row * (row + 1) / 2);
            let current = &mut from_row[..=row];
            for column in 0..row {
                let other = &above[column * (column + 1) / 2..][..=column];
                current[column] = (current[column] - dot(&current[..column], &other[..column])) / other[column];
            }
            let pivot = current[row] - dot(&current[..row], &current[..row]);
            current[row] = libm::sqrt(pivot.max(pivot_min));
        }
        self
    }

    /// The solution x of L x = b, in place of b. If b is shorter than L, uses as many rows as b has.
    pub(super) fn solve(&self, b: &mut [f64]) {
        for row in 0..b.len() {
            let numbers = self.row(row);
            b[row] = (b[row] - dot(&numbers[..row], &b[..row])) / numbers[row];
        }
    }

    /// The solution x of Lᵀ x = b, in place of b.
    pub(super) fn solve_transposed(&self, b: &mut [f64]) {
        for row in (0..b.len()).rev() {
            let numbers = self.row(row);
            b[row] /= numbers[row];
            let (before, from_row) = b.split_at_mut(row);
            add_scaled(before, -from_row[0], &numbers[..row]);
        }
    }

    /// The lower half of (L Lᵀ)⁻¹.
    pub(super) fn inverse_of_product(&self) -> Self {
        let mut inverse = Self::new(self.len, |_, _| 0.0);
        for row in 0..self.len {
            let numbers = self.row(row);
            let (above, from_row) = inverse.rows.split_at_mut(row * (row + 1) / 2);
            let current = &mut from_row[..=row];
            for column in 0..row {
                let other = &above[column * (column + 1) / 2..][..=column];
                add_scaled(&mut current[..=column], numbers[column], other);
            }
            for number in &mut current[..row] {
                *number /= -numbers[row];
            }
            current[row] = 1.0 / numbers[row];
        }
        let mut product = Self::new(self.len, |_, _| 0.0);
        for row in 0..self.len {
            let numbers = inverse.row(row);
            for column in 0..=row {
                let target = &mut product.rows[column * (column + 1) / 2..][..=column];
                add_scaled(target, numbers[column], &numbers[..=column]);
            }
        }
        product
    }
}

/// The sum of the products of two rows' numbers.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .fold(0.0, |sum, (a, b)| sum + a * b);
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    (((a + b) + (c + d)) + ((e + f) + (g + h))) + tail
}

/// Adds `scale` times `row` to `to`.
fn add_scaled(to: &mut [f64], scale: f64, row: &[f64]) {
    for (to, number) in to.iter_mut().zip(row) {
        *to += scale * number;
    }
}

#[cfg(test)]
mod tests {
    use super::{Triangle, dot};

    /// A matrix that has an inverse: 1 / (1 + |i - j|), and 3 on the diagonal.
    fn matrix(len: usize) -> Vec<Vec<f64>> {
        let number = |i: usize, j: usize| {
            if i == j {
                3.0
            } else {
                1.0 / (1.0 + i.abs_diff(j) as f64)
            }
        };
        (0..len).map(|i| (0..len).map(|j| number(i, j)).collect()).collect()
    }

    #[test]
    fn the_factor_multiplies_to_the_matrix_and_solves_it() {
        for len in [1, 2, 7, 8, 9, 30] {
            let matrix = matrix(len);
            let factor = Triangle::new(len, |i, j| matrix[i][j]).cholesky(0.0);
            let mut solution: Vec<f64> = (0..len).map(|i| libm::sin(i as f64)).collect();
            let right = solution.clone();
            factor.solve(&mut solution);
            factor.solve_transposed(&mut solution);
            let inverse = factor.inverse_of_product();
            for i in 0..len {
                for j in 0..=i {
                    let product = dot(&factor.row(i)[..=j], factor.row(j));
                    assert!((product - matrix[i][j]).abs() < 1e-12, "{len}: {i}, {j}");
                    let other = |k: usize| inverse.row(k.max(j))[k.min(j)];
                    let one: f64 = (0..len).map(|k| matrix[i][k] * other(k)).sum();
                    assert!((one - f64::from(i == j)).abs() < 1e-12, "{len}: {i}, {j}");
                }
                assert!((dot(&matrix[i], &solution) - right[i]).abs() < 1e-12, "{len}: {i}");
            }
        }
    }

    #[test]
    fn a_row_that_is_added_makes_the_factor_of_the_larger_matrix() {
        let matrix = matrix(12);
        let whole = Triangle::new(12, |i, j| matrix[i][j]).cholesky(0.0);
        let mut grown = Triangle::new(11, |i, j| matrix[i][j]).cholesky(0.0);
        let mut row = matrix[11][..11].to_vec();
        grown.solve(&mut row);
        let pivot = (matrix[11][11] - dot(&row, &row)).sqrt();
        grown.push(row.into_iter().chain([pivot]));
        assert_eq!(grown, whole);
    }

    #[test]
    fn a_singular_matrix_has_a_factor() {
        let factor = Triangle::new(3, |_, _| 1.0).cholesky(1e-6);
        assert!((factor.row(2)[2] - 1e-3).abs() < 1e-12, "{factor:?}");
    }
}
