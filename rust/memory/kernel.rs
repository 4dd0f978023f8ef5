// SPDX-License-Identifier: GPL-2.0

//! Fallible memory in the kernel: the twin of `tools/memory/lib.rs`.
//!
//! The engine is one source for two worlds, and the worlds differ in their allocators. So the
//! engine names a crate `memory`; Kbuild links this one, Cargo the one on the host. Both have the
//! same types with the same fallible signatures, and nothing else of the engine knows where it
//! runs. (The host's twin also injects failures; its functions for that are not part of the
//! contract.)
//!
//! # Context
//!
//! Every request may sleep (`GFP_KERNEL`). Callers that hold the commit lock or anything below it
//! are in a nofs scope, which turns the request into one that does not enter a filesystem: there
//! is no `GFP_NOFS` here because a scope covers everything that is called in it.
//!
//! # No panics
//!
//! The kernel may be built with overflow checks, and the generic code of `kernel::alloc` is
//! compiled into whoever uses it: a `cap - len` there becomes a call of `core::panicking` in *our*
//! object unless the compiler can prove it away. So each function here first establishes what it
//! needs, with checked arithmetic, in plain sight of the optimizer; `tools/check` looks at the
//! engine's object for what is left.

#![forbid(unsafe_code)]

use core::mem::replace;
use core::ops::{Deref, DerefMut};
use kernel::alloc::{flags::GFP_KERNEL, KBox, KVVec};

/// There was no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

impl From<kernel::alloc::AllocError> for AllocError {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Self
    }
}

/// A growable array whose growth can fail.
pub struct Vec<T>(KVVec<T>);

impl<T: core::fmt::Debug> core::fmt::Debug for Vec<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Vec<T> {
    /// An empty array; asks for no memory.
    pub const fn new() -> Self {
        Self(KVVec::new())
    }

    /// Whether `more` elements fit behind the present ones, in the very words of KVVec's own
    /// check: after it, the optimizer drops that one, and the growth behind it.
    #[inline]
    fn has_room(&self, more: usize) -> bool {
        let room = self.0.capacity().checked_sub(self.0.len());
        room.is_some_and(|room| room >= more) && self.0.len().checked_add(more).is_some()
    }

    /// Makes room for `more` elements beyond the present ones: that many pushes will not ask for
    /// memory again.
    #[inline]
    pub fn reserve(&mut self, more: usize) -> Result<(), AllocError> {
        if self.has_room(more) {
            return Ok(());
        }
        self.grow(more)
    }

    #[cold]
    fn grow(&mut self, more: usize) -> Result<(), AllocError> {
        let (len, capacity) = (self.0.len(), self.0.capacity());
        // Both hold by KVVec's invariants; saying so keeps its own arithmetic from panicking.
        if len > capacity || capacity.checked_mul(2).is_none() {
            return Err(AllocError);
        }
        Ok(self.0.reserve(more, GFP_KERNEL)?)
    }

    /// Elements that fit without asking for memory.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Appends an element, growing if needed.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), AllocError> {
        self.reserve(1)?;
        self.0.push_within_capacity(value).map_err(|_| AllocError)
    }

    /// Takes the last element off.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Inserts at `at`, which is at most the length; growing if needed.
    pub fn insert(&mut self, at: usize, value: T) -> Result<(), AllocError> {
        self.reserve(1)?;
        self.0
            .insert_within_capacity(at, value)
            .map_err(|_| AllocError)
    }

    /// Removes the element at `at`, keeping the order; `None` past the end.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        self.0.remove(at).ok()
    }

    /// Removes the element at `at` by putting the last one in its place; `None` past the end.
    pub fn swap_remove(&mut self, at: usize) -> Option<T> {
        if at >= self.0.len() {
            return None;
        }
        let last = self.0.pop()?;
        match self.0.get_mut(at) {
            Some(slot) => Some(replace(slot, last)),
            // The last element was the one asked for.
            None => Some(last),
        }
    }

    /// Drops what lies beyond `len` elements; keeps the memory.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Drops all elements; keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Elements that [`Vec::resize`] puts at once.
const BATCH: usize = 16;

impl<T: Clone> Vec<T> {
    /// Appends copies of all elements of `from`.
    #[inline]
    pub fn extend_from_slice(&mut self, from: &[T]) -> Result<(), AllocError> {
        self.reserve(from.len())?;
        if !self.has_room(from.len()) {
            return Err(AllocError);
        }
        Ok(self.0.extend_from_slice(from, GFP_KERNEL)?)
    }

    /// Grows with copies of `value`, or shrinks, to `len` elements.
    #[inline]
    pub fn resize(&mut self, len: usize, value: T) -> Result<(), AllocError> {
        let Some(more) = len.checked_sub(self.0.len()) else {
            self.0.truncate(len);
            return Ok(());
        };
        self.reserve(more)?;
        // Not extend_with(): it indexes, which the optimizer does not see through. By sixteen, for
        // a push looks at the room that there is each time.
        let mut left = more;
        if left >= BATCH {
            let batch: [T; BATCH] = core::array::from_fn(|_| value.clone());
            while left >= BATCH {
                self.extend_from_slice(&batch)?;
                left = left.saturating_sub(BATCH);
            }
        }
        for _ in 0..left {
            let copy = value.clone();
            self.0.push_within_capacity(copy).map_err(|_| AllocError)?;
        }
        Ok(())
    }
}

impl<T> Deref for Vec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Vec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

/// One value in memory of its own.
pub struct Box<T>(KBox<T>);

impl<T: core::fmt::Debug> core::fmt::Debug for Box<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(&**self, f)
    }
}

impl<T> Box<T> {
    /// Moves `value` into memory of its own.
    #[inline]
    pub fn new(value: T) -> Result<Self, AllocError> {
        Ok(Self(KBox::new(value, GFP_KERNEL)?))
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        KBox::into_inner(self.0)
    }
}

impl<T> Deref for Box<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Box<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// 4096 bytes in memory of their own, never on the stack.
pub struct Page(sys::Page);

impl core::fmt::Debug for Page {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Page")
    }
}

impl Page {
    /// A page of zeroes.
    pub fn zeroed() -> Result<Self, AllocError> {
        Ok(Self(sys::Page::zeroed()?))
    }
}

impl Deref for Page {
    type Target = [u8; 4096];

    #[inline]
    fn deref(&self) -> &[u8; 4096] {
        &self.0
    }
}

impl DerefMut for Page {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8; 4096] {
        &mut self.0
    }
}
