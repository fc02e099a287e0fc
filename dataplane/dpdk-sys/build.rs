//! Finds libdpdk by pkg-config and generates the bindings from the headers it names.
//!
//! No header of DPDK is copied into the repository, so the structures are always those of the library
//! that is linked. What differs between DPDK releases is told to the code as `cfg(dpdk_23_11)` and so
//! on, each of which means "this release or a later one". A dependent crate hears the same through
//! cargo's `DEP_DPDK_VERSION`.

use std::env;
use std::path::PathBuf;
use std::process::exit;

/// The oldest DPDK that the code is written for.
const OLDEST: &str = "22.11";

/// Long-term releases after [`OLDEST`]; each has a `cfg` of its own.
const LATER: [&str; 3] = ["23.11", "24.11", "25.11"];

/// The headers whose declarations we use.
const HEADERS: [&str; 12] = [
    "stdio.h",
    "rte_errno.h",
    "rte_log.h",
    "rte_eal.h",
    "rte_lcore.h",
    "rte_launch.h",
    "rte_dev.h",
    "rte_mempool.h",
    "rte_mbuf.h",
    "rte_ring.h",
    "rte_ethdev.h",
    "rte_eth_ring.h",
];

/// Everything that is bound; types follow from the functions that use them.
const FUNCTIONS: [&str; 45] = [
    "fopencookie",
    "rte_strerror",
    "rte_openlog_stream",
    "rte_log_cur_msg_loglevel",
    "rte_eal_init",
    "rte_eal_has_hugepages",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_lcore_to_socket_id",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_get_tsc_hz",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_pktmbuf_pool_create",
    "rte_pktmbuf_free_bulk",
    "rte_mempool_in_use_count",
    "rte_ring_create",
    "rte_ring_free",
    "rte_eth_from_rings",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_iterator_init",
    "rte_eth_iterator_next",
    "rte_eth_iterator_cleanup",
    "rte_eth_dev_owner_new",
    "rte_eth_dev_owner_set",
    "rte_eth_dev_info_get",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_configure",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_rx_queue_setup",
    "rte_eth_tx_queue_setup",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_set_mtu",
    "rte_eth_macaddr_get",
    "rte_eth_dev_default_mac_addr_set",
    "rte_eth_promiscuous_enable",
    "rte_eth_promiscuous_get",
    "rte_eth_allmulticast_enable",
    "rte_eth_allmulticast_get",
    "rte_eth_link_get_nowait",
    "rte_eth_stats_get",
];

/// Bit masks that DPDK writes with the function-like macro `RTE_BIT64`, which bindgen cannot evaluate:
/// it sees them as constants of its own, whose [`PREFIX`] is then taken away again.
const BITS: [&str; 9] = [
    "RTE_ETH_RX_OFFLOAD_IPV4_CKSUM",
    "RTE_ETH_RX_OFFLOAD_UDP_CKSUM",
    "RTE_ETH_RX_OFFLOAD_TCP_CKSUM",
    "RTE_ETH_RX_OFFLOAD_SCATTER",
    "RTE_ETH_TX_OFFLOAD_MULTI_SEGS",
    "RTE_ETH_RSS_IP",
    "RTE_ETH_RSS_TCP",
    "RTE_ETH_RSS_UDP",
    "RTE_MBUF_F_INDIRECT",
];

/// See [`BITS`].
const PREFIX: &str = "constant_";

/// Exported data and constants.
const VARIABLES: [&str; 16] = [
    "rte_eth_fp_ops",
    "rte_mempool_ops_table",
    "RTE_MAX_LCORE",
    "RTE_MAX_ETHPORTS",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_MBUF_PORT_INVALID",
    "RTE_MBUF_DEFAULT_DATAROOM",
    "RTE_MEMPOOL_CACHE_MAX_SIZE",
    "RTE_ETHER_(ADDR_LEN|HDR_LEN|CRC_LEN|MTU|MIN_MTU)",
    "RTE_LOG_(EMERG|ALERT|CRIT|ERR|WARNING|NOTICE|INFO|DEBUG)",
    "RTE_MBUF_F_RX_(IP|L4)_CKSUM_.*",
    "RTE_MBUF_F_EXTERNAL",
    "RTE_PTYPE_L3_(MASK|IPV6.*)",
    "RTE_ETH_MQ_RX_(NONE|RSS)",
    "RTE_ETH_NAME_MAX_LEN",
    "RING_F_(SP_ENQ|SC_DEQ)",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for release in LATER {
        println!("cargo::rustc-check-cfg=cfg({})", cfg_name(release));
    }

    let dpdk = match pkg_config::Config::new().atleast_version(OLDEST).probe("libdpdk") {
        Ok(dpdk) => dpdk,
        Err(error) => {
            println!("cargo::error=DPDK {OLDEST} or later is needed and pkg-config does not find it");
            println!("cargo::error=remedy: apt-get install libdpdk-dev libclang-dev");
            println!("cargo::warning={}", error.to_string().replace('\n', " "));
            exit(1);
        }
    };
    // Ports made of rings are a driver, which pkg-config leaves to be loaded at run time.
    println!("cargo::rustc-link-lib=rte_net_ring");
    println!("cargo::metadata=version={}", dpdk.version);
    for release in LATER {
        if version(&dpdk.version) >= version(release) {
            println!("cargo::rustc-cfg={}", cfg_name(release));
        }
    }

    let mut header: String = HEADERS.iter().map(|header| format!("#include <{header}>\n")).collect();
    for bits in BITS {
        header += &format!("static const uint64_t {PREFIX}{bits} = {bits};\n");
    }
    let mut builder = bindgen::Builder::default()
        .header_contents("dpdk.h", &header)
        .clang_args(["-include", "rte_config.h", "-D_GNU_SOURCE"])
        .clang_args(dpdk.include_paths.iter().map(|path| format!("-I{}", path.display())))
        // Structures that are packed and aligned at once, which Rust cannot express.
        .opaque_type("rte_arp_ipv4|rte_arp_hdr|rte_l2tpv2_combined_msg_hdr|rte_gtp_psc_generic_hdr|_IO_FILE")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(false)
        .generate_comments(false)
        .layout_tests(true)
        .parse_callbacks(Box::new(Unprefix));
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        builder = builder.clang_arg("-march=corei7");
    }
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    builder = builder.allowlist_var(format!("{PREFIX}.*"));
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        Err(error) => {
            println!(
                "cargo::error=bindgen cannot read DPDK's headers: {}",
                error.to_string().replace('\n', " ")
            );
            println!("cargo::error=remedy: apt-get install libdpdk-dev libclang-dev");
            exit(1);
        }
    };
    bindings.write_to_file(out_dir().join("bindings.rs")).expect("cargo's OUT_DIR is writable");
}

/// Takes [`PREFIX`] off the names that have it.
#[derive(Debug)]
struct Unprefix;

impl bindgen::callbacks::ParseCallbacks for Unprefix {
    fn item_name(&self, item: bindgen::callbacks::ItemInfo<'_>) -> Option<String> {
        item.name.strip_prefix(PREFIX).map(str::to_owned)
    }
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"))
}

/// `dpdk_23_11` for "23.11".
fn cfg_name(release: &str) -> String {
    format!("dpdk_{}", release.replace('.', "_"))
}

/// Year and month of a release, which order releases.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
