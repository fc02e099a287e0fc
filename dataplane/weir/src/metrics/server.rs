//! The HTTP listener for metrics and health.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

use super::{Source, render};
use crate::socket::Bound;

/// A control thread that has not made a round for this long counts as stuck.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves `/metrics`, `/healthz` and `/readyz` at `listen`, and the control socket, on a thread of its own until the
/// process ends.
///
/// Returns the address in use. Errors: the address cannot be bound.
pub fn serve(
    listen: Option<SocketAddr>,
    socket: Option<Bound>,
    source: Arc<Source>,
) -> io::Result<Option<SocketAddr>> {
    let listener = listen.map(TcpListener::bind).transpose()?;
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    if listener.is_none() && socket.is_none() {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    thread::Builder::new().name("metrics".into()).spawn(move || {
        runtime.block_on(async move {
            let metrics = async {
                if let Some(listener) = listener {
                    report("metrics listener", serve_http(listener, Arc::clone(&source)).await);
                }
            };
            let control = async {
                if let Some(socket) = socket {
                    report("control socket", socket.serve(Arc::clone(&source)).await);
                }
            };
            tokio::join!(metrics, control);
        });
    })?;
    Ok(address)
}

fn report(what: &str, ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the {what} ended");
    }
}

async fn serve_http(listener: TcpListener, source: Arc<Source>) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(source);
    listener.set_nonblocking(true)?;
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
}

async fn metrics(State(source): State<Arc<Source>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], render(&source))
}

/// Alive: the control thread makes its rounds and every worker turns.
async fn healthz(State(source): State<Arc<Source>>) -> (StatusCode, String) {
    let turns = |source: &Source| -> Vec<u64> {
        source.workers.iter().map(|worker| worker.counters.lcore.cycles.get()).collect()
    };
    let (heartbeat, before) = (source.heartbeat.load(Ordering::Relaxed), turns(&source));
    let patience = tokio::time::Instant::now() + HEARTBEAT_TIMEOUT;
    loop {
        let control = source.heartbeat.load(Ordering::Relaxed) != heartbeat;
        let after = turns(&source);
        let stuck: Vec<_> = (0..before.len()).filter(|&at| before[at] == after[at]).collect();
        if control && stuck.is_empty() {
            return (StatusCode::OK, "ok\n".into());
        }
        if tokio::time::Instant::now() >= patience {
            let control = if control { "" } else { "the control thread is stuck\n" };
            let workers: String = stuck.iter().map(|worker| format!("worker {worker} is stuck\n")).collect();
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{control}{workers}"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn readyz(State(source): State<Arc<Source>>) -> (StatusCode, String) {
    match source.ready() {
        Ok(notes) => (StatusCode::OK, format!("ready\n{notes}")),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}
