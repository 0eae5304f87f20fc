//! The integration tests, in one binary: each further one would link RocksDB again.

mod roundtrip;
mod support;
