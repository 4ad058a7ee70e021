use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Bounds;
use super::buffer::{Buffer, Lines};
use super::framing::{Framer, message};

/// The longest datagram there is.
const DATAGRAM: usize = 65_535;
/// Bytes of one connection that are read at once.
const BLOCK: usize = 16 * 1024;
/// Until what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Takes each datagram that comes to `address` as one line. When there is no room for it, it is
/// dropped and counted: nobody could be made to wait.
pub(super) async fn udp(address: SocketAddr, buffer: Arc<Buffer>, bounds: Bounds) {
    let socket = bound(&buffer, || UdpSocket::bind(address)).await;
    let mut datagram = vec![0; DATAGRAM];
    let (mut head, mut lines) = (vec![], Lines::default());
    loop {
        match socket.recv(&mut datagram).await {
            Ok(n) => {
                head.clear();
                head.extend_from_slice(datagram.get(..n.min(bounds.max_line_bytes)).unwrap_or_default());
                message(&mut head, n.saturating_sub(bounds.max_line_bytes) as u64, &mut lines);
                buffer.push_or_drop(&mut lines);
            }
            Err(error) => failed(&buffer, &error).await,
        }
    }
}

/// Serves all who connect to `address`, each as fast as it sends and lines are judged.
pub(super) async fn tcp(address: SocketAddr, buffer: Arc<Buffer>, bounds: Bounds) {
    let listener = bound(&buffer, || TcpListener::bind(address)).await;
    let slots = Arc::new(Semaphore::new(bounds.connections));
    loop {
        if slots.available_permits() == 0 {
            buffer.set_error(Some(format!(
                "{} senders are connected, which is the limit; others wait until one of them closes",
                bounds.connections
            )));
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        buffer.set_error(None);
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (buffer, bounds) = (Arc::clone(&buffer), bounds.clone());
                tokio::spawn(async move {
                    if let Err(why) = receive(stream, &buffer, &bounds).await {
                        tracing::info!(%peer, "a connection for log lines is closed: {why}");
                    }
                    drop(slot);
                });
            }
            Err(error) => failed(&buffer, &error).await,
        }
    }
}

async fn receive(mut stream: TcpStream, buffer: &Buffer, bounds: &Bounds) -> Result<(), String> {
    let (mut framer, mut lines) = (Framer::syslog(bounds.max_line_bytes), Lines::default());
    let mut block = vec![0; BLOCK];
    loop {
        let read = timeout(bounds.idle, stream.read(&mut block)).await;
        let read = read.map_err(|_| format!("nothing came for {} s", bounds.idle.as_secs()))?;
        match read.map_err(|error| error.to_string())? {
            0 => break,
            n => {
                let fed = framer.feed(block.get(..n).unwrap_or_default(), &mut lines);
                buffer.push(&mut lines).await;
                fed.map_err(|_| "a message's length was expected and something else came".to_owned())?;
            }
        }
    }
    framer.finish(&mut lines);
    buffer.push(&mut lines).await;
    Ok(())
}

/// Binds as soon as that is possible.
async fn bound<T, F: Future<Output = io::Result<T>>>(buffer: &Buffer, bind: impl Fn() -> F) -> T {
    loop {
        match bind().await {
            Ok(socket) => {
                buffer.set_error(None);
                return socket;
            }
            Err(error) => {
                let error = format!("cannot listen: {error}; it is tried again every {} s", RETRY.as_secs());
                buffer.set_error(Some(error));
                sleep(RETRY).await;
            }
        }
    }
}

async fn failed(buffer: &Buffer, error: &io::Error) {
    buffer.set_error(Some(format!("cannot receive: {error}; it is tried again every {} s", RETRY.as_secs())));
    sleep(RETRY).await;
    buffer.set_error(None);
}
