//! The web servers, and the files they serve.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use super::netns::Namespace;
use super::process::Process;
use super::{Scratch, wait_for};

/// One file of random content.
#[derive(Debug)]
pub struct Body {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// The files every server has, in a folder that goes with the value.
#[derive(Clone, Debug)]
pub struct Site {
    scratch: Arc<Scratch>,
    pub bodies: Arc<Vec<Body>>,
}

impl Site {
    /// Files of 1 B, 1 kB and 100 kB: one segment with room, about one segment, a window of them.
    pub fn new(seed: u64) -> Self {
        let scratch = Scratch::new();
        let mut state = seed | 1;
        let bodies = [1, 1_000, 100_000].map(|length| {
            let bytes: Vec<u8> = std::iter::repeat_with(|| xorshift(&mut state)).take(length).collect();
            let path = format!("{length}.bin");
            fs::write(scratch.path().join(&path), &bytes).expect("the scratch folder is writable");
            Body { path, bytes }
        });
        Self { scratch: Arc::new(scratch), bodies: Arc::new(bodies.into()) }
    }
}

fn xorshift(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    state.to_le_bytes()[7]
}

/// Starts a server on `port` of every address of its namespace, and waits until it listens.
/// It names itself after the namespace in the header `X-Server`.
pub fn start(namespace: &Namespace, port: u16, site: &Site, folder: &Scratch) -> Process {
    let name = namespace.name();
    let prefix = folder.path().join(format!("nginx-{name}"));
    fs::create_dir_all(&prefix).expect("the scratch folder is writable");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", prefix.display()))
        .concat();
    let config = format!(
        "daemon off; master_process off; pid {prefix}/pid;
         error_log stderr warn;
         events {{ worker_connections 8192; }}
         http {{
             {temporary}
             access_log off; keepalive_timeout 300s; keepalive_requests 10000000;
             server {{
                 listen 0.0.0.0:{port} backlog=4096;
                 listen [::]:{port} ipv6only=on backlog=4096;
                 root {root};
                 add_header X-Server {name} always;
             }}
         }}\n",
        prefix = prefix.display(),
        root = site.scratch.path().display(),
    );
    let file = prefix.join("nginx.conf");
    fs::write(&file, config).expect("the scratch folder is writable");
    namespace.sysctl("net/core/somaxconn", "4096");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&prefix).arg("-c").arg(&file).args(["-e", "stderr"]);
    let mut process = Process::start(namespace, &format!("nginx-{name}"), command, folder.path());
    wait_for(&format!("nginx in {name}"), std::time::Duration::from_secs(10), || {
        process.assert_running();
        namespace.run(|| std::net::TcpStream::connect(("127.0.0.1", port))).ok()
    });
    process
}
