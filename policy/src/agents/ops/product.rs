//! Rows through a matrix.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, backend::BackendStorage as _};

/// X Wᵀ, of rows `[.., I]` and a weight `[O, I]`: `[.., O]`.
pub fn product(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let op = Product { to_rows: rows.track_op(), to_weight: weight.track_op() };
    rows.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

/// Which gradients are asked for: those of the frozen are not.
pub(super) struct Product {
    pub to_rows: bool,
    pub to_weight: bool,
}

impl Product {
    pub fn forward(
        &self,
        (rows, rows_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let (outputs, inputs) = weight_layout.shape().dims2()?;
        let mut shape = rows_layout.dims().to_vec();
        let count = rows_layout.shape().elem_count() / inputs.max(1);
        let rows_layout = Layout::contiguous_with_offset((count, inputs), rows_layout.start_offset());
        if shape.pop() != Some(inputs) {
            candle_core::bail!(
                "rows of {:?} through a weight of {:?}",
                rows_layout.dims(),
                weight_layout.dims()
            );
        }
        shape.push(outputs);
        let result =
            rows.matmul(weight, (1, count, outputs, inputs), &rows_layout, &weight_layout.transpose(0, 1)?)?;
        Ok((result, shape.into()))
    }

    pub fn backward(
        &self,
        rows: &Tensor,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (outputs, inputs) = weight.dims2()?;
        let flat = gradient.contiguous()?.reshape(((), outputs))?;
        let of_rows = || flat.matmul(&weight.detach())?.reshape(rows.shape());
        let of_weight = || flat.t()?.matmul(&rows.detach().reshape(((), inputs))?);
        Ok((self.to_rows.then(of_rows).transpose()?, self.to_weight.then(of_weight).transpose()?))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        rows_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((rows, rows_layout), (weight, weight_layout))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(rows, weight, gradient)
    }
}
