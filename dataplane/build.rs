//! Tells the code which DPDK it is bound to, as `cfg(dpdk_23_11)` and so on: that release or later.

/// Long-term releases after 22.11; the same list as in `dpdk-sys`.
const LATER: [&str; 3] = ["23.11", "24.11", "25.11"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // From dpdk-sys; not set without the feature `dpdk`.
    let bound = std::env::var("DEP_DPDK_VERSION").map(|text| version(&text)).unwrap_or_default();
    for release in LATER {
        let name = format!("dpdk_{}", release.replace('.', "_"));
        println!("cargo::rustc-check-cfg=cfg({name})");
        if bound >= version(release) {
            println!("cargo::rustc-cfg={name}");
        }
    }
}

/// Year and month of a release, which order releases.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
