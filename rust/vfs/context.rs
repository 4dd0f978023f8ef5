// SPDX-License-Identifier: GPL-2.0

//! Mounting: options and messages of one mount or remount call.
//!
//! What goes wrong is told through the call's own log ([`Context::error`]): `mount(8)` prints it
//! where the new mount API is used, and the kernel log has it where the old one is.

use crate::bindings;
use core::{marker::PhantomData, str::FromStr};
use kernel::{
    error::{code::*, Error, Result},
    fmt,
    prelude::fmt,
    str::{CStr, CStrExt, CString},
};

/// A `struct fs_context`: one mount or remount call.
pub struct Context<'a> {
    fc: *mut bindings::fs_context,
    _borrow: PhantomData<&'a bindings::fs_context>,
}

impl<'a> Context<'a> {
    /// # Safety
    ///
    /// `fc` must be valid for `'a`, and belong to this task.
    pub(crate) unsafe fn from_raw(fc: *mut bindings::fs_context) -> Self {
        Self {
            fc,
            _borrow: PhantomData,
        }
    }

    /// Whether the filesystem is to be read-only after this call.
    pub fn read_only(&self) -> bool {
        // SAFETY: valid by the contract of `from_raw`.
        let flags = unsafe { (*self.fc).sb_flags };
        u64::from(flags) & bindings::SB_RDONLY as u64 != 0
    }

    /// Whether failure is expected (the kernel tries types for the root filesystem): say nothing.
    pub fn silent(&self) -> bool {
        // SAFETY: as above.
        let flags = unsafe { (*self.fc).sb_flags };
        u64::from(flags) & bindings::SB_SILENT as u64 != 0
    }

    /// What was named to be mounted.
    pub fn source(&self) -> Option<&CStr> {
        // SAFETY: as above.
        let source = unsafe { (*self.fc).source };
        if source.is_null() {
            return None;
        }
        // SAFETY: a C string that the context owns.
        Some(unsafe { CStr::from_char_ptr(source) })
    }

    /// Says why the call fails.
    pub fn error(&self, text: fmt::Arguments<'_>) {
        self.log(b'e', text);
    }

    /// Says what the caller should know though the call goes on.
    pub fn warning(&self, text: fmt::Arguments<'_>) {
        self.log(b'w', text);
    }

    /// Says what the caller may like to know.
    pub fn info(&self, text: fmt::Arguments<'_>) {
        self.log(b'i', text);
    }

    /// Says why the call fails, and is the error: `return Err(context.invalid(fmt!("…")))`.
    pub fn invalid(&self, text: fmt::Arguments<'_>) -> Error {
        self.error(text);
        EINVAL
    }

    fn log(&self, level: u8, text: fmt::Arguments<'_>) {
        let text = CString::try_from_fmt(text);
        let bytes = match &text {
            Ok(text) => text.to_bytes(),
            Err(_) => b"out of memory for a message",
        };
        // CAST: a message has no more bytes than memory was found for; cut off far above that.
        let len = bytes.len().min(4096) as i32;
        // SAFETY: the context is valid; the text has this length and is copied.
        unsafe { bindings::fc_log(self.fc, level, bytes.as_ptr().cast(), len) };
    }
}

/// One option of a mount call: a key, and a value if one was given.
pub struct Parameter<'a> {
    context: Context<'a>,
    key: &'a CStr,
    value: Value<'a>,
}

/// What an option was given as value.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Nothing: `-o key`.
    Flag,
    /// `-o key=text`.
    Text(&'a CStr),
    /// Something that is no text (`FSCONFIG_SET_BINARY`, `_PATH`, `_FD`).
    Other,
}

