// SPDX-License-Identifier: GPL-2.0

//! Address space operations: what the page cache, or DAX in its place, asks of an inode.
//!
//! A table is a value, chosen for each inode in
//! [`Nature::Regular`](crate::inode::Nature::Regular). An inode without one has no page cache.

use crate::{bindings, superblock::FileSystem};
use core::marker::PhantomData;

/// A table of address space operations for inodes of `T`.
///
/// # Invariants
///
/// The table lives forever and its functions take any inode of `T`.
pub struct Ops<T: FileSystem>(
    *const bindings::address_space_operations,
    PhantomData<fn() -> T>,
);

impl<T: FileSystem> Clone for Ops<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: FileSystem> Copy for Ops<T> {}

impl<T: FileSystem> Ops<T> {
    /// Makes a table out of a static one.
    ///
    /// # Safety
    ///
    /// The functions must accept the mapping of any inode of `T`.
    #[allow(dead_code)] // For the crate's DAX module.
    pub(crate) const unsafe fn from_static(
        table: &'static bindings::address_space_operations,
    ) -> Self {
        // INVARIANT: the caller's promise.
        Self(table, PhantomData)
    }

    pub(crate) fn as_ptr(self) -> *const bindings::address_space_operations {
        self.0
    }
}
