//! `health`: checks the health of an exporter on this machine, for containers without a shell.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use reqwest::StatusCode;

use super::{FAILED, OK};
use crate::{cli::Cli, providers::http::chain, tls, web::guard::Guard};

/// Longer than a healthy exporter takes under any load.
const WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn run(cli: &Cli) -> u8 {
    match ask(cli).await {
        Ok(()) => OK,
        Err(problem) => {
            eprintln!("delivery-exporter: health: {problem}");
            FAILED
        }
    }
}

async fn ask(cli: &Cli) -> Result<(), String> {
    let address = cli.flags.listen_addresses.first().map(String::as_str);
    let authority = reachable(address.unwrap_or_default())?;
    let is_guarded = cli.flags.web_config_file.is_some();
    let scheme = match &cli.flags.web_config_file {
        None => "http",
        Some(path) => {
            let guard = Arc::new(Guard::read(path)?);
            if guard.rules().await.tls.is_some() {
                "https"
            } else {
                "http"
            }
        }
    };
    tls::choose_cryptography();
    // The certificate contains the machine's public name, not the loopback address.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .timeout(WITHIN)
        .build()
        .map_err(|error| chain(&error))?;
    let url = format!("{scheme}://{authority}/-/healthy");
    let answer = client.get(&url).send().await;
    let answer = answer.map_err(|error| format!("{url}: {}", chain(&error)))?;
    // A server that asks for a password is serving, and a health check needs no more than that.
    let asks_for_password = is_guarded && answer.status() == StatusCode::UNAUTHORIZED;
    if answer.status().is_success() || asks_for_password {
        return Ok(());
    }
    Err(format!("{url} answers {}", answer.status()))
}

/// The address for connecting from this machine to a listen address.
fn reachable(address: &str) -> Result<String, String> {
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| format!("--web.listen-address={address}: has no port"))?;
    if port == "0" {
        return Err(format!(
            "--web.listen-address={address}: the port is chosen when the exporter starts, so it is not known here"
        ));
    }
    let bare = host.trim_matches(['[', ']']);
    let host = match bare.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(other)) => format!("[{other}]"),
        Ok(IpAddr::V4(other)) => other.to_string(),
        // IPv4 always works: machines without IPv6 listen only on IPv4, and others on both.
        Err(_) if host.is_empty() => Ipv4Addr::LOCALHOST.to_string(),
        Err(_) => host.to_owned(),
    };
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_listened_on_can_be_reached() {
        for (given, expected) in [
            (":9847", "127.0.0.1:9847"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("[::1]:3", "[::1]:3"),
            ("10.1.2.3:4", "10.1.2.3:4"),
            ("metrics.internal:5", "metrics.internal:5"),
        ] {
            assert_eq!(reachable(given).unwrap(), expected);
        }
        assert!(reachable("127.0.0.1:0").unwrap_err().contains("port"));
        assert!(reachable("9847").unwrap_err().contains("no port"));
    }
}
