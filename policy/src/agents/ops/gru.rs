//! A GRU through time.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, backend::BackendStorage as _};

use super::{Number, cpu, held, numbers, of_type, vectorised};

/// Memory after each step, `[T, N, H]`, with PyTorch's equations and order of gates (reset, update, new):
///
/// ```text
/// g = W h + b_h      r = σ(i_r + b_r + g_r)      z = σ(i_z + b_z + g_z)      n = tanh(i_n + b_n + r g_n)
/// h' = m (n + z (h − n))
/// ```
///
/// `from_input` is i, `[T, N, 3H]`; `weight` W, `[3H, H]`; `biases` b and b_h, `[3H]` each; `hidden` h before the first step,
/// `[N, H]`; `active` m, `[T, N]`, through which no gradient flows.
///
/// One product and one loop a step, forth and back; the weight's gradient is one product over all steps.
pub fn gru(
    from_input: &Tensor,
    weight: &Tensor,
    biases: [&Tensor; 2],
    hidden: &Tensor,
    active: &Tensor,
) -> Result<Tensor> {
    // An operation has three arguments at most.
    let weights = Tensor::cat(&[&weight.flatten_all()?, biases[0], biases[1]], 0)?;
    let op = Gru {
        active: active.detach().contiguous()?,
        to_hidden: hidden.track_op(),
        keep: from_input.track_op() || weights.track_op() || hidden.track_op(),
        kept: OnceLock::new(),
    };
    from_input.contiguous()?.apply_op3(&weights, &hidden.contiguous()?, op)
}

struct Gru {
    active: Tensor,
    to_hidden: bool,
    /// Whether anybody will ask for gradients.
    keep: bool,
    /// r, z, n and g_n of each row at each step, `[T, N, 4H]`.
    kept: OnceLock<CpuStorage>,
}

impl CustomOp3 for Gru {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let all = [(input, input_layout), (weights, weights_layout), (hidden, hidden_layout)];
        of_type!(input.dtype(), forward(self, all))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weights: &Tensor,
        hidden: &Tensor,
        after: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        of_type!(input.dtype(), backward(self, [weights, hidden, after, &gradient.contiguous()?]))
    }
}

fn forward<T: Number>(op: &Gru, all: [(&CpuStorage, &Layout); 3]) -> Result<(CpuStorage, Shape)> {
    let [input, weights, hidden] = all;
    let (steps, rows, gates) = input.1.shape().dims3()?;
    let (_, width) = hidden.1.shape().dims2()?;
    let shape = Shape::from((steps, rows, width));
    if gates != 3 * width || hidden.1.dims()[0] != rows || op.active.dims() != [steps, rows] {
        candle_core::bail!("a GRU of {:?}, {:?} and {:?}", input.1.dims(), hidden.1.dims(), op.active.dims());
    }
    let transposed =
        Layout::contiguous_with_offset((gates, width), weights.1.start_offset()).transpose(0, 1)?;
    let biases = numbers::<T>(weights.0, weights.1)?[gates * width..].to_vec();
    let biases = biases.split_at(gates);
    let input = numbers::<T>(input.0, input.1)?;
    let active = op.active.storage_and_layout();
    let active = held::<T>(&active)?;

    let mut kept = vec![T::zero(); if op.keep { steps * rows * 4 * width } else { 0 }];
    let mut all = vec![T::zero(); steps * rows * width];
    let mut before = T::to_cpu_storage(numbers::<T>(hidden.0, hidden.1)?);
    let layout = Layout::contiguous((rows, width));
    for step in 0..if rows * width > 0 { steps } else { 0 } {
        let recurrent = before.matmul(weights.0, (1, rows, gates, width), &layout, &transposed)?;
        let now = step * rows..(step + 1) * rows;
        let after = &mut all[now.start * width..now.end * width];
        let moment = Moment {
            input: &input[now.start * gates..now.end * gates],
            recurrent: recurrent.as_slice::<T>()?,
            biases,
            before: before.as_slice::<T>()?,
            active: &active[now.clone()],
        };
        if op.keep {
            moment.keep(after, &mut kept[now.start * 4 * width..now.end * 4 * width], width);
        } else {
            moment.go(after, width);
        }
        before = T::to_cpu_storage(after);
    }
    if op.keep {
        // An operation is applied once.
        let _ = op.kept.set(T::to_cpu_storage_owned(kept));
    }
    Ok((T::to_cpu_storage_owned(all), shape))
}

/// What a step starts from.
struct Moment<'a, T> {
    input: &'a [T],
    recurrent: &'a [T],
    biases: (&'a [T], &'a [T]),
    before: &'a [T],
    active: &'a [T],
}

