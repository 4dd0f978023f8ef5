// SPDX-License-Identifier: GPL-2.0

//! Fallible memory on the host: the twin of `rust/memory/kernel.rs`.
//!
//! The engine is one source for two worlds, and the worlds differ in their allocators. So the
//! engine names a crate `memory`; Kbuild links the one over `kernel::alloc`, Cargo this one. Both
//! have the same types with the same fallible signatures, and nothing else of the engine knows
//! where it runs.
//!
//! Here every request can be made to fail on purpose: [`fail_after`] counts requests of the thread
//! down and fails one, so that a test can walk through *every* request of an operation.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static COUNTDOWN: Cell<Option<u64>> = const { Cell::new(None) };
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

/// There was no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

/// Lets the next `n` requests of this thread succeed and every one after them fail, until called
/// with `None`.
pub fn fail_after(n: Option<u64>) {
    COUNTDOWN.with(|c| c.set(n));
}

/// How many requests this thread has made so far.
pub fn requests() -> u64 {
    REQUESTS.with(Cell::get)
}

fn request() -> Result<(), AllocError> {
    REQUESTS.with(|r| r.set(r.get().wrapping_add(1)));
    COUNTDOWN.with(|c| match c.get() {
        None => Ok(()),
        Some(0) => Err(AllocError),
        Some(n) => {
            c.set(Some(n - 1));
            Ok(())
        }
    })
}

/// A growable array whose growth can fail.
#[derive(Debug)]
pub struct Vec<T>(std::vec::Vec<T>);

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Vec<T> {
    /// An empty array; asks for no memory.
    pub const fn new() -> Self {
        Self(std::vec::Vec::new())
    }

    /// Makes room for `more` elements beyond the present ones: that many pushes will not ask for
    /// memory again.
    pub fn reserve(&mut self, more: usize) -> Result<(), AllocError> {
        if self.0.capacity() - self.0.len() >= more {
            return Ok(());
        }
        request()?;
        self.0.try_reserve(more).map_err(|_| AllocError)
    }

    /// Elements that fit without asking for memory.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Appends an element, growing if needed.
    pub fn push(&mut self, value: T) -> Result<(), AllocError> {
        self.reserve(1)?;
        self.0.push(value);
        Ok(())
    }

    /// Takes the last element off.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Inserts at `at`, which is at most the length; growing if needed.
    pub fn insert(&mut self, at: usize, value: T) -> Result<(), AllocError> {
        if at > self.0.len() {
            return Err(AllocError);
        }
        self.reserve(1)?;
        self.0.insert(at, value);
        Ok(())
    }

    /// Removes the element at `at`, keeping the order; `None` past the end.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        (at < self.0.len()).then(|| self.0.remove(at))
    }

    /// Removes the element at `at` by putting the last one in its place; `None` past the end.
    pub fn swap_remove(&mut self, at: usize) -> Option<T> {
        (at < self.0.len()).then(|| self.0.swap_remove(at))
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

impl<T: Clone> Vec<T> {
    /// Appends copies of all elements of `from`.
    pub fn extend_from_slice(&mut self, from: &[T]) -> Result<(), AllocError> {
        self.reserve(from.len())?;
        self.0.extend_from_slice(from);
        Ok(())
    }

    /// Grows with copies of `value`, or shrinks, to `len` elements.
    pub fn resize(&mut self, len: usize, value: T) -> Result<(), AllocError> {
        self.reserve(len.saturating_sub(self.0.len()))?;
        self.0.resize(len, value);
        Ok(())
    }
}

impl<T> Deref for Vec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Vec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

/// One value in memory of its own.
#[derive(Debug)]
pub struct Box<T>(std::boxed::Box<T>);

impl<T> Box<T> {
    /// Moves `value` into memory of its own.
    pub fn new(value: T) -> Result<Self, AllocError> {
        request()?;
        Ok(Self(std::boxed::Box::new(value)))
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        *self.0
    }
}

impl<T> Deref for Box<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Box<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// 4096 bytes in memory of their own, never on the stack.
#[derive(Debug)]
pub struct Page(std::boxed::Box<[u8; 4096]>);

impl Page {
    /// A page of zeroes.
    pub fn zeroed() -> Result<Self, AllocError> {
        request()?;
        let bytes = vec![0u8; 4096].into_boxed_slice();
        bytes.try_into().map(Self).map_err(|_| AllocError)
    }
}

impl Deref for Page {
    type Target = [u8; 4096];

    fn deref(&self) -> &[u8; 4096] {
        &self.0
    }
}

impl DerefMut for Page {
    fn deref_mut(&mut self) -> &mut [u8; 4096] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fail_when_told() {
        fail_after(Some(1));
        let first = Page::zeroed();
        let second = Page::zeroed();
        fail_after(None);
        assert!(first.is_ok());
        assert!(second.is_err());
    }

    #[test]
    fn reserved_pushes_ask_for_nothing() {
        let mut v = Vec::new();
        v.reserve(3).unwrap();
        fail_after(Some(0));
        for i in 0..3 {
            assert!(v.push(i).is_ok());
        }
        fail_after(None);
        assert_eq!(&*v, &[0, 1, 2]);
    }
}
