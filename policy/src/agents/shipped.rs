//! The models that ship: what an agent runs whose configuration names none.
//!
//! They are made by `weir-train train` with the configurations in `configs/train/`; `docs/results/training.md` says what they are worth.

/// The model of a policy, as the bytes of its file; `None`: it needs none.
pub const fn shipped(policy: &str) -> Option<&'static [u8]> {
    match policy.as_bytes() {
        b"sac-gru" => Some(include_bytes!("../../../configs/models/sac_gru.safetensors")),
        b"qmix" => Some(include_bytes!("../../../configs/models/qmix.safetensors")),
        _ => None,
    }
}
