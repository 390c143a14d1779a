//! The outputs: the exposition for scrapers, and OTLP.

pub mod exposition;
pub mod otlp;
