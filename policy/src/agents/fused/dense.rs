//! A matrix product over plain slices, with a fixed order of summation.

/// Outputs in a panel: two vectors of the baseline's four lanes.
const LANES: usize = 8;
/// Rows that share a load of a panel.
const ROWS: usize = 4;

type Lanes = [f32; LANES];

/// A linear layer, laid out for the loop that uses it.
///
/// Each output starts from its bias and gets the products of the inputs in their order, one addition each. So the result
/// depends neither on how many rows are done at once nor on the machine.
#[derive(Clone, Debug)]
pub struct Dense {
    inputs: usize,
    outputs: usize,
    /// Panel by panel of `LANES` outputs: the bias, then input by input. Lanes past the last output are zero.
    panels: Vec<Lanes>,
}

impl Dense {
    /// A layer of `weight`, `[outputs, inputs]` row by row, and `bias`, `[outputs]`; of no bias if it is empty.
    pub fn new(weight: &[f32], bias: &[f32], inputs: usize, outputs: usize) -> Self {
        let count = outputs.div_ceil(LANES);
        let mut panels = vec![[0.0; LANES]; count * (inputs + 1)];
        for output in 0..outputs {
            let panel = &mut panels[output / LANES * (inputs + 1)..][..=inputs];
            let lane = output % LANES;
            panel[0][lane] = bias.get(output).copied().unwrap_or_default();
            for (input, slot) in panel[1..].iter_mut().enumerate() {
                slot[lane] = weight[output * inputs + input];
            }
        }
        Self { inputs, outputs, panels }
    }

    /// `x`, `[rows, inputs]`, to `y`, `[rows, outputs]`; as many rows as `y` has.
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        let blocks = y.chunks_mut(ROWS * self.outputs).enumerate();
        for (block, y) in blocks {
            let x = &x[block * ROWS * self.inputs..];
            if y.len() == ROWS * self.outputs {
                self.four_rows(x, y);
                continue;
            }
            for (row, y) in y.chunks_exact_mut(self.outputs).enumerate() {
                self.one_row(&x[row * self.inputs..][..self.inputs], y);
            }
        }
    }

    /// A load of a panel's weights for four rows; their sums stay in registers.
    fn four_rows(&self, x: &[f32], y: &mut [f32]) {
        for (index, panel) in self.panels.chunks_exact(self.inputs + 1).enumerate() {
            let [mut a, mut b, mut c, mut d] = [panel[0]; ROWS];
            let panel = &panel[1..];
            // All of one length that the compiler knows of, so that it needs no checks.
            let [first, second, third, fourth] =
                [0, 1, 2, 3].map(|row| &x[row * self.inputs..][..panel.len()]);
            for (input, weights) in panel.iter().enumerate() {
                add_product(&mut a, first[input], weights);
                add_product(&mut b, second[input], weights);
                add_product(&mut c, third[input], weights);
                add_product(&mut d, fourth[input], weights);
            }
            for (row, sums) in [a, b, c, d].into_iter().enumerate() {
                self.put(index, &sums, &mut y[row * self.outputs..][..self.outputs]);
            }
        }
    }

    fn one_row(&self, x: &[f32], y: &mut [f32]) {
        for (index, panel) in self.panels.chunks_exact(self.inputs + 1).enumerate() {
            let mut sums = panel[0];
            for (weights, &value) in panel[1..].iter().zip(x) {
                add_product(&mut sums, value, weights);
            }
            self.put(index, &sums, y);
        }
    }

    /// The sums of a panel to their places in a row; lanes past its end are dropped.
    fn put(&self, panel: usize, sums: &Lanes, y: &mut [f32]) {
        let y = &mut y[panel * LANES..];
        match y.first_chunk_mut() {
            Some(y) => *y = *sums,
            None => y.copy_from_slice(&sums[..y.len()]),
        }
    }
}

// By index, as iterators are calls where the compiler sees a part of the crate only.
#[inline(always)]
fn add_product(sums: &mut Lanes, value: f32, weights: &Lanes) {
    for lane in 0..LANES {
        sums[lane] += value * weights[lane];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_are_those_of_the_definition_whatever_the_sizes(
            (inputs, outputs, rows) in (0..20_usize, 1..30_usize, 0..11_usize),
            seed: u64,
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut numbers = |count| (0..count).map(|_| rng.f32() - 0.5).collect::<Vec<f32>>();
            let (weight, bias, x) = (numbers(inputs * outputs), numbers(outputs), numbers(rows * inputs));
            let mut y = vec![f32::NAN; rows * outputs];
            Dense::new(&weight, &bias, inputs, outputs).apply(&x, &mut y);
            for row in 0..rows {
                for output in 0..outputs {
                    let mut sum = bias[output];
                    for input in 0..inputs {
                        sum += x[row * inputs + input] * weight[output * inputs + input];
                    }
                    prop_assert_eq!(y[row * outputs + output].to_bits(), sum.to_bits());
                }
            }
        }
    }
}