impl<'a> Parameter<'a> {
    /// # Safety
    ///
    /// Both must be valid for `'a`.
    unsafe fn from_raw(
        fc: *mut bindings::fs_context,
        parameter: *mut bindings::fs_parameter,
    ) -> Self {
        // SAFETY: the caller's promise.
        let raw = unsafe { &*parameter };
        let kind = raw.type_();
        let value = if kind == bindings::fs_value_type_fs_value_is_flag {
            Value::Flag
        } else if kind == bindings::fs_value_type_fs_value_is_string {
            // SAFETY: for this type the union holds a C string.
            Value::Text(unsafe { CStr::from_char_ptr(raw.__bindgen_anon_1.string) })
        } else {
            Value::Other
        };
        Self {
            // SAFETY: the caller's promise.
            context: unsafe { Context::from_raw(fc) },
            // SAFETY: the VFS has checked that there is a key, which is a C string.
            key: unsafe { CStr::from_char_ptr(raw.key) },
            value,
        }
    }

    /// The option's name.
    pub fn key(&self) -> &'a [u8] {
        self.key.to_bytes()
    }

    /// Its value.
    pub fn value(&self) -> Value<'a> {
        self.value
    }

    /// The call's log.
    pub fn context(&self) -> &Context<'a> {
        &self.context
    }

    /// The answer for an option that the filesystem does not have.
    pub fn unknown(&self) -> Result {
        Err(ENOPARAM)
    }

    fn bad(&self) -> Error {
        match self.value {
            Value::Text(text) => self.context.invalid(fmt!(
                "Bad value '{}' for '{}'",
                Printable(text),
                Printable(self.key)
            )),
            _ => self
                .context
                .invalid(fmt!("Bad value for '{}'", Printable(self.key))),
        }
    }

    /// Takes the option as one without a value.
    pub fn flag(&self) -> Result {
        match self.value {
            Value::Flag => Ok(()),
            _ => Err(self.bad()),
        }
    }

    /// Takes the option as one with a text.
    pub fn text(&self) -> Result<&'a [u8]> {
        match self.value {
            Value::Text(text) => Ok(text.to_bytes()),
            _ => Err(self.bad()),
        }
    }

    /// Takes the option as one with a number, in decimal.
    pub fn number<N: FromStr>(&self) -> Result<N> {
        let text = self.text()?;
        core::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.bad())
    }

    /// Takes the option as one with one of these words, or with none of them if `flag` says what
    /// that means.
    pub fn choice<V: Copy>(&self, flag: Option<V>, words: &[(&str, V)]) -> Result<V> {
        match (self.value, flag) {
            (Value::Flag, Some(value)) => Ok(value),
            (Value::Text(text), _) => words
                .iter()
                .find(|(word, _)| word.as_bytes() == text.to_bytes())
                .map(|&(_, value)| value)
                .ok_or_else(|| self.bad()),
            _ => Err(self.bad()),
        }
    }
}

/// Prints what users gave, without control characters.
struct Printable<'a>(&'a CStr);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.to_bytes().iter().take(64) {
            let c = if chunk.is_ascii_graphic() {
                char::from(*chunk)
            } else {
                '?'
            };
            fmt::Write::write_char(f, c)?;
        }
        Ok(())
    }
}

pub(crate) mod tables {
    //! The functions that C calls for a mount call.

    use super::{Context, Parameter};
    use crate::{
        bindings,
        dentry::Dentry,
        superblock::{FileSystem, Source, SuperBlock},
    };
    use core::marker::PhantomData;
    use kernel::{
        error::{from_result, Result},
        ffi::c_int,
        prelude::*,
    };

    pub(crate) struct Tables<T>(PhantomData<T>);

    #[expect(clippy::missing_safety_doc, reason = "called by C, as the table says")]
    impl<T: FileSystem> Tables<T> {
        const TABLE: bindings::fs_context_operations = bindings::fs_context_operations {
            free: Some(Self::free),
            parse_param: Some(Self::parse_param),
            get_tree: Some(Self::get_tree),
            reconfigure: if T::HAS_RECONFIGURE {
                Some(Self::reconfigure)
            } else {
                None
            },
            ..pin_init::zeroed()
        };

