// SPDX-License-Identifier: GPL-2.0

//! Mapping a file of persistent memory into a process, and the faults that follow.
//!
//! # What happens at a fault
//!
//! ```text
//! fault / huge_fault / page_mkwrite / pfn_mkwrite
//!   a store through a shared mapping?  sb_start_pagefault, file_update_time
//!     Faults::fault(fault)                              ← the filesystem
//!       lock_mapping_shared()                             invalidate_lock
//!         Fault::resolve(lock, map)
//!           dax_iomap_fault                               entry lock
//!             Map::begin … copy … Map::end
//!           NEEDDSYNC?  fsync of the page, then the entry into the page table
//!   sb_end_pagefault
//! ```
//!
//! `mmap_lock` or the lock of one VMA is held all the while, so `i_rwsem` may not be taken.
//!
//! # MAP_SYNC
//!
//! A store through a `MAP_SYNC` mapping may only happen when the metadata that finds its block is
//! durable. Where [`Map::begin`](crate::iomap::Map::begin) makes it durable before it returns,
//! nothing more is to be done. Where it cannot, the mapping says
//! [`dirty`](crate::iomap::Mapping::dirty): the core then holds the page table entry back,
//! [`Fault::resolve`] calls `fsync` of the file for that page (under the invalidate lock, which
//! `fsync` hence must not take), and only then lets the core put the entry in.
//!
//! # Private mappings
//!
//! A store through a private mapping asks for a read mapping and copies the page into DRAM, with
//! plain loads: [`Fault::is_private_copy`] tells, so that a page known to be bad can be kept from
//! it.

use crate::{
    bindings,
    dax::Direct,
    error::EOPNOTSUPP,
    file::File,
    inode::{Held, INode},
    invalidate,
    iomap::Ops as Map,
    pmem::PAGE,
    superblock::FileSystem,
};
use core::marker::PhantomData;
use kernel::prelude::*;

/// How much a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One page, 4 KiB.
    Page,
    /// 2 MiB.
    Huge,
}

/// 2 MiB in the units of page orders.
const HUGE_ORDER: u32 = 9;

/// The outcome of a fault: what the memory manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the memory manager waits for it"]
pub struct Outcome(bindings::vm_fault_t);

impl Outcome {
    /// Not with 2 MiB: ask again with 4 KiB.
    pub const FALLBACK: Self = Self(bindings::vm_fault_reason_VM_FAULT_FALLBACK);
    /// `SIGBUS`.
    pub const SIGBUS: Self = Self(bindings::vm_fault_reason_VM_FAULT_SIGBUS);
    /// `SIGBUS` that says the memory is lost.
    pub const POISONED: Self = Self(bindings::vm_fault_reason_VM_FAULT_HWPOISON);
    /// The page is in the page table, or the fault shall happen again.
    pub const DONE: Self = Self(bindings::vm_fault_reason_VM_FAULT_NOPAGE);

    /// What an error means: out of memory, `SIGBUS`, or lost memory for `EHWPOISON`.
    pub fn from_error(error: Error) -> Self {
        // SAFETY: pure arithmetic.
        Self(unsafe { bindings::vmf_error(error.to_errno()) })
    }

    /// `VM_FAULT_*`.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether the page is not in the page table, for good or for now.
    pub fn is_error(self) -> bool {
        self.0 & bindings::VM_FAULT_ERROR_BITS != 0
    }

    /// Whether a smaller fault is asked for.
    pub fn is_fallback(self) -> bool {
        self.0 & Self::FALLBACK.0 != 0
    }

    /// Whether the core thinks it took a new block (a major fault).
    pub fn is_major(self) -> bool {
        self.0 & bindings::vm_fault_reason_VM_FAULT_MAJOR != 0
    }
}

/// A filesystem whose files can be mapped.
pub trait Faults: Direct {
    /// Brings the page in: takes the invalidate lock, decides, and has
    /// [`resolve`](Fault::resolve) do it.
    ///
    /// `mmap_lock` or a VMA's lock is held; for [a store](Fault::is_write) freeze protection is
    /// held and the file's times have been updated.
    fn fault(fault: &mut Fault<'_, Self>) -> Outcome;
}

/// A call of `mmap(2)`, of which the mapping is about to be made.
pub struct Desc<'a, T: FileSystem> {
    desc: &'a mut bindings::vm_area_desc,
    _type: PhantomData<fn(T)>,
}

