//! What the demo prints when it has started.

use std::net::SocketAddr;

use delivery_simulators::Incident;

use super::control;
use crate::app::serve::Listening;

/// The keys of the incidents, in their order.
pub(super) const KEYS: [char; 4] = ['1', '2', '3', '4'];
/// The key that ends them all.
pub(super) const NO_INCIDENT: char = '0';

/// The exporter's address for a browser on this machine.
pub(super) fn base(listening: &Listening) -> String {
    let scheme = if listening.tls { "https" } else { "http" };
    let local = |own: &&SocketAddr| {
        let address = own.ip();
        address.is_unspecified() || address.is_loopback()
    };
    let addresses = &listening.addresses;
    match (addresses.iter().find(local), addresses.first()) {
        (Some(local), _) => format!("{scheme}://localhost:{}", local.port()),
        (None, Some(other)) => format!("{scheme}://{other}"),
        (None, None) => format!("{scheme}://localhost"),
    }
}

/// The box: where to look, what to switch, how to stop. `prometheus` is the address of Prometheus, or the
/// reason why it does not run.
pub(super) fn text(
    base: &str,
    telemetry_path: &str,
    prometheus: Option<&Result<String, String>>,
    has_keys: bool,
) -> String {
    let mut lines = vec![
        "delivery-exporter demo".to_owned(),
        "Five simulated vendors on this machine; nothing leaves it.".to_owned(),
        String::new(),
        format!("Status page  {base}/"),
        format!("Metrics      {base}{telemetry_path}"),
    ];
    let mut problem = String::new();
    match prometheus {
        Some(Ok(url)) => {
            lines.push(format!("Prometheus   {url}/alerts"));
            lines.push(format!("             {url}/graph?g0.expr=delivery_up"));
        }
        Some(Err(text)) => {
            lines.push("Prometheus   does not run, see below".to_owned());
            problem = format!("Prometheus does not run: {text}\n");
        }
        None => {}
    }
    lines.extend([
        String::new(),
        "Look at the status page: health and delivery rate of each account,".to_owned(),
        "and its newest messages. New ones are sent every minute.".to_owned(),
        String::new(),
    ]);
    lines.push(if has_keys {
        "Incidents: press a key to switch one on, and again to end it".to_owned()
    } else {
        "Incidents: switch one on with POST, and off with DELETE".to_owned()
    });
    for (key, incident) in KEYS.into_iter().zip(Incident::ALL) {
        let key = if has_keys { key } else { ' ' };
        let effect = control::effect(incident);
        lines.push(format!("  {key}  {:<14}{effect}", incident.name()));
    }
    if has_keys {
        lines.push(format!("  {NO_INCIDENT}  {:<14}end all of them", ""));
    }
    lines.extend([
        format!("  curl -X POST {base}/demo/incidents/{}", Incident::ALL[0]),
        String::new(),
        "Ctrl-C stops the demo, and removes what it wrote.".to_owned(),
    ]);
    framed(&lines) + &problem
}

fn framed(lines: &[String]) -> String {
    let length = |line: &String| line.chars().count();
    let width = lines.iter().map(length).max().unwrap_or(0);
    let rule = "─".repeat(width + 2);
    let mut text = format!("\n┌{rule}┐\n");
    for line in lines {
        text += &format!("│ {line:<width$} │\n");
    }
    text + &format!("└{rule}┘\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(addresses: &[&str], tls: bool) -> Listening {
        let read = |text: &&str| text.parse().unwrap();
        Listening {
            addresses: addresses.iter().map(read).collect(),
            tls,
        }
    }

    #[test]
    fn the_address_is_the_one_that_is_bound() {
        for (addresses, tls, expected) in [
            (&["[::]:9847"][..], false, "http://localhost:9847"),
            (&["127.0.0.1:41234"][..], false, "http://localhost:41234"),
            (
                &["192.0.2.7:80", "[::1]:81"][..],
                true,
                "https://localhost:81",
            ),
            (&["192.0.2.7:80"][..], false, "http://192.0.2.7:80"),
        ] {
            assert_eq!(base(&listening(addresses, tls)), expected);
        }
    }

    #[test]
    fn the_box_fits_a_terminal_and_names_everything() {
        let prometheus = Ok("http://localhost:9090".to_owned());
        let text = text("http://localhost:9847", "/metrics", Some(&prometheus), true);
        let width = |line: &str| line.chars().count();
        let widths: Vec<_> = text.lines().skip(1).map(width).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        assert!(widths[0] <= 80, "{text}");
        for needed in [
            "http://localhost:9847/ ",
            "http://localhost:9847/metrics ",
            "http://localhost:9090/alerts",
            "Ctrl-C",
            "/demo/incidents/fcm-outage",
        ] {
            assert!(text.contains(needed), "{needed}\n{text}");
        }
        for incident in Incident::ALL {
            assert!(text.contains(incident.name()), "{text}");
        }
    }

    #[test]
    fn the_page_of_the_demo_shows_the_box_as_it_is() {
        let page = include_str!("../../../docs/demo.md");
        let text = text("http://localhost:9847", "/metrics", None, true);
        assert!(page.contains(text.trim()), "{text}");
    }

    #[test]
    fn without_a_terminal_no_key_is_offered_and_a_missing_prometheus_is_told() {
        let missing = Err("it ended".to_owned());
        let text = text("http://localhost:1", "/metrics", Some(&missing), false);
        assert!(!text.contains("press a key"), "{text}");
        assert!(text.contains("POST"), "{text}");
        assert!(
            text.ends_with("Prometheus does not run: it ended\n"),
            "{text}"
        );
    }
}
