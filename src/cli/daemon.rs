//! The client of the daemon's socket: HTTP over a Unix socket, `/api/v1`.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Sends one request to the daemon that listens on `socket` and gives its answer.
///
/// # Errors
/// No daemon answers, or it refuses: its own words.
pub fn ask(socket: &Path, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(exchange(socket, method, path, body))
}

/// Asks for `path` and waits no longer than `patience`.
///
/// # Errors
/// Those of [`ask`], and that the daemon was silent for so long.
pub fn ask_within(patience: Duration, socket: &Path, path: &str) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async { tokio::time::timeout(patience, exchange(socket, "GET", path, None)).await });
    let silent = |_| anyhow::anyhow!("the daemon did not answer within {} s", patience.as_secs());
    answer.map_err(silent)?
}

async fn exchange(socket: &Path, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("may not use {}: ask as root or as a member of the daemon's group", socket.display())
        }
        _ => anyhow::anyhow!("no daemon answers on {} ({error}); is `palisade run` running?", socket.display()),
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let text = body.map_or(String::new(), |body| body.to_string());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "palisade")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(text)))?;
    let answer = sender.send_request(request).await.context("the daemon closed the connection")?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await.context("the daemon's answer was cut off")?.to_bytes();
    connection.abort();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
    if !status.is_success() {
        match value["detail"].as_str().or(value.as_str()) {
            Some(detail) => bail!("{detail}"),
            None => bail!("the daemon answered {status}"),
        }
    }
    Ok(value)
}
