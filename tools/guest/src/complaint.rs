// SPDX-License-Identifier: GPL-2.0

//! Which kernel messages mean that the kernel is not well.
//!
//! A guest whose kernel said one of these has failed, whatever its script returned.

/// What a complaining kernel says, as parts of a line.
const COMPLAINTS: &[&str] = &[
    "WARNING: ",
    "BUG: ",
    "kernel BUG at",
    "Kernel panic",
    "KASAN: ",
    "UBSAN: ",
    "Oops: ",
    "Unable to handle",
    "general protection fault",
    "rust_kernel: panicked",
    "INFO: possible",
    "INFO: inconsistent",
    "INFO: task ",
    "INFO: trying to register non-static key",
    "possible recursive locking",
    "circular locking dependency",
    "suspicious RCU usage",
    "sleeping function called",
    "scheduling while atomic",
    "detected stall",
    "soft lockup",
    "hard LOCKUP",
    "bad unlock balance",
    "still has locks held",
    "lock held when returning to user space",
    "new suspected memory leaks",
    "Bad page state",
    "refcount_t: ",
    "list_add corruption",
    "list_del corruption",
    "Slab corruption",
    "Objects remaining",
];

/// Lines that hold a part of [`COMPLAINTS`] and mean no harm.
const HARMLESS: &[&str] = &[
    // The host takes the virtual CPUs away for longer than the guest likes; a real lock-up of the
    // guest also runs into the time limit, and lockdep and hung-task messages are not these.
    "clocksource: Long readout interval",
];

/// Is this console line a complaint? `allowed` are further parts of lines that are not.
pub fn is_complaint(line: &str, allowed: &[String]) -> bool {
    COMPLAINTS.iter().any(|c| line.contains(c))
        && !HARMLESS.iter().any(|h| line.contains(h))
        && !allowed.iter().any(|a| line.contains(a.as_str()))
}

/// Is this the end: will nothing more be heard from this kernel?
pub fn is_panic(line: &str) -> bool {
    line.contains("Kernel panic - not syncing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_seen() {
        for line in [
            "[    9.1] WARNING: fs/dax.c:452 at dax_disassociate_entry+0x1/0x2, CPU#0: x/1",
            "[    9.1] BUG: KASAN: slab-out-of-bounds in f",
            "[    9.1] WARNING: possible circular locking dependency detected",
            "[    9.1] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "[   99.1] INFO: task cat:12 blocked for more than 120 seconds.",
        ] {
            assert!(is_complaint(line, &[]), "{line}");
        }
    }

    #[test]
    fn ordinary_lines_are_not() {
        for line in [
            "[    1.0] PCI: Using host bridge windows from ACPI; if necessary, use \"pci=nocrs\" and report a bug",
            "[    1.0] ferrox (pmem0): mounted",
        ] {
            assert!(!is_complaint(line, &[]), "{line}");
        }
    }

    #[test]
    fn what_is_allowed_is_no_complaint() {
        let line = "[    9.1] WARNING: fs/dax.c:452 at dax_disassociate_entry";
        assert!(!is_complaint(line, &["fs/dax.c:452".into()]));
    }
}
