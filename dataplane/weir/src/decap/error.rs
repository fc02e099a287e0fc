//! What can keep `weir decap` from running.

use std::net::IpAddr;

use nix::errno::Errno;

/// The cause, by `Display`; what to do about it, by [`DecapError::remedy`].
#[derive(Debug, thiserror::Error)]
pub enum DecapError {
    /// `/dev/net/tun` cannot be opened.
    #[error("cannot open /dev/net/tun: {errno}")]
    TunMissing {
        /// What the kernel said.
        errno: Errno,
    },
    /// The name cannot be an interface's.
    #[error("`{name}` cannot be the name of a network interface")]
    TunName {
        /// The name asked for.
        name: String,
    },
    /// The TUN device cannot be made, or not be brought up.
    #[error("cannot create TUN device `{name}`: {errno}")]
    TunCreate {
        /// The name asked for.
        name: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// An option was given that another encapsulation has.
    #[error("{option} goes with --encap {belongs_to} only")]
    StrayOption {
        /// The option.
        option: &'static str,
        /// The encapsulation that has it.
        belongs_to: &'static str,
    },
    /// A socket cannot be opened.
    #[error("cannot open a socket for {what}: {errno}")]
    Socket {
        /// Protocol and family.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A socket that worked stopped working.
    #[error("cannot receive {what}: {errno}")]
    Receive {
        /// Protocol and family.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A VIP cannot be put on lo.
    #[error("cannot add {vip} to lo: {errno}")]
    Address {
        /// The address of `--vip`.
        vip: IpAddr,
        /// What the kernel said.
        errno: Errno,
    },
    /// A kernel setting cannot be read or written.
    #[error("cannot set {path}: {error}")]
    Sysctl {
        /// The file below /proc/sys.
        path: String,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// Signals or packets cannot be waited for.
    #[error("cannot wait for signals and packets: {errno}")]
    Wait {
        /// What the kernel said.
        errno: Errno,
    },
}

const BE_ROOT: &str = "run it as root, or give it CAP_NET_ADMIN and CAP_NET_RAW";

impl DecapError {
    /// One line that says what to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::TunMissing { errno: Errno::ENOENT } => {
                "load the driver with `modprobe tun`, or give the container the device /dev/net/tun"
            }
            Self::TunMissing { errno: Errno::ENXIO | Errno::ENODEV } => {
                "the kernel has no TUN driver: load it with `modprobe tun`"
            }
            Self::TunName { .. } => "use 1 to 15 characters without `/` or spaces, for example --tun weir0",
            Self::TunCreate { errno: Errno::EBUSY, .. } => {
                "the name is in use: stop the other `weir decap`, or choose a name with --tun"
            }
            Self::TunCreate { errno: Errno::EINVAL, .. } => {
                "an interface of another kind has that name: choose another with --tun"
            }
            Self::TunMissing { errno: Errno::EPERM | Errno::EACCES }
            | Self::TunCreate { errno: Errno::EPERM | Errno::EACCES, .. }
            | Self::Socket { errno: Errno::EPERM | Errno::EACCES, .. }
            | Self::Address { errno: Errno::EPERM | Errno::EACCES, .. } => BE_ROOT,
            Self::StrayOption { .. } => "leave the option out, or change --encap",
            Self::Socket { errno: Errno::EADDRINUSE, .. } => {
                "another program has the UDP port: stop it, or choose another with --gue-port, here and as \
                 gue_port of the balancer"
            }
            Self::Socket { errno: Errno::EAFNOSUPPORT, .. } => {
                "the kernel runs without this family: boot without `ipv6.disable=1`"
            }
            Self::Address { .. } => "add it yourself with `ip address add ADDR dev lo` and leave out --vip",
            Self::Sysctl { .. } => {
                "write 0 to it yourself as root and leave out --vip; /proc/sys must be writable"
            }
            Self::TunMissing { .. } | Self::TunCreate { .. } | Self::Socket { .. } => {
                "see the kernel log (`dmesg`) for why it refused"
            }
            Self::Receive { .. } | Self::Wait { .. } => "start it again; report it if it comes back",
        }
    }
}