impl<T: FileSystem> Desc<'_, T> {
    /// # Safety
    ///
    /// `raw` must be valid and nobody else's while the value lives; its file must be one of `T`.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::vm_area_desc) -> Self {
        Self {
            // SAFETY: the caller's promise.
            desc: unsafe { &mut *raw },
            _type: PhantomData,
        }
    }

    /// The file that is mapped.
    pub fn file(&self) -> &File<T> {
        // SAFETY: a file of `T` by the promise of `from_raw()`, which the caller of `mmap` holds.
        unsafe { File::from_raw(self.desc.file) }
    }

    /// Whether stores reach the file.
    pub fn is_shared(&self) -> bool {
        // SAFETY: the description is valid.
        unsafe { bindings::vma_desc_is_shared(self.desc) }
    }

    /// Whether it is, or may become, writable.
    pub fn may_write(&self) -> bool {
        // SAFETY: the description is valid.
        unsafe { bindings::vma_desc_may_write(self.desc) }
    }

    /// Whether it is `MAP_SYNC`.
    pub fn is_sync(&self) -> bool {
        // SAFETY: the description is valid.
        unsafe { bindings::vma_desc_is_sync(self.desc) }
    }

    /// How many bytes are mapped.
    pub fn len(&self) -> u64 {
        // LOSSLESS: addresses have 64 bits.
        self.desc.end.saturating_sub(self.desc.start) as u64
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Faults> Desc<'_, T> {
    /// Makes it a mapping of persistent memory, whose faults go to [`Faults::fault`].
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if it shall be `MAP_SYNC` and that cannot be kept; `ENODEV` if the inode is
    /// not a DAX one with the address space [operations](crate::dax::operations) of one.
    pub fn map_direct(&mut self) -> Result {
        let file = self.desc.file;
        let inode = self.file().inode();
        let raw = inode.as_ptr();
        let dax = T::region(inode.super_block()).dax();
        // SAFETY: the inode is alive, and so are its mapping and the table of that.
        let (is_dax, table) = unsafe { (bindings::IS_DAX(raw), &*(*(*raw).i_mapping).a_ops) };
        // Whoever pins a page marks it dirty through the table, and asks nobody whether it can.
        if !is_dax || table.dirty_folio.is_none() || table.writepages.is_none() {
            return Err(ENODEV);
        }
        // SAFETY: description, inode and device are valid.
        if !unsafe { bindings::daxdev_mapping_supported(self.desc, raw, dax) } {
            return Err(EOPNOTSUPP.into());
        }
        // SAFETY: the file is open.
        unsafe { bindings::file_accessed(file) };
        self.desc.vm_ops = &Operations::<T>::TABLE;
        // SAFETY: the description is ours.
        unsafe { bindings::vma_desc_set_huge(self.desc) };
        Ok(())
    }
}

/// A fault that is being handled.
///
/// # Invariants
///
/// `vmf` is a fault of a mapping of `inode`, and valid for `'a`.
pub struct Fault<'a, T: Faults> {
    vmf: *mut bindings::vm_fault,
    inode: &'a INode<T>,
    order: Order,
    write: bool,
}

