// SPDX-License-Identifier: GPL-2.0

//! What the calling task may do.

use crate::bindings;

/// A capability, in the initial user namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// To administer the system: what can harm others who use the filesystem.
    SysAdmin,
    /// To go beyond limits, such as space that is kept back.
    SysResource,
    /// To pass over permissions when looking something up by handle.
    DacReadSearch,
    /// To act as the owner of any file.
    FileOwner,
}

/// Whether this task has a capability; the audit log notes that it was used.
pub fn capable(capability: Capability) -> bool {
    let number = match capability {
        Capability::SysAdmin => bindings::CAP_SYS_ADMIN,
        Capability::SysResource => bindings::CAP_SYS_RESOURCE,
        Capability::DacReadSearch => bindings::CAP_DAC_READ_SEARCH,
        Capability::FileOwner => bindings::CAP_FOWNER,
    };
    // CAST: below 64.
    // SAFETY: may be called in any task context.
    unsafe { bindings::capable(number as i32) }
}