impl<T: Number> Moment<'_, T> {
    /// Memory moves on, and nothing is kept.
    fn go(&self, after: &mut [T], width: usize) {
        vectorised(
            #[inline(always)]
            || {
                for (row, after) in after.chunks_exact_mut(width).enumerate() {
                    self.row(row, width, after, None);
                }
            },
        );
    }

    /// Memory moves on, and its gates are kept.
    fn keep(&self, after: &mut [T], kept: &mut [T], width: usize) {
        vectorised(
            #[inline(always)]
            || {
                let rows = after.chunks_exact_mut(width).zip(kept.chunks_exact_mut(4 * width));
                for (row, (after, kept)) in rows.enumerate() {
                    self.row(row, width, after, Some(kept));
                }
            },
        );
    }

    #[inline(always)]
    fn row(&self, row: usize, width: usize, after: &mut [T], kept: Option<&mut [T]>) {
        // All of one length that the compiler knows of, so that it needs no checks and uses vectors.
        let after = &mut after[..width];
        let before = &self.before[row * width..][..width];
        let input =
            Gates { own: parts(&self.input[row * 3 * width..], width), bias: parts(self.biases.0, width) };
        let recurrent = Gates {
            own: parts(&self.recurrent[row * 3 * width..], width),
            bias: parts(self.biases.1, width),
        };
        let active = self.active[row];
        match kept {
            None => {
                for at in 0..width {
                    let [_, update, new, _] = gates(&input, &recurrent, at);
                    after[at] = active * (new + update * (before[at] - new));
                }
            }
            Some(kept) => {
                let [kept_reset, kept_update, kept_new, kept_remembered] = parts_mut(kept, width);
                for at in 0..width {
                    let [reset, update, new, remembered] = gates(&input, &recurrent, at);
                    after[at] = active * (new + update * (before[at] - new));
                    kept_reset[at] = reset;
                    kept_update[at] = update;
                    kept_new[at] = new;
                    kept_remembered[at] = remembered;
                }
            }
        }
    }
}

/// What goes into a row's gates from one side, `[H]` for each of (reset, update, new).
struct Gates<'a, T> {
    own: [&'a [T]; 3],
    bias: [&'a [T]; 3],
}

/// r, z, n and g_n of one unit.
#[inline(always)]
fn gates<T: Number>(input: &Gates<'_, T>, recurrent: &Gates<'_, T>, at: usize) -> [T; 4] {
    // One by one: what takes functions is not compiled into the loop.
    let reset = input.own[0][at] + input.bias[0][at] + (recurrent.own[0][at] + recurrent.bias[0][at]);
    let update = input.own[1][at] + input.bias[1][at] + (recurrent.own[1][at] + recurrent.bias[1][at]);
    let remembered = recurrent.own[2][at] + recurrent.bias[2][at];
    let reset = reset.sigmoid();
    let new = (input.own[2][at] + input.bias[2][at] + reset * remembered).tanh();
    [reset, update.sigmoid(), new, remembered]
}

/// Gradients of the input, of weights and biases, and of memory before the first step.
fn backward<T: Number>(
    op: &Gru,
    [weights, hidden, after, gradient]: [&Tensor; 4],
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let (steps, rows, width) = after.dims3()?;
    let (gates, size, device) = (3 * width, rows * width, after.device());
    let kept = op.kept.get().expect("whoever asks for gradients is tracked, so gates were kept");
    let kept = kept.as_slice::<T>()?;
    let all = [weights, hidden, after, gradient, &op.active].map(Tensor::storage_and_layout);
    let [weights, hidden, after, gradient, active] = &all;
    let weight_layout = Layout::contiguous_with_offset((gates, width), weights.1.start_offset());
    let (first, after) = (held::<T>(hidden)?, held::<T>(after)?);
    let (gradient, active) = (held::<T>(gradient)?, held::<T>(active)?);

    let mut of_input = vec![T::zero(); steps * rows * gates];
    let mut of_gates = vec![T::zero(); steps * rows * gates];
    let mut of_hidden = vec![T::zero(); size];
    let layout = Layout::contiguous((rows, gates));
    for step in (0..if size > 0 { steps } else { 0 }).rev() {
        let before = if step == 0 { first } else { &after[(step - 1) * size..][..size] };
        let own = step * rows * gates..(step + 1) * rows * gates;
        let back = Back {
            kept: &kept[step * rows * 4 * width..][..rows * 4 * width],
            before,
            active: &active[step * rows..][..rows],
            gradient: &gradient[step * size..][..size],
        };
        back.go(&mut of_input[own.clone()], &mut of_gates[own.clone()], &mut of_hidden, width);
        if step == 0 && !op.to_hidden {
            break;
        }
        let slopes = T::to_cpu_storage(&of_gates[own]);
        let through = slopes.matmul(cpu(weights)?, (1, rows, width, gates), &layout, &weight_layout)?;
        let through = through.as_slice::<T>()?;
        vectorised(
            #[inline(always)]
            || {
                for (slope, &through) in of_hidden.iter_mut().zip(through) {
                    *slope += through;
                }
            },
        );
    }

    let mut of_biases = vec![T::zero(); 2 * gates];
    let (of_bias, of_own_bias) = of_biases.split_at_mut(gates);
    add_up(&of_input, of_bias);
    add_up(&of_gates, of_own_bias);
    let of_gates = Tensor::from_vec(of_gates, (steps * rows, gates), device)?;
    let before = [first, &after[..(steps.max(1) - 1) * size]].concat();
    let before = Tensor::from_vec(before, (steps * rows, width), device)?;
    let of_weight = of_gates.t()?.matmul(&before)?.flatten_all()?;
    let of_biases = Tensor::from_vec(of_biases, 2 * gates, device)?;
    let of_hidden = op.to_hidden.then(|| Tensor::from_vec(of_hidden, (rows, width), device));
    Ok((
        Some(Tensor::from_vec(of_input, (steps, rows, gates), device)?),
        Some(Tensor::cat(&[of_weight, of_biases], 0)?),
        of_hidden.transpose()?,
    ))
}

/// A step, backwards.
struct Back<'a, T> {
    kept: &'a [T],
    before: &'a [T],
    active: &'a [T],
    gradient: &'a [T],
}

