//! How much memory the process may take.

/// Bytes of memory of the machine, or of the control group if that is less; `usize::MAX` where neither says. A session
/// takes no more unless [`crate::SessionBuilder::max_memory`] says otherwise.
pub fn machine_limit() -> usize {
    let group =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    group.unwrap_or(usize::MAX).min(machine.unwrap_or(usize::MAX))
}

/// `MemTotal` of `/proc/meminfo` in bytes.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_total_is_read_in_kibibytes() {
        assert_eq!(super::total("X: 1\nMemTotal:       24567 kB\nMemFree: 3 kB"), Some(24567 * 1024));
        assert_eq!(super::total("nothing"), None);
        assert!(super::machine_limit() > 1 << 20);
    }
}
