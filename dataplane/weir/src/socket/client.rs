//! The operator's side.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use crate::{
    config::Config,
    error::{EXIT_CONFIG, EXIT_NOT_RUNNING, EXIT_USAGE, Failure},
};

/// Asks the instance that listens at `socket` for what it says with `command` about what is called `name`.
///
/// Errors: nobody listens there, or it has no answer; then the cause is what it says.
pub fn ask<T: DeserializeOwned>(socket: &Path, command: &str, name: &str) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| Failure::environment(error, "raise the limit on open files"))?;
    let (status, body) = runtime.block_on(get(socket, &format!("/{command}/{}", encoded(name))))?;
    if status != 200 {
        let cause = String::from_utf8_lossy(&body).trim().to_string();
        return Err(Failure {
            cause,
            remedy: "`weir status` shows the VIPs of an instance".into(),
            code: EXIT_USAGE,
        });
    }
    serde_json::from_slice(&body).map_err(|error| {
        Failure::environment(
            format!("{} gave an answer that this version cannot read: {error}", socket.display()),
            "use the weir that the instance was started with",
        )
    })
}

async fn get(socket: &Path, place: &str) -> Result<(u16, Bytes), Failure> {
    let nobody = |error: std::io::Error| Failure {
        cause: format!("nobody listens at {}: {error}", socket.display()),
        remedy: "start weir, or name its socket with --socket or its configuration with --config".into(),
        code: EXIT_NOT_RUNNING,
    };
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(nobody)?;
    let broken = |error: hyper::Error| {
        Failure::environment(
            format!("{}: {error}", socket.display()),
            "ask again; if it lasts, look at the instance's log",
        )
    };
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(broken)?;
    let request = hyper::Request::get(place).header("host", "weir").body(Empty::<Bytes>::new());
    let request = request.map_err(Failure::internal)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(broken)?;
        Ok((status, body.to_bytes()))
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => Err(broken(ended.expect_err("it ends by itself only when it breaks"))),
    }
}

/// A name as one segment of a path.
fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The socket that was asked for: by itself, or by a configuration.
pub fn socket_of(socket: Option<&Path>, config: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(socket) = socket {
        return Ok(socket.to_owned());
    }
    let Some(file) = config else { return Ok(crate::config::DEFAULT_SOCKET.into()) };
    let loaded = Config::load(file).map_err(|errors| Failure::config(&errors))?;
    loaded.config.control.socket.ok_or_else(|| Failure {
        cause: format!("{} turns the control socket off", file.display()),
        remedy: format!("write [control] socket = {:?} and restart weir", crate::config::DEFAULT_SOCKET),
        code: EXIT_CONFIG,
    })
}
