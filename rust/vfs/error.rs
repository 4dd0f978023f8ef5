// SPDX-License-Identifier: GPL-2.0

//! The error numbers that `kernel::error::code` does not name.
//!
//! [`kernel::error::Error`] cannot be built in a constant outside its crate, so these are constants
//! of a small type of their own that turns into one: `return Err(ENODATA.into())`.

use crate::bindings;
use kernel::error::Error;

/// One error number of the kernel, as a constant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    const fn new(number: u32) -> Self {
        // CAST: error numbers are below `MAX_ERRNO` (4095).
        Self(-(number as i32))
    }

    /// Returns the number as C functions return it: negative.
    pub const fn to_errno(self) -> i32 {
        self.0
    }
}

impl From<Errno> for Error {
    #[inline]
    fn from(errno: Errno) -> Self {
        Error::from_errno(errno.0)
    }
}

macro_rules! errno {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])* pub const $name: Errno = Errno::new(bindings::$name);)*
    };
}

errno! {
    /// No such attribute, or no data at this place.
    ENODATA,
    /// The structure needs cleaning: what is on the media is damaged.
    EUCLEAN,
    /// The operation is not supported here.
    EOPNOTSUPP,
    /// A name is longer than the filesystem takes.
    ENAMETOOLONG,
    /// The directory holds entries.
    ENOTEMPTY,
    /// Too many symbolic links.
    ELOOP,
    /// The quota is used up.
    EDQUOT,
    /// The handle names something that is gone.
    ESTALE,
    /// The call is not built.
    ENOSYS,
    /// The memory page has a hardware error.
    EHWPOISON,
    /// Invalid exchange.
    EBADE,
    /// Bad message: a checksum does not match.
    EBADMSG,
    /// The medium is of the wrong type.
    EMEDIUMTYPE,
    /// No medium was found.
    ENOMEDIUM,
    /// The operation is already in progress.
    EALREADY,
    /// The operation was cancelled.
    ECANCELED,
    /// The value does not fit a protocol field.
    EPROTO,
}
