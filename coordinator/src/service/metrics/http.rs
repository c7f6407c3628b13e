//! As much of HTTP/1.1 as one page needs: a request's head is read, one answer is given, the connection ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// A request has to be there, and its answer taken, within this.
const DEADLINE: Duration = Duration::from_secs(10);
/// After connections could not be accepted: file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers one request after the other, until it is dropped. `page` gives `None` when there is nothing to tell.
pub(super) async fn serve<F>(listener: TcpListener, page: impl Fn() -> F)
where
    F: Future<Output = Option<String>>,
{
    loop {
        match listener.accept().await {
            // One at a time: who asks is one Prometheus, and the deadline bounds everybody else.
            Ok((stream, _)) => {
                let _ = timeout(DEADLINE, answer(stream, &page)).await;
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer<F>(mut stream: TcpStream, page: &impl Fn() -> F) -> std::io::Result<()>
where
    F: Future<Output = Option<String>>,
{
    let Some(head) = head(&mut stream).await? else {
        return respond(&mut stream, "431 Request Header Fields Too Large", "").await;
    };
    match target(&head) {
        Some(("GET", "/metrics")) => match page().await {
            Some(text) => respond(&mut stream, "200 OK", &text).await,
            None => respond(&mut stream, "503 Service Unavailable", "").await,
        },
        Some(("GET", _)) => respond(&mut stream, "404 Not Found", "the page is /metrics\n").await,
        Some(_) => respond(&mut stream, "405 Method Not Allowed", "").await,
        None => respond(&mut stream, "400 Bad Request", "").await,
    }
}

/// The head of a request, up to its empty line; `None` when it is too long.
async fn head(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Ok(None);
        }
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(Some(head))
}

/// Method and path of a request. Pure.
fn target(head: &[u8]) -> Option<(&str, &str)> {
    let end = head.windows(2).position(|end| end == b"\r\n")?;
    let line = std::str::from_utf8(head.get(..end)?).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let is_whole = words.next()?.starts_with("HTTP/1.") && words.next().is_none();
    let path = target.split('?').next()?;
    is_whole.then_some((method, path))
}

async fn respond(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_rubbish_is_not() {
        let read = |text: &'static str| target(text.as_bytes());
        assert_eq!(
            read("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            Some(("GET", "/metrics"))
        );
        assert_eq!(
            read("POST /metrics?a=b HTTP/1.0\r\n\r\n"),
            Some(("POST", "/metrics"))
        );
        for text in [
            "",
            "GET /",
            "GET / \r\n",
            "GET / HTTP/2\r\n",
            "GET  / HTTP/1.1\r\n",
            "\r\n",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
