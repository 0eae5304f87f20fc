//! Bags, whole and broken.
