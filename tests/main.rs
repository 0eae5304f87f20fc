//! The integration tests, in one binary: each further one would link RocksDB again.

mod cli;
mod crash;
mod damage;
mod fuzz;
mod golden;
mod model;
mod protocol;
mod reclaim;
mod roundtrip;
mod runbooks;
mod sim;
mod similar;
mod support;
mod tidy;
