//! What servers have in common.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, backend::BackendStorage as _};

use super::{Number, held, numbers, of_type, vectorised};

/// Mean, then maximum, of rows that are not negative, `[M, S, W]`, over those S that are active, `[M, S]`: `[M, 2W]`.
///
/// No gradient flows through `active`; of rows that share a maximum the first one gets its gradient. Zeros where none is active.
pub fn pool(rows: &Tensor, active: &Tensor) -> Result<Tensor> {
    rows.contiguous()?.apply_op1(Pool { active: active.detach().contiguous()? })
}

/// The mean alone, of any rows: `[M, W]`.
pub fn average(rows: &Tensor, active: &Tensor) -> Result<Tensor> {
    rows.contiguous()?.apply_op1(Average { active: active.detach().contiguous()? })
}

struct Pool {
    active: Tensor,
}

struct Average {
    active: Tensor,
}

impl CustomOp1 for Average {
    fn name(&self) -> &'static str {
        "average"
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (groups, _, width) = layout.shape().dims3()?;
        let storage = of_type!(rows.dtype(), mean(rows, layout, &self.active))?;
        Ok((storage, Shape::from((groups, width))))
    }

    fn bwd(&self, rows: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        of_type!(rows.dtype(), backward_of_mean(rows, &gradient.contiguous()?, &self.active)).map(Some)
    }
}

fn mean<T: Number>(rows: &CpuStorage, layout: &Layout, active: &Tensor) -> Result<CpuStorage> {
    let (groups, servers, width) = layout.shape().dims3()?;
    let rows = numbers::<T>(rows, layout)?;
    let active = active.storage_and_layout();
    let active = held::<T>(&active)?;
    let mut result = vec![T::zero(); groups * width];
    if servers * width > 0 {
        vectorised(
            #[inline(always)]
            || {
                let groups = rows.chunks_exact(servers * width).zip(active.chunks_exact(servers));
                for ((rows, active), mean) in groups.zip(result.chunks_exact_mut(width)) {
                    let share = T::one() / count(active);
                    for (row, &active) in rows.chunks_exact(width).zip(active) {
                        for (mean, &value) in mean.iter_mut().zip(row) {
                            *mean += value * active * share;
                        }
                    }
                }
            },
        );
    }
    Ok(T::to_cpu_storage_owned(result))
}

fn backward_of_mean<T: Number>(rows: &Tensor, gradient: &Tensor, active: &Tensor) -> Result<Tensor> {
    let (groups, servers, width) = rows.dims3()?;
    let held_gradient = gradient.storage_and_layout();
    let held_active = active.storage_and_layout();
    let (given, active) = (held::<T>(&held_gradient)?, held::<T>(&held_active)?);
    let mut slopes = vec![T::zero(); groups * servers * width];
    if servers * width > 0 {
        vectorised(
            #[inline(always)]
            || {
                let groups = slopes.chunks_exact_mut(servers * width).zip(active.chunks_exact(servers));
                for ((slopes, active), given) in groups.zip(given.chunks_exact(width)) {
                    let share = T::one() / count(active);
                    for (slopes, &active) in slopes.chunks_exact_mut(width).zip(active) {
                        for (slope, &given) in slopes.iter_mut().zip(given) {
                            *slope = active * share * given;
                        }
                    }
                }
            },
        );
    }
    Tensor::from_vec(slopes, (groups, servers, width), gradient.device())
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (groups, _, width) = layout.shape().dims3()?;
        let storage = of_type!(rows.dtype(), forward(rows, layout, &self.active))?;
        Ok((storage, Shape::from((groups, 2 * width))))
    }

    fn bwd(&self, rows: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        of_type!(rows.dtype(), backward([rows, result, &gradient.contiguous()?, &self.active])).map(Some)
    }
}

fn forward<T: Number>(rows: &CpuStorage, layout: &Layout, active: &Tensor) -> Result<CpuStorage> {
    let (groups, servers, width) = layout.shape().dims3()?;
    let rows = numbers::<T>(rows, layout)?;
    let active = active.storage_and_layout();
    let active = held::<T>(&active)?;
    let mut result = vec![T::zero(); groups * 2 * width];
    if servers * width > 0 {
        vectorised(
            #[inline(always)]
            || {
                let groups = rows.chunks_exact(servers * width).zip(active.chunks_exact(servers));
                for ((rows, active), result) in groups.zip(result.chunks_exact_mut(2 * width)) {
                    let (mean, max) = result.split_at_mut(width);
                    for (row, &active) in rows.chunks_exact(width).zip(active) {
                        for ((mean, max), &value) in mean.iter_mut().zip(max.iter_mut()).zip(row) {
                            let value = value * active;
                            *mean += value;
                            *max = if value > *max { value } else { *max };
                        }
                    }
                    let share = T::one() / count(active);
                    for mean in mean {
                        *mean *= share;
                    }
                }
            },
        );
    }
    Ok(T::to_cpu_storage_owned(result))
}

fn backward<T: Number>([rows, result, gradient, active]: [&Tensor; 4]) -> Result<Tensor> {
    let (groups, servers, width) = rows.dims3()?;
    let device = rows.device();
    let all = [rows, result, gradient, active].map(Tensor::storage_and_layout);
    let [rows, result, gradient, active] = &all;
    let (rows, result) = (held::<T>(rows)?, held::<T>(result)?);
    let (gradient, active) = (held::<T>(gradient)?, held::<T>(active)?);
    let mut slopes = vec![T::zero(); rows.len()];
    if servers * width > 0 {
        let mut of_max = vec![T::zero(); width];
        vectorised(
            #[inline(always)]
            || {
                for group in 0..groups {
                    let own = group * servers * width..(group + 1) * servers * width;
                    let active = &active[group * servers..][..servers];
                    let (of_mean, given) = gradient[group * 2 * width..][..2 * width].split_at(width);
                    let max = &result[group * 2 * width + width..][..width];
                    let share = T::one() / count(active);
                    of_max.copy_from_slice(given);
                    let rows = rows[own.clone()].chunks_exact(width).zip(slopes[own].chunks_exact_mut(width));
                    for ((row, slopes), &active) in rows.zip(active) {
                        let values = row.iter().zip(max).zip(of_mean).zip(of_max.iter_mut()).zip(slopes);
                        for ((((&value, &max), &of_mean), of_max), slope) in values {
                            let first = value * active == max;
                            let taken = if first { *of_max } else { T::zero() };
                            *of_max = if first { T::zero() } else { *of_max };
                            *slope = active * (of_mean * share + taken);
                        }
                    }
                }
            },
        );
    }
    Tensor::from_vec(slopes, (groups, servers, width), device)
}

/// How many count, but 1 if none does.
#[inline(always)]
fn count<T: Number>(active: &[T]) -> T {
    let count = active.iter().fold(T::zero(), |sum, &active| sum + active);
    if count > T::one() { count } else { T::one() }
}
