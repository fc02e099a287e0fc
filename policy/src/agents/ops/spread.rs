//! One row added to many.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, backend::BackendStorage as _};

use super::{Number, held, numbers, of_type, vectorised};

/// Rows `[M, S, W]` with one `[M, W]` added to each S of them; no less than 0 if they are `rectified`.
pub fn spread(rows: &Tensor, row: &Tensor, rectified: bool) -> Result<Tensor> {
    let op = Spread { rectified, to_rows: rows.track_op(), to_row: row.track_op() };
    rows.contiguous()?.apply_op2(&row.contiguous()?, op)
}

/// What comes out, and which gradients are asked for.
pub(super) struct Spread {
    pub rectified: bool,
    pub to_rows: bool,
    pub to_row: bool,
}

impl Spread {
    /// `result`, of this shape, with a row added to each.
    pub fn add<T: Number>(
        &self,
        mut result: Vec<T>,
        shape: &Shape,
        row: (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let (groups, servers, width) = shape.dims3()?;
        if row.1.dims() != [groups, width] {
            candle_core::bail!("{:?} spread over {shape:?}", row.1.dims());
        }
        let row = numbers::<T>(row.0, row.1)?;
        if servers * width > 0 {
            vectorised(
                #[inline(always)]
                || {
                    for (rows, row) in result.chunks_exact_mut(servers * width).zip(row.chunks_exact(width)) {
                        for own in rows.chunks_exact_mut(width) {
                            for (own, &row) in own.iter_mut().zip(row) {
                                let sum = *own + row;
                                // What is not a number passes, so that it shows in the end.
                                *own = if self.rectified && sum < T::zero() { T::zero() } else { sum };
                            }
                        }
                    }
                },
            );
        }
        Ok(T::to_cpu_storage_owned(result))
    }

    pub fn backward(&self, result: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        of_type!(result.dtype(), backward(self, result, &gradient.contiguous()?))
    }
}

impl CustomOp2 for Spread {
    fn name(&self) -> &'static str {
        "spread"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        rows_layout: &Layout,
        row: &CpuStorage,
        row_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let storage = of_type!(rows.dtype(), forward(self, (rows, rows_layout), (row, row_layout)))?;
        Ok((storage, rows_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _rows: &Tensor,
        _row: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(result, gradient)
    }
}

fn forward<T: Number>(
    op: &Spread,
    rows: (&CpuStorage, &Layout),
    row: (&CpuStorage, &Layout),
) -> Result<CpuStorage> {
    op.add(numbers::<T>(rows.0, rows.1)?.to_vec(), rows.1.shape(), row)
}

fn backward<T: Number>(
    op: &Spread,
    result: &Tensor,
    gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (groups, servers, width) = result.dims3()?;
    let (result, given) = (result.storage_and_layout(), gradient.storage_and_layout());
    let (result, given) = (held::<T>(&result)?, held::<T>(&given)?);
    let mut of_row = vec![T::zero(); groups * width];
    let mut of_rows = Vec::new();
    if op.rectified {
        of_rows = given.to_vec();
        vectorised(
            #[inline(always)]
            || {
                for (slope, &result) in of_rows.iter_mut().zip(result) {
                    *slope = if result > T::zero() { *slope } else { T::zero() };
                }
            },
        );
    }
    let slopes = if op.rectified { &of_rows } else { given };
    if op.to_row && servers * width > 0 {
        vectorised(
            #[inline(always)]
            || {
                for (slopes, sums) in slopes.chunks_exact(servers * width).zip(of_row.chunks_exact_mut(width))
                {
                    for slopes in slopes.chunks_exact(width) {
                        for (sum, &slope) in sums.iter_mut().zip(slopes) {
                            *sum += slope;
                        }
                    }
                }
            },
        );
    }
    let device = gradient.device();
    let of_row = op.to_row.then(|| Tensor::from_vec(of_row, (groups, width), device)).transpose()?;
    let of_rows = match (op.to_rows, op.rectified) {
        (false, _) => None,
        (true, false) => Some(gradient.clone()),
        (true, true) => Some(Tensor::from_vec(of_rows, (groups, servers, width), device)?),
    };
    Ok((of_rows, of_row))
}
