//! Realistic data from a seed.
