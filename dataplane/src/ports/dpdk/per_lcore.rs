//! DPDK's per-thread variables.
//!
//! They are thread-local symbols of librte_eal, which stable Rust cannot name; two instructions read one
//! (initial-exec model: librte_eal is loaded with the program).

use std::arch::asm;

/// Reads a 32-bit thread-local symbol of DPDK.
macro_rules! read {
    ($symbol:literal) => {{
        let value: u32;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: - the symbol is a 32-bit thread-local variable that librte_eal exports and that is
        //           always initialised, so its offset from the thread pointer is in the GOT;
        //         - the instructions only read, and use no stack and no flags.
        unsafe {
            asm!(
                concat!("mov {offset}, qword ptr [rip + ", $symbol, "@GOTTPOFF]"),
                "mov {value:e}, dword ptr fs:[{offset}]",
                offset = out(reg) _,
                value = out(reg) value,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above; the thread pointer is in tpidr_el0.
        unsafe {
            asm!(
                "mrs {thread}, tpidr_el0",
                concat!("adrp {offset}, :gottprel:", $symbol),
                concat!("ldr {offset}, [{offset}, :gottprel_lo12:", $symbol, "]"),
                "ldr {value:w}, [{thread}, {offset}]",
                thread = out(reg) _,
                offset = out(reg) _,
                value = out(reg) value,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        value
    }};
}

/// The calling thread's lcore, `u32::MAX` when it has none. No two threads have the same.
#[inline]
pub(super) fn lcore_id() -> u32 {
    read!("per_lcore__lcore_id")
}

/// The error number that the last failed call into DPDK left on this thread.
pub(super) fn errno() -> i32 {
    read!("per_lcore__rte_errno").cast_signed()
}
