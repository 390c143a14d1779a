//! Accounts of every vendor, made of the vendors' own samples: a new vendor has one by itself.

use delivery_exporter::providers::{Vendor, vendor::KeyKind};
use serde_json::{Value, json};

/// The vendor's sample as an item of `providers`, under this name and with these values of keys. YAML, as the
/// sample is.
pub fn account(vendor: &Vendor, name: &str, replaced: &[(&str, Value)]) -> String {
    let mut account = format!("  - name: {name}\n");
    for (key, value) in replaced {
        account.push_str(&format!("    {key}: {value}\n"));
    }
    let mut is_left_out = false;
    for line in vendor.sample.lines() {
        let own = line
            .strip_prefix("  - ")
            .or_else(|| line.strip_prefix("    "));
        // What is indented further belongs to the key before.
        if let Some(own) = own.filter(|own| own.starts_with(|first: char| first.is_alphabetic())) {
            let key = own.split(':').next().unwrap_or(own);
            is_left_out = key == "name" || replaced.iter().any(|(own, _)| *own == key);
        }
        if !is_left_out {
            account.push_str(line);
            account.push('\n');
        }
    }
    account
}

/// The keys with which an account collects everything that its vendor has, and takes what it pushes with `token`.
pub fn everything(vendor: &Vendor, token: &str) -> Vec<(&'static str, Value)> {
    let datasets: Vec<&str> = vendor.datasets.iter().map(|own| own.as_str()).collect();
    let mut keys = vec![("collect", json!(datasets))];
    for key in vendor.keys {
        if matches!(key.kind, KeyKind::Secrets { .. }) {
            keys.push((key.name, json!(["device-1"])));
        }
    }
    if vendor.webhook().is_some() {
        keys.push(("webhook_token", json!(token)));
    }
    keys
}
