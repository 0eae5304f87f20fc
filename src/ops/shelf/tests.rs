//! Disks that come and go over disks in memory.
