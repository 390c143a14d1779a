//! The ways out: the exposition for scrapers.

pub mod exposition;
