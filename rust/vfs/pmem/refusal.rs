// SPDX-License-Identifier: GPL-2.0

//! Why a device is not taken, and what its owner can do about it.

use kernel::{fmt, prelude::*};

/// Why [`Region::open`](super::Region::open) would not take a device.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// The block device does not offer DAX.
    NoDax,
    /// The partition does not begin or end on a page.
    Misaligned {
        /// Where it begins on the disk, in bytes.
        start: u64,
        /// How long it is, in bytes.
        len: u64,
    },
    /// Somebody else holds the DAX device.
    Held,
    /// The device needs a flush by its host; a fence orders nothing there.
    Asynchronous,
    /// The driver was told not to write caches back.
    WriteBackOff,
    /// The memory is not one piece of address space.
    Scattered,
    /// There is not one page.
    Empty,
    /// The driver would not give an address; the reason is its own.
    Unreachable(Error),
    /// No DRAM.
    NoMemory,
}

impl Refusal {
    /// The errno that goes with it.
    pub fn errno(self) -> Error {
        match self {
            Self::NoDax => ENODEV,
            Self::Misaligned { .. } | Self::Scattered | Self::Empty => EINVAL,
            Self::Held => EBUSY,
            Self::Asynchronous | Self::WriteBackOff => {
                Error::from_errno(-(crate::bindings::EOPNOTSUPP as i32))
            }
            Self::Unreachable(e) => e,
            Self::NoMemory => ENOMEM,
        }
    }
}

/// One line for the log: what is wrong, and what to do.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDax => f.write_str(
                "the device offers no DAX; make it an fsdax namespace \
                 (ndctl create-namespace -f -e NAMESPACE -m fsdax -M mem)",
            ),
            Self::Misaligned { start, len } => write!(
                f,
                "the partition begins at byte {start} and has {len} bytes, which are not whole \
                 pages of 4096; make it again with page alignment"
            ),
            Self::Held => f.write_str(
                "the DAX device is held by another filesystem or mapping (another partition of \
                 it counts too); unmount that first",
            ),
            Self::Asynchronous => f.write_str(
                "the device is made durable by its host only (virtio-pmem), which stores and \
                 fences cannot ask for; use an NVDIMM",
            ),
            Self::WriteBackOff => f.write_str(
                "writing caches back is switched off in the driver; \
                 echo 1 to dax/write_cache in the disk's directory of /sys/block",
            ),
            Self::Scattered => {
                f.write_str("the memory of the device is not one contiguous range of addresses")
            }
            Self::Empty => f.write_str("the device has not one page"),
            Self::Unreachable(e) => {
                write!(
                    f,
                    "the driver gave no address for it (error {})",
                    e.to_errno()
                )
            }
            Self::NoMemory => f.write_str("out of memory"),
        }
    }
}