impl<T: Number> Back<'_, T> {
    /// `of_hidden` is that of memory after the step, and then that of memory before it but for what went through the gates.
    fn go(&self, of_input: &mut [T], of_gates: &mut [T], of_hidden: &mut [T], width: usize) {
        vectorised(
            #[inline(always)]
            || {
                let rows = of_input.chunks_exact_mut(3 * width).zip(of_gates.chunks_exact_mut(3 * width));
                let rows = rows.zip(of_hidden.chunks_exact_mut(width));
                for (row, ((of_input, of_gates), of_hidden)) in rows.enumerate() {
                    self.row(row, width, of_input, of_gates, of_hidden);
                }
            },
        );
    }

    #[inline(always)]
    fn row(&self, row: usize, width: usize, of_input: &mut [T], of_gates: &mut [T], of_hidden: &mut [T]) {
        let of_hidden = &mut of_hidden[..width];
        let before = &self.before[row * width..][..width];
        let gradient = &self.gradient[row * width..][..width];
        let [reset, update, new, remembered] = parts(&self.kept[row * 4 * width..], width);
        let [input_reset, input_update, input_new] = parts_mut(of_input, width);
        let [own_reset, own_update, own_new] = parts_mut(of_gates, width);
        let (active, one) = (self.active[row], T::one());
        for at in 0..width {
            let slope = active * (gradient[at] + of_hidden[at]);
            let of_new = slope * (one - update[at]) * (one - new[at] * new[at]);
            let of_update = slope * (before[at] - new[at]) * update[at] * (one - update[at]);
            let of_reset = of_new * remembered[at] * reset[at] * (one - reset[at]);
            input_reset[at] = of_reset;
            input_update[at] = of_update;
            input_new[at] = of_new;
            own_reset[at] = of_reset;
            own_update[at] = of_update;
            own_new[at] = of_new * reset[at];
            of_hidden[at] = slope * update[at];
        }
    }
}

/// The sum of rows.
fn add_up<T: Number>(rows: &[T], sums: &mut [T]) {
    let width = sums.len();
    if width > 0 {
        vectorised(
            #[inline(always)]
            || {
                for row in rows.chunks_exact(width) {
                    for (sum, &value) in sums.iter_mut().zip(row) {
                        *sum += value;
                    }
                }
            },
        );
    }
}

/// The first so many parts of this width.
#[inline(always)]
fn parts<T, const N: usize>(row: &[T], width: usize) -> [&[T]; N] {
    std::array::from_fn(|index| &row[index * width..][..width])
}

/// The same, to be written to; the row has exactly these.
#[inline(always)]
fn parts_mut<T, const N: usize>(row: &mut [T], width: usize) -> [&mut [T]; N] {
    let mut rest = row;
    std::array::from_fn(|_| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(width);
        rest = others;
        part
    })
}