impl<'a, T: Faults> Fault<'a, T> {
    /// The file's inode.
    pub fn inode(&self) -> &'a INode<T> {
        self.inode
    }

    /// How much is wanted.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Whether it is a store through a shared mapping: one that will change the file.
    pub fn is_write(&self) -> bool {
        self.write
    }

    /// Whether the page is going to be copied for a private mapping, with plain loads.
    pub fn is_private_copy(&self) -> bool {
        // SAFETY: the fault is valid by the type invariant.
        let (write, cow) = unsafe {
            (
                (*self.vmf).flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0,
                !(*self.vmf).cow_page.is_null(),
            )
        };
        cow || (write && !self.write)
    }

    /// Whether the mapping is `MAP_SYNC`.
    pub fn is_sync(&self) -> bool {
        self.vma_flags() & bindings::VM_SYNC_FLAG != 0
    }

    /// The first byte of the file that is wanted, and how many.
    pub fn range(&self) -> core::ops::Range<u64> {
        // SAFETY: the fault is valid by the type invariant.
        let page = unsafe { (*self.vmf).__bindgen_anon_1.pgoff } as u64;
        let (first, pages) = match self.order {
            Order::Page => (page, 1),
            Order::Huge => (page & !((1 << HUGE_ORDER) - 1), 1 << HUGE_ORDER),
        };
        let start = first.saturating_mul(PAGE);
        start..start.saturating_add(pages * PAGE)
    }

    fn vma_flags(&self) -> usize {
        // SAFETY: fault and VMA are valid by the type invariant.
        unsafe { bindings::vma_flags((*self.vmf).__bindgen_anon_1.vma) }
    }

    /// Has the core bring the page in from where `map` says. Also returns the error that the map
    /// or the core ended with, where the core tells (for 4 KiB).
    ///
    /// `lock` must be the inode's.
    pub fn resolve<H: Held>(
        &mut self,
        lock: &invalidate::Guard<'_, T, H>,
        map: Map<T>,
    ) -> (Outcome, Result) {
        if !lock.is_of(self.inode) {
            return (Outcome::SIGBUS, Err(EINVAL));
        }
        let order = match self.order {
            Order::Page => 0,
            Order::Huge => HUGE_ORDER,
        };
        let mut frame = 0;
        let mut error = 0;
        // SAFETY: the fault is valid by the type invariant, of a DAX file (`map_direct()` saw to it)
        // of the filesystem that the table is for; the invalidate lock is held.
        let mut code = unsafe {
            bindings::dax_iomap_fault(self.vmf, order, &mut frame, &mut error, map.as_ptr())
        };
        if code & bindings::vm_fault_reason_VM_FAULT_NEEDDSYNC != 0 {
            // SAFETY: as above; `frame` is what the core gave for this fault.
            code = unsafe { bindings::dax_finish_sync_fault(self.vmf, order, frame) };
        }
        (Outcome(code), kernel::error::to_result(error.min(0)))
    }
}

/// What the kernel calls.
struct Operations<T>(PhantomData<T>);

impl<T: Faults> Operations<T> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        huge_fault: Some(Self::huge_fault),
        page_mkwrite: Some(Self::make_writable),
        pfn_mkwrite: Some(Self::make_writable),
        // Finds nothing to map around a DAX page, but without it each fault is tried twice, the
        // second time under `mmap_lock`.
        map_pages: Some(bindings::filemap_map_pages),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// As for [`Self::handle`].
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: the caller's promise.
        unsafe { Self::handle(vmf, Order::Page) }
    }

    /// # Safety
    ///
    /// As for [`Self::handle`].
    unsafe extern "C" fn huge_fault(
        vmf: *mut bindings::vm_fault,
        order: kernel::ffi::c_uint,
    ) -> bindings::vm_fault_t {
        match order {
            // SAFETY: the caller's promise.
            0 => unsafe { Self::handle(vmf, Order::Page) },
            // SAFETY: the caller's promise.
            HUGE_ORDER => unsafe { Self::handle(vmf, Order::Huge) },
            _ => Outcome::FALLBACK.0,
        }
    }

    /// A page that was mapped for reading (or the zero page) is stored to.
    ///
    /// # Safety
    ///
    /// As for [`Self::handle`].
    unsafe extern "C" fn make_writable(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: the caller's promise.
        unsafe { Self::handle(vmf, Order::Page) }
    }

    /// # Safety
    ///
    /// `vmf` must be a valid fault of a mapping whose operations are `TABLE`.
    unsafe fn handle(vmf: *mut bindings::vm_fault, order: Order) -> bindings::vm_fault_t {
        // SAFETY: the fault is valid, and so is its VMA, by the caller's promise.
        let (vma, flags) = unsafe { ((*vmf).__bindgen_anon_1.vma, (*vmf).flags) };
        // SAFETY: a VMA with operations has its file.
        let file = unsafe { (*vma).vm_file };
        // SAFETY: the file is open, and has a mapping with a host.
        let raw = unsafe { (*(*file).f_mapping).host };
        // SAFETY: `map_direct()` gave the operations to files of `T` only.
        let inode = unsafe { INode::<T>::from_raw(raw) };
        // SAFETY: the VMA is valid.
        let shared = unsafe { bindings::vma_flags(vma) } & bindings::VM_SHARED_FLAG != 0;
        let write = shared && flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0;
        let mut fault = Fault {
            vmf,
            inode,
            order,
            write,
        };
        if !write {
            return T::fault(&mut fault).0;
        }
        let _unfrozen = inode.super_block().start_page_fault();
        // A time that could not be updated is no reason to kill a process.
        // SAFETY: the file is open.
        let _ = unsafe { bindings::file_update_time(file) };
        T::fault(&mut fault).0
    }
}
