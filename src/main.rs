//! The command `delivery-exporter`.
fn main() {}
