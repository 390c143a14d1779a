//! What users do instead: a file for node_exporter's textfile collector, Pushgateway; and the file
//! itself, ready and compressed, behind nginx.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderMap, header};

use super::{
    client::Target,
    harness::{Process, free_port},
};

/// A peer that runs.
pub(super) struct Peer {
    pub(super) target: Target,
    /// It ends with this.
    _process: Process,
}

fn peer(command: &mut Command, log: &Path, port: u16, path: &str) -> Peer {
    let process = Process::start(command, log);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "{command:?}: {}", process.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let target = Target {
        address,
        path: path.to_owned(),
        pid: process.id(),
    };
    Peer {
        target,
        _process: process,
    }
}

/// nginx, which sends both files as they are.
pub(super) fn nginx(directory: &Path, text: &[u8], gzip: &[u8]) -> Peer {
    let root = directory.join("root");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("metrics"), text).unwrap();
    fs::write(root.join("metrics.gz"), gzip).unwrap();
    let port = free_port();
    let dir = directory.display();
    let config = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr;\nevents {{}}\nhttp {{\n  \
         access_log off; sendfile on; tcp_nopush on; gzip_static on; default_type text/plain;\n  \
         client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; \
         uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n  \
         server {{ listen 127.0.0.1:{port}; root {dir}/root; }}\n}}\n"
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(directory);
    peer(&mut command, &directory.join("nginx.log"), port, "/metrics")
}

/// A handler in this process that sends either as one buffer: what the web server alone costs.
pub(super) async fn bare(text: Vec<u8>, gzip: Vec<u8>) -> Target {
    let bodies = [text, gzip].map(Bytes::from);
    let handler = move |headers: HeaderMap| {
        let wanted = headers.get(header::ACCEPT_ENCODING);
        let body = bodies[usize::from(wanted.is_some_and(|wanted| wanted == "gzip"))].clone();
        async move { body }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/metrics", get(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Target {
        address,
        path: "/metrics".to_owned(),
        pid: std::process::id(),
    }
}

/// node_exporter, which reads the file at each scrape.
pub(super) fn node_exporter(directory: &Path, text: &[u8]) -> Peer {
    let files = directory.join("textfile");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("delivery.prom"), text).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus-node-exporter");
    command
        .arg("--collector.disable-defaults")
        .arg("--collector.textfile")
        .arg(format!(
            "--collector.textfile.directory={}",
            files.display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    peer(&mut command, &directory.join("node.log"), port, "/metrics")
}

/// Pushgateway, with the text pushed to it.
pub(super) fn pushgateway(directory: &Path, text: &[u8]) -> Peer {
    let port = free_port();
    let mut command = Command::new("prometheus-pushgateway");
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let peer = peer(&mut command, &directory.join("push.log"), port, "/metrics");
    let mut stream = TcpStream::connect(peer.target.address).unwrap();
    write!(
        stream,
        "PUT /metrics/job/delivery HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        text.len()
    )
    .unwrap();
    stream.write_all(text).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    peer
}
