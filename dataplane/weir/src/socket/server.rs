//! The instance's side.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path as Parameter, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{explain::View, metrics::Source};

/// A socket that is listened to. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    path: PathBuf,
}

/// Makes the socket at `path`, mode 0600. What an instance that was killed has left there is removed.
///
/// Errors: the folder does not exist or may not be written, another instance listens there, or what is there is no
/// socket.
pub fn bind(path: &Path) -> io::Result<Bound> {
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no socket"));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another instance listens there"));
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(Bound { listener, path: path.to_owned() })
}

impl Bound {
    /// Answers for ever. Errors: the socket cannot be used.
    pub async fn serve(self, source: Arc<Source>) -> io::Result<()> {
        let router = Router::new().route("/explain/{vip}", get(explain)).with_state(source);
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        axum::serve(listener, router).await
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The last decisions about a VIP.
async fn explain(State(source): State<Arc<Source>>, Parameter(vip): Parameter<String>) -> Response {
    match View::new(&source, &vip) {
        Ok(view) => Json(view).into_response(),
        Err(why_not) => (StatusCode::NOT_FOUND, why_not.to_string()).into_response(),
    }
}
