//! Operations of the network on Candle's tensors, each with a gradient of its own.
//!
//! Candle has all of this too, of smaller operations: but each of them allocates, goes through memory and is walked backwards,
//! broadcasts go number by number, exponentials are not vectorised, and gradients are computed even where nobody asks for them.
//! Loops are compiled for AVX2 too and chosen at run time; that changes no bits, as nothing is fused or reordered.

mod gru;
mod linear;
mod number;
mod pool;
mod product;
mod spread;

pub use self::{
    gru::gru,
    linear::linear,
    pool::{average, pool},
    product::product,
    spread::spread,
};

use candle_core::{CpuStorage, Error, Layout, Result, Storage, StorageRef};

use self::number::Number;

/// A tensor that is being read.
type Held<'a> = (StorageRef<'a>, &'a Layout);

/// The numbers of a storage that lie one after another.
fn numbers<'a, T: Number>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let (from, to) =
        layout.contiguous_offsets().ok_or_else(|| Error::RequiresContiguous { op: "ops" }.bt())?;
    Ok(&storage.as_slice::<T>()?[from..to])
}

/// The same of a tensor.
fn held<'a, T: Number>(held: &'a Held<'_>) -> Result<&'a [T]> {
    numbers(cpu(held)?, held.1)
}

fn cpu<'a>(held: &'a Held<'_>) -> Result<&'a CpuStorage> {
    match &*held.0 {
        Storage::Cpu(storage) => Ok(storage),
        Storage::Cuda(_) | Storage::Metal(_) => Err(Error::Msg("the network runs on the CPU".into()).bt()),
    }
}

/// Runs a loop that is compiled for the vectors the processor has. It has to be `#[inline(always)]`.
fn vectorised(body: impl FnMut()) {
    pulp::Arch::new().dispatch(Loop(body));
}

/// Pulp would take a closure too, but calls it through a function that is not compiled for these vectors.
struct Loop<F>(F);

impl<F: FnMut()> pulp::WithSimd for Loop<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(mut self, _: S) {
        (self.0)();
    }
}

/// Runs a function of the type that numbers have.
macro_rules! of_type {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            candle_core::DType::F32 => $function::<f32>($($argument),*),
            candle_core::DType::F64 => $function::<f64>($($argument),*),
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, stringify!($function)).bt()),
        }
    };
}
use of_type;
