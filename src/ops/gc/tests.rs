//! gc against a plain map.
