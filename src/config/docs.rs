//! The reference documentation, made from the table of keys.

use std::fmt::Write;

use super::{
    schema::{self, Holds, Section},
    vendors,
};
use crate::providers::Vendors;

/// `docs/configuration.md`, for a list of vendors.
pub fn reference(vendors: Vendors) -> String {
    let mut text = String::from(
        "# Configuration\n\n\
        This page is made from the exporter's own table of keys; a test keeps it current.\n\n\
        Durations are `30s`, `5m`, `1h30m`, `7d`. `${NAME}` in any value is replaced from the environment (a\n\
        variable that is not set is an error), `$$` is a dollar. Every secret `x` can be given as `x_file` instead, a\n\
        path that is read again at every reload. Relative paths are relative to the configuration file. Unknown keys,\n\
        duplicates and bad values are errors; `delivery-exporter check` shows all of them at once.\n\n\
        `check`, a start and a reload warn of a file with a secret (`x_file`, `headers_file`, a `key_file`) that others can\n\
        read: every user of the machine, or the group of a file that the exporter's own user owns. Root's files with mode\n\
        0640 and the group of the service are as they should be. Files of a Kubernetes volume and below `/run/secrets` are\n\
        not judged: they are mounted into one container, with modes that its engine chooses.\n",
    );
    for section in Section::ALL {
        let rows = schema::keys(vendors, section);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n## {}\n\n| key | value | default | |\n|---|---|---|---|\n",
            section.title()
        );
        for key in rows {
            let default = match vendors::default(vendors, &key).as_str() {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            let file = if key.holds == Holds::Secret {
                format!(", `{}_file`", key.name)
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "| `{}`{file} | {} | {default} | {} |",
                key.name,
                key.holds.describe(vendors),
                vendors::text(vendors, &key)
            );
        }
    }
    text
}
