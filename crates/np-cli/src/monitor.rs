//! What `np serve --metrics` answers over HTTP: figures, and whether the server lives and takes work. It must never
//! take a request that needs more than its first line to be answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use np_facade::{ErrorKind, Health, HealthState};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::figures::Figures;

/// The most bytes of a request's head.
const MAX_HEAD: usize = 8 << 10;
/// How long a request and its answer may take.
const TIME: Duration = Duration::from_secs(5);
/// Requests at once; one more is closed unread.
const MAX_REQUESTS: usize = 32;
/// How long the listener rests when the system was short of something.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// A listener for monitoring, and what it tells.
#[derive(Debug)]
pub(crate) struct Monitor {
    listener: TcpListener,
    address: SocketAddr,
    figures: Figures,
}

impl Monitor {
    /// Takes the address, and the figures of this process from now on.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let taken = |error| {
            let why =
                format!("--metrics {address}: cannot listen: {error}; choose another port, or end the program there");
            Failure::new(ErrorKind::Local, why)
        };
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let figures = Figures::default();
        metrics::set_global_recorder(figures.clone())
            .map_err(|error| Failure::local(format!("--metrics: cannot count: {error}; report this")))?;
        Ok(Self { listener, address, figures })
    }

    /// Where Prometheus finds the figures.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// Answers for as long as it is polled.
    pub(crate) async fn run(self, health: Health) {
        let places = Arc::new(Semaphore::new(MAX_REQUESTS));
        let figures = Arc::new(self.figures);
        loop {
            let Ok((socket, _)) = self.listener.accept().await else {
                sleep(SHORTAGE_PAUSE).await;
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let (figures, health) = (Arc::clone(&figures), health.clone());
            tokio::spawn(async move {
                serve(socket, &figures, &health).await;
                drop(place);
            });
        }
    }
}

/// Answers one request, within its time.
async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, figures: &Figures, health: &Health) {
    let answered = async {
        let head = read_head(&mut socket).await?;
        let answer = answer(&head, figures, health);
        socket.write_all(answer.text().as_bytes()).await?;
        socket.shutdown().await?;
        // Bytes that were not read would make the system reset the connection, and the answer with it.
        let mut rest = [0; 512];
        for _ in 0..MAX_HEAD / rest.len() {
            if socket.read(&mut rest).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Whoever is too slow, or has gone, gets no answer.
    let _ = timeout(TIME, answered).await;
}

/// Everything up to the empty line; as much as there may be where it does not come.
async fn read_head(socket: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() <= MAX_HEAD && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = socket.read(&mut part).await?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(part.get(..count).unwrap_or_default());
    }
    Ok(head)
}

struct Reply {
    status: &'static str,
    body: String,
}

impl Reply {
    fn new(status: &'static str, body: impl Into<String>) -> Self {
        Self { status, body: body.into() }
    }

    fn text(&self) -> String {
        let Self { status, body } = self;
        let length = body.len();
        let allow = if status.starts_with("405") { "allow: GET\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {length}\r\n\
             cache-control: no-store\r\n{allow}connection: close\r\n\r\n{body}"
        )
    }
}

fn answer(head: &[u8], figures: &Figures, health: &Health) -> Reply {
    if head.len() > MAX_HEAD {
        return Reply::new("431 Request Header Fields Too Large", "a request's head has at most 8192 bytes\n");
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<_> = std::str::from_utf8(line).unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else {
        return Reply::new("400 Bad Request", "this is no request of HTTP/1.1\n");
    };
    if !version.starts_with("HTTP/1.") || !head.windows(4).any(|four| four == b"\r\n\r\n") {
        return Reply::new("400 Bad Request", "this is no request of HTTP/1.1\n");
    }
    if method != "GET" {
        return Reply::new("405 Method Not Allowed", "only GET is answered here\n");
    }
    match target.split('?').next().unwrap_or_default() {
        "/metrics" => Reply::new("200 OK", figures.text()),
        "/healthz" => Reply::new("200 OK", "ok\n"),
        "/readyz" => match health.state() {
            HealthState::Ok => Reply::new("200 OK", "ready\n"),
            other => Reply::new("503 Service Unavailable", format!("{}\n", other.name())),
        },
        _ => Reply::new("404 Not Found", "there are /metrics, /healthz and /readyz\n"),
    }
}

#[cfg(test)]
mod tests {
    use np_facade::{Health, HealthState};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::{MAX_HEAD, TIME, answer, serve};
    use crate::figures::Figures;

    /// The status that a request gets.
    fn status(request: &[u8]) -> String {
        answer(request, &Figures::default(), &Health::default()).status[..3].to_owned()
    }

    #[test]
    fn requests_get_the_status_that_they_deserve() {
        let head = |line: &str| format!("{line}\r\nhost: x\r\n\r\n");
        for (line, expected) in [
            ("GET /metrics HTTP/1.1", "200"),
            ("GET /metrics?name=a HTTP/1.0", "200"),
            ("GET /healthz HTTP/1.1", "200"),
            ("GET /readyz HTTP/1.1", "200"),
            ("GET / HTTP/1.1", "404"),
            ("GET /metrics/ HTTP/1.1", "404"),
            ("POST /metrics HTTP/1.1", "405"),
            ("HEAD /metrics HTTP/1.1", "405"),
            ("GET /metrics HTTP/2", "400"),
            ("GET  /metrics HTTP/1.1", "400"),
            ("GET /metrics", "400"),
            ("", "400"),
        ] {
            assert_eq!(status(head(line).as_bytes()), expected, "{line}");
        }
        assert_eq!(status(b"GET /metrics HTTP/1.1\r\n"), "400", "it ends before its empty line");
        assert_eq!(status(b"\xff\xfe \x00 \r\n\r\n"), "400");
    }

    #[test]
    fn a_head_may_have_8_kib_and_not_one_byte_more() {
        let head = |length: usize| {
            let start = "GET /healthz HTTP/1.1\r\nx: ";
            format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
        };
        assert_eq!(status(head(MAX_HEAD).as_bytes()), "200");
        assert_eq!(status(head(MAX_HEAD + 1).as_bytes()), "431");
    }

    #[test]
    fn a_server_that_drains_lives_and_is_not_ready() {
        let health = Health::default();
        health.set(HealthState::Draining);
        let get = |path: &str| answer(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes(), &Figures::default(), &health);
        assert_eq!((get("/healthz").status, get("/readyz").status), ("200 OK", "503 Service Unavailable"));
        assert_eq!(get("/readyz").body, "draining\n");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_slow_is_cut_after_five_seconds() {
        let (mut client, server) = duplex(64);
        let began = tokio::time::Instant::now();
        let served = tokio::spawn(async move { serve(server, &Figures::default(), &Health::default()).await });
        client.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        served.await.unwrap();
        assert_eq!((answer.len(), began.elapsed()), (0, TIME));
    }
}
