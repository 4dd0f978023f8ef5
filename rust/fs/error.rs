// SPDX-License-Identifier: GPL-2.0

//! The one table from what went wrong to errno.
//!
//! The engine says what happened in its own words, the kernel in errno; a function of this crate
//! may meet both. [`Error`] is their union, and the conversion to the kernel's error is the only
//! place where errno is chosen. It is exhaustive on purpose: a new kind of error does not compile
//! until someone has thought about its number.

use kernel::prelude::*;
use vfs::error::{ENAMETOOLONG, ENOTEMPTY, EUCLEAN};

/// What a function of the module returns.
pub(crate) type Result<T = (), E = Error> = core::result::Result<T, E>;

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Error {
    /// In the engine.
    Engine(engine::Error),
    /// In the kernel.
    Kernel(kernel::error::Error),
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<kernel::error::Error> for Error {
    fn from(error: kernel::error::Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<kernel::alloc::AllocError> for Error {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Self::Kernel(ENOMEM)
    }
}

impl From<Error> for kernel::error::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Kernel(error) => error,
            Error::Engine(error) => errno(error),
        }
    }
}

fn errno(error: engine::Error) -> kernel::error::Error {
    use engine::Error as E;
    match error {
        // Only readers see it, and they come again with the means to load; if one lets it out,
        // the caller may try again.
        E::NotLoaded(_) => EAGAIN,
        E::Media(_) => EIO,
        E::Corrupt(_) => EUCLEAN.into(),
        E::NoSpace | E::NoPlaces(_) => ENOSPC,
        E::NoMemory => ENOMEM,
        E::Exists => EEXIST,
        E::NotFound => ENOENT,
        E::NotEmpty => ENOTEMPTY.into(),
        E::NotDirectory => ENOTDIR,
        E::IsDirectory => EISDIR,
        E::NameTooLong => ENAMETOOLONG.into(),
        E::TooManyLinks => EMLINK,
        E::TooLarge => EFBIG,
        E::Invalid => EINVAL,
        E::TooLong => E2BIG,
        E::ReadOnly => EROFS,
        // Mounting only; what mount(2) says of a device without the filesystem.
        E::NotFerrox | E::Foreign => EINVAL,
        E::Feature(_, readable) => {
            if readable {
                EROFS
            } else {
                EINVAL
            }
        }
        E::DeviceTooSmall => EINVAL,
    }
}
