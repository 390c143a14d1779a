//! What is exposed: the contract's families, their current values, limits and staleness.
