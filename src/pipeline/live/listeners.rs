//! Where the daemon listens: its socket, the dashboard, what monitoring asks, and CrowdSec's bouncers.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::record::Sqlite;
use crate::show::{self, Backend};

/// Listens on the socket, which its owner and group may use. One left behind by a crash is
/// replaced; one that answers is another daemon's.
pub async fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let shown = path.display();
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .with_context(|| format!("cannot make {} for the socket; set `socket`", directory.display()))?;
    }
    if UnixStream::connect(path).await.is_ok() {
        bail!("another palisade answers on {shown}; stop it, or set `socket`");
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
            std::fs::remove_file(path).with_context(|| format!("cannot replace the old socket {shown}"))?;
        }
        Ok(_) => bail!("{shown} is there and is no socket; set `socket`"),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {shown}; set `socket`"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot set the permissions of {shown}"))?;
    Ok(listener)
}

/// How people reach the dashboard: as configured, else where it is served.
pub fn public_url(config: &Config) -> String {
    match config.public_url.trim_end_matches('/') {
        "" => format!("http://{}", config.dashboard.listen),
        url => url.to_owned(),
    }
}

/// Serves the dashboard, if that is wanted. Where it cannot be served, clients are shut out all the same.
pub async fn dashboard(backend: Backend) {
    let config = backend.dashboard.clone();
    let address = match config.address() {
        Ok(None) => return,
        Ok(Some(address)) => address,
        Err(error) => return tracing::error!("dashboard.listen: {error}"),
    };
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%address, "no dashboard: {error}; set `listen` under [dashboard]"),
    };
    if !address.ip().is_loopback() && !backend.public_url.starts_with("https://") {
        tracing::warn!(
            %address,
            "the dashboard is served over plain HTTP to other hosts: whoever sees the traffic can sign in as they do"
        );
    }
    match show::first_link(&backend).await {
        Ok(None) => tracing::info!(url = &*backend.public_url, "the dashboard is served"),
        Ok(Some(link)) => {
            tracing::info!(link, "the dashboard waits for its administrator to choose a password, within a day");
        }
        Err(error) => tracing::error!("nobody can sign in at the dashboard: {error}"),
    }
    if let Err(error) = axum::serve(listener, show::dashboard(backend)).await {
        tracing::error!("no more dashboard: {error}");
    }
}

/// Serves what monitoring asks, if it asks anywhere.
pub async fn monitoring(config: &Config, backend: Backend) -> anyhow::Result<JoinHandle<()>> {
    match config.http.address().map_err(anyhow::Error::msg)? {
        Some(address) => serve(address, "monitoring", "http", show::monitoring(backend)).await,
        None => Ok(tokio::spawn(async {})),
    }
}

/// Serves CrowdSec's bouncers, if that is configured.
pub async fn serve_bouncers(
    config: &Config,
    store: &Arc<Sqlite>,
    enforcing: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let Some(address) = config.crowdsec_api.address().map_err(anyhow::Error::msg)? else {
        return Ok(tokio::spawn(async {}));
    };
    let is_sheltered = match address.ip() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    };
    if !is_sheltered {
        tracing::warn!(
            %address,
            "bouncers are served over plain HTTP on an address that is not this host's own or private: whoever sees \
             the traffic has their keys and everyone who is banned; let the firewall open it to your bouncers alone"
        );
    }
    serve(address, "bouncers", "crowdsec_api", show::crowdsec::router(store.clone(), enforcing)).await
}

/// Serves `whom` on an address that `listen` of `table` names.
async fn serve(
    address: SocketAddr,
    whom: &'static str,
    table: &'static str,
    router: Router,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve {whom} on {address}; set `listen` under [{table}]"))?;
    tracing::info!(%address, "serving {whom}");
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("no more serving {whom}: {error}");
        }
    }))
}
