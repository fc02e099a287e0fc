//! Rows through a matrix, with one row added to many.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{Number, of_type, product::Product, spread::Spread};

/// [`product`](super::product()) and [`spread`](super::spread()) in one: rows `[M, S, I]`, a weight `[O, I]` and `[M, O]` to
/// `[M, S, O]`.
pub fn linear(rows: &Tensor, weight: &Tensor, row: &Tensor, rectified: bool) -> Result<Tensor> {
    let product = Product { to_rows: rows.track_op(), to_weight: weight.track_op() };
    let to_rows = product.to_rows || product.to_weight;
    let op = Linear { product, spread: Spread { rectified, to_rows, to_row: row.track_op() } };
    rows.contiguous()?.apply_op3(&weight.contiguous()?, &row.contiguous()?, op)
}

struct Linear {
    product: Product,
    spread: Spread,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        rows_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        row: &CpuStorage,
        row_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (product, shape) = self.product.forward((rows, rows_layout), (weight, weight_layout))?;
        let spread = &self.spread;
        let result = of_type!(row_dtype(row), add(spread, product, &shape, (row, row_layout)))?;
        Ok((result, shape))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        weight: &Tensor,
        _row: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (slopes, of_row) = self.spread.backward(result, gradient)?;
        let (of_rows, of_weight) = match slopes {
            Some(slopes) => self.product.backward(rows, weight, &slopes)?,
            None => (None, None),
        };
        Ok((of_rows, of_weight, of_row))
    }
}

fn row_dtype(row: &CpuStorage) -> candle_core::DType {
    candle_core::backend::BackendStorage::dtype(row)
}

fn add<T: Number>(
    spread: &Spread,
    product: CpuStorage,
    shape: &Shape,
    row: (&CpuStorage, &Layout),
) -> Result<CpuStorage> {
    spread.add(T::cpu_storage_data(product)?, shape, row)
}
