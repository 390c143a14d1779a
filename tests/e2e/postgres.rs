//! A real PostgreSQL of the test's own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::harness::{Process, eventually, free_port};

/// A running server; its data go with it.
pub struct Postgres {
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

/// The newest server that is installed.
fn binaries() -> PathBuf {
    let mut found: Vec<_> = glob::glob("/usr/lib/postgresql/*/bin")
        .expect("a pattern")
        .flatten()
        .collect();
    found.sort();
    found
        .pop()
        .expect("PostgreSQL is installed; tests/run says what to install")
}

/// The server refuses to run as root.
fn command(program: &Path) -> Command {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .expect("id runs")
        .stdout
        == b"0\n";
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

impl Postgres {
    pub async fn start() -> Postgres {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        std::fs::create_dir(&data).expect("a directory");
        for path in [directory.path(), &data] {
            // Only root has somebody else to give it to.
            let _ = Command::new("chown").arg("postgres").arg(path).status();
        }
        let output = command(&binaries().join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
            .arg(&data)
            .current_dir("/")
            .output()
            .expect("initdb runs");
        assert!(output.status.success(), "{output:?}");
        let mut server = Postgres {
            directory,
            port: free_port(),
            process: None,
        };
        server.run().await;
        server
    }

    async fn run(&mut self) {
        let mut command = command(&binaries().join("postgres"));
        command
            .arg("-D")
            .arg(self.directory.path().join("data"))
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "fsync=off"])
            .current_dir("/");
        let log = self.directory.path().join("log");
        self.process = Some(Process::start(&mut command, &log));
        eventually("PostgreSQL answers", async || {
            self.ask("SELECT 1").await.ok()
        })
        .await;
    }

    /// The server is gone without a word, and comes back.
    pub async fn restart(&mut self) {
        self.quit();
        self.run().await;
    }

    /// Ends the server at once, as a crash would, and waits for it.
    fn quit(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // The program that was started may only have started it for another user.
        let file = self.directory.path().join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(pid) = text.lines().next() {
            let _ = Command::new("kill").args(["-QUIT", pid.trim()]).status();
            process.wait();
        }
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The rows of a query, as texts.
    pub async fn ask(&self, query: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
        let (client, connection) =
            tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await?;
        let task = tokio::spawn(connection);
        let messages = client.simple_query(query).await;
        task.abort();
        let rows = messages?.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|column| row.get(column).unwrap_or_default().to_owned())
                    .collect(),
            ),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Cuts every connection but this one.
    pub async fn cut(&self) {
        let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE pid <> pg_backend_pid() AND application_name = 'delivery-exporter'";
        self.ask(query).await.expect("connections are cut");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.quit();
    }
}
