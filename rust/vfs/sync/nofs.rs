// SPDX-License-Identifier: GPL-2.0

//! A scope in which allocations do not call back into a filesystem.
//!
//! Memory that is asked for while a filesystem's lock is held may be looked for in that very
//! filesystem: reclaim evicts inodes, and eviction takes the lock. Within the scope every
//! allocation of this thread, by whomever, behaves as with `GFP_NOFS`.

use crate::bindings;
use kernel::types::NotThreadSafe;

/// The scope; ends when dropped. Scopes nest.
#[must_use = "the scope ends when this is dropped"]
pub struct NoFs {
    before: kernel::ffi::c_uint,
    // The flag is the task's.
    _not_send: NotThreadSafe,
}

impl NoFs {
    /// Begins the scope.
    #[inline]
    pub fn enter() -> Self {
        Self {
            // SAFETY: only sets a flag of the current task.
            before: unsafe { bindings::memalloc_nofs_save() },
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for NoFs {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: restores the flag as this scope found it, in the same task. Scopes that are
        // dropped out of order leave the flag as the last one of them found it, which concerns
        // no memory safety.
        unsafe { bindings::memalloc_nofs_restore(self.before) };
    }
}