        /// No locks; a remount holds an active reference of the superblock.
        pub(crate) unsafe extern "C" fn init_fs_context(
            fc: *mut kernel::bindings::fs_context,
        ) -> c_int {
            let fc: *mut bindings::fs_context = fc.cast();
            from_result(|| {
                // SAFETY: the context is ours to set up.
                let root = unsafe { (*fc).root };
                let mounted = if root.is_null() {
                    None
                } else {
                    // SAFETY: on a remount the context holds a dentry of the superblock.
                    let root: &Dentry<T> = unsafe { Dentry::from_raw(root) };
                    Some(root.super_block())
                };
                let options = KBox::new(T::options(mounted)?, GFP_KERNEL)?;
                // SAFETY: as above. `free` takes the options back.
                unsafe { (*fc).fs_private = KBox::into_raw(options).cast() };
                // SAFETY: as above.
                unsafe { (*fc).ops = &Self::TABLE };
                Ok(0)
            })
        }

        unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
            // SAFETY: the context is alive.
            let options = unsafe { (*fc).fs_private };
            if !options.is_null() {
                // SAFETY: from `init_fs_context`; the context is freed after this.
                drop(unsafe { KBox::<T::Options>::from_raw(options.cast()) });
            }
        }

        /// # Safety
        ///
        /// `fc` must be a context that `init_fs_context` set up, in a callback that has it alone.
        unsafe fn options<'a>(fc: *mut bindings::fs_context) -> &'a mut T::Options {
            // SAFETY: set by `init_fs_context`; the caller has the context alone.
            unsafe { &mut *(*fc).fs_private.cast() }
        }

        /// `uapi_mutex`.
        unsafe extern "C" fn parse_param(
            fc: *mut bindings::fs_context,
            parameter: *mut bindings::fs_parameter,
        ) -> c_int {
            // SAFETY: both are alive for the call.
            let parameter = unsafe { Parameter::from_raw(fc, parameter) };
            // The VFS takes the source itself if we do not know it.
            if parameter.key() == b"source" {
                return ENOPARAM.to_errno();
            }
            // SAFETY: `uapi_mutex` is held.
            let options = unsafe { Self::options(fc) };
            result(T::parse(options, &parameter))
        }

        /// `uapi_mutex`.
        unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
            let kfc = fc.cast();
            match T::SOURCE {
                // SAFETY: the context is alive.
                Source::BlockDevice => unsafe {
                    bindings::get_tree_bdev(kfc, Some(Self::fill_super))
                },
                // SAFETY: the context is alive.
                Source::Nothing => unsafe { bindings::get_tree_nodev(kfc, Some(Self::fill_super)) },
            }
        }

        /// `s_umount` exclusive; nobody else has the superblock. On failure `kill_sb` runs.
        unsafe extern "C" fn fill_super(
            sb: *mut bindings::super_block,
            fc: *mut bindings::fs_context,
        ) -> c_int {
            // SAFETY: `uapi_mutex` is held.
            let options = unsafe { Self::options(fc.cast()) };
            // SAFETY: alive for the call.
            let context = unsafe { Context::from_raw(fc.cast()) };
            result(crate::superblock::tables::fill::<T>(sb, options, &context))
        }

        /// `s_umount` exclusive.
        unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
            // SAFETY: the context holds a dentry of the superblock.
            let root: &Dentry<T> = unsafe { Dentry::from_raw((*fc).root) };
            let sb: &SuperBlock<T> = root.super_block();
            // SAFETY: `uapi_mutex` is held.
            let options = unsafe { Self::options(fc) };
            // SAFETY: alive for the call.
            let context = unsafe { Context::from_raw(fc) };
            result(T::reconfigure(sb, options, &context))
        }
    }

    fn result(result: Result) -> c_int {
        from_result(|| result.map(|()| 0))
    }
}
