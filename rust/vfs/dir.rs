// SPDX-License-Identifier: GPL-2.0

//! Listing directories.
//!
//! A position in a directory is a *cookie*: a number that the filesystem gives to each entry, that
//! stays the entry's own whatever else comes and goes. 0 and 1 are `.` and `..`. The listing goes
//! on at the first entry whose cookie is not below the position.

use crate::{bindings, file::File, mode::FileType, superblock::FileSystem};
use kernel::error::Result;

/// Takes the entries of a directory, for `getdents(2)` and others (`struct dir_context`).
pub struct Emitter<'a>(&'a mut bindings::dir_context);

impl Emitter<'_> {
    /// The first cookie that is the filesystem's to give.
    pub const FIRST: i64 = 2;

    /// # Safety
    ///
    /// `ptr` must be valid for `'a`, and nobody else may use it.
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::dir_context) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &mut *ptr })
    }

    /// Where to go on: at the first entry whose cookie is at least this.
    pub fn position(&self) -> i64 {
        self.0.pos
    }

    /// Says that the listing has come to `cookie`, with nothing to show before it.
    pub fn skip_to(&mut self, cookie: i64) {
        self.0.pos = cookie;
    }

    /// Shows one entry. Returns false if there is no more room: stop; it will be asked for again.
    ///
    /// Writes to user memory: hold no lock that a fault may want.
    pub fn emit(&mut self, name: &[u8], ino: u64, kind: Option<FileType>, cookie: i64) -> bool {
        let Ok(len) = i32::try_from(name.len()) else {
            return false;
        };
        // The actor notes the position as that of the entry; later it is that of what follows.
        self.0.pos = cookie;
        let kind = kind.map_or(bindings::DT_UNKNOWN, FileType::dirent);
        // SAFETY: the context is alive, the name has this length.
        let room = unsafe { bindings::dir_emit(self.0, name.as_ptr().cast(), len, ino, kind) };
        if room {
            self.0.pos = cookie.saturating_add(1);
        }
        room
    }

    /// Shows `.` and `..`, as far as they are not behind. Returns false if there is no more room.
    pub fn emit_dots<T: FileSystem>(&mut self, file: &File<T>) -> bool {
        // SAFETY: both are alive.
        unsafe { bindings::dir_emit_dots(file.as_ptr(), self.0) }
    }

    /// Shows what an iterator gives, in the order of cookies, until it ends or there is no room.
    pub fn emit_all<'n>(
        &mut self,
        entries: impl Iterator<Item = Result<(&'n [u8], u64, Option<FileType>, i64)>>,
    ) -> Result<bool> {
        for entry in entries {
            let (name, ino, kind, cookie) = entry?;
            if !self.emit(name, ino, kind, cookie) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
