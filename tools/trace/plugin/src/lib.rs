// SPDX-License-Identifier: GPL-2.0

//! QEMU plugin: writes down what happens to the NVDIMM (`trace::event`).
//!
//! ```text
//! -plugin libtrace_plugin.so,nvdimm=BACKING-FILE,out=TRACE
//! ```
//!
//! Nothing is written before a program in the guest says [`Mark::Begin`], and nothing after
//! [`Mark::End`]. Each instruction is looked at when it is translated:
//!
//! * a store has a callback behind it, which gets the physical address. The bytes are taken out of
//!   the NVDIMM's backing file, which the guest's memory is a shared mapping of;
//! * a write-back does nothing in the emulator and accesses nothing. Its operand is worked out from
//!   the registers before it is executed, and translated by a walk through the page tables
//!   (`walk`);
//! * fences and marks have a callback.
//!
//! One virtual CPU (`-smp 1`): the callbacks run in its thread, one after the other. The guest
//! needs `nokaslr` (the walk reads page tables through the direct map) and a processor without
//! `la57`.
//!
//! The API is QEMU's `include/plugins/qemu-plugin.h`, version 4; the declarations are those of the
//! crate `qemu-plugin-sys`. A plugin is unsafe by nature: it is called by C.

mod glib;
mod recorder;
mod walk;

use qemu_plugin_sys as qemu;
use recorder::Recorder;
use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::sync::{Mutex, PoisonError};
use trace::decode::{decode, Kind};
use trace::event::Mark;

/// Which version of the API this was written for.
#[no_mangle]
pub static qemu_plugin_version: c_int = 4;

/// All there is to remember.
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);

/// Set in a callback's data, which is the program counter of 48 bits and a sign: the store goes past
/// the cache.
const PAST_CACHE: u64 = 1 << 62;

/// The program counter out of a callback's data.
fn counter(data: *mut c_void) -> u64 {
    let word = data as usize as u64;
    // Bit 62 of an address is as bit 63.
    (word & !PAST_CACHE) | ((word >> 63) << 62)
}

fn with<R>(f: impl FnOnce(&mut Recorder) -> R) -> Option<R> {
    RECORDER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_mut()
        .map(f)
}

/// A trace that has a gap would say that all is well: the guest ends instead.
fn or_die<T>(result: std::io::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("trace: {error}");
        std::process::abort()
    })
}

/// The entry point: takes the arguments and asks to be called for each translation.
///
/// # Safety
///
/// QEMU calls it once, with `argc` strings in `argv`.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: qemu::qemu_plugin_id_t,
    _info: *const qemu::qemu_info_t,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let (mut nvdimm, mut out) = (None, None);
    for n in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY: there are `argc` strings, by the caller's promise.
        let argument = unsafe { argv.add(n) };
        // SAFETY: as above.
        let argument = unsafe { *argument };
        // SAFETY: each is a C string.
        let argument = unsafe { CStr::from_ptr(argument) }.to_string_lossy();
        match argument.split_once('=') {
            Some(("nvdimm", path)) => nvdimm = Some(path.to_owned()),
            Some(("out", path)) => out = Some(path.to_owned()),
            _ => {
                eprintln!("trace: unknown argument {argument}");
                return -1;
            }
        }
    }
    let (Some(nvdimm), Some(out)) = (nvdimm, out) else {
        eprintln!("trace: want nvdimm=BACKING-FILE,out=TRACE");
        return -1;
    };
    match Recorder::new(nvdimm.as_ref(), out.as_ref()) {
        Ok(recorder) => {
            *RECORDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(recorder);
        }
        Err(error) => {
            eprintln!("trace: {nvdimm}, {out}: {error}");
            return -1;
        }
    }
    // SAFETY: called as the API wants it, with our own id and functions that live as long as we do.
    unsafe { qemu::qemu_plugin_register_vcpu_init_cb(id, Some(begin)) };
    // SAFETY: as above.
    unsafe { qemu::qemu_plugin_register_vcpu_tb_trans_cb(id, Some(translate)) };
    // SAFETY: as above.
    unsafe { qemu::qemu_plugin_register_atexit_cb(id, Some(end), std::ptr::null_mut()) };
    0
}

/// A virtual CPU is there: its registers have handles now.
unsafe extern "C" fn begin(_id: qemu::qemu_plugin_id_t, cpu: c_uint) {
    if cpu != 0 {
        eprintln!("trace: one virtual CPU only (-smp 1)");
        std::process::abort();
    }
    // SAFETY: we are in the vCPU's init callback.
    let registers = unsafe { walk::Registers::find() };
    with(|recorder| recorder.registers = Some(or_die(registers)));
}

unsafe extern "C" fn end(_id: qemu::qemu_plugin_id_t, _data: *mut c_void) {
    with(|recorder| or_die(recorder.flush()));
}

/// A block of instructions is translated.
unsafe extern "C" fn translate(_id: qemu::qemu_plugin_id_t, block: *mut qemu::qemu_plugin_tb) {
    // SAFETY: `block` is valid during this callback.
    let count = unsafe { qemu::qemu_plugin_tb_n_insns(block) };
    for n in 0..count {
        // SAFETY: as above, and `n` is below its length.
        let instruction = unsafe { qemu::qemu_plugin_tb_get_insn(block, n) };
        // SAFETY: the instruction is one of this block's.
        let pc = unsafe { qemu::qemu_plugin_insn_vaddr(instruction) };
        let mut bytes = [0u8; 16];
        // SAFETY: as above, and there is room for the length that is given.
        let len = unsafe {
            qemu::qemu_plugin_insn_data(instruction, bytes.as_mut_ptr().cast(), bytes.len())
        };
        let kind = decode(&bytes[..len.min(bytes.len())], pc);
        let low = pc & !PAST_CACHE;
        let data = |word: u64| word as usize as *mut c_void;
        let call = |f, word| {
            // SAFETY: as above; the callback lives as long as we do, and its data is a number.
            unsafe {
                qemu::qemu_plugin_register_vcpu_insn_exec_cb(
                    instruction,
                    f,
                    qemu::qemu_plugin_cb_flags::QEMU_PLUGIN_CB_R_REGS,
                    data(word),
                );
            }
        };
        match kind {
            Kind::WriteBack(_) => {
                // What it was decoded to is kept for good: there are few of them.
                let place = with(|recorder| recorder.keep(&bytes, pc)).unwrap_or(0);
                call(Some(write_back), place as u64);
            }
            Kind::Fence => call(Some(fence), low),
            Kind::Mark => call(Some(mark), low),
            Kind::NonTemporal | Kind::Other => {
                let past = if kind == Kind::NonTemporal {
                    PAST_CACHE
                } else {
                    0
                };
                // SAFETY: as above.
                unsafe {
                    qemu::qemu_plugin_register_vcpu_mem_cb(
                        instruction,
                        Some(store),
                        qemu::qemu_plugin_cb_flags::QEMU_PLUGIN_CB_R_REGS,
                        qemu::qemu_plugin_mem_rw::QEMU_PLUGIN_MEM_W,
                        data(low | past),
                    );
                }
            }
        }
    }
}

/// A store was made.
unsafe extern "C" fn store(
    _cpu: c_uint,
    info: qemu::qemu_plugin_meminfo_t,
    address: u64,
    data: *mut c_void,
) {
    if !recorder::is_on() {
        return;
    }
    let word = data as usize as u64;
    // SAFETY: `info` is that of this callback.
    let len = 1u64 << unsafe { qemu::qemu_plugin_mem_size_shift(info) };
    // SAFETY: as above.
    let place = unsafe { qemu::qemu_plugin_get_hwaddr(info, address) };
    if place.is_null() {
        return;
    }
    // SAFETY: not null, so it is valid during this callback.
    if unsafe { qemu::qemu_plugin_hwaddr_is_io(place) } {
        return;
    }
    // SAFETY: as above.
    let physical = unsafe { qemu::qemu_plugin_hwaddr_phys_addr(place) };
    with(|recorder| {
        or_die(recorder.store(
            address,
            physical,
            len,
            counter(data),
            word & PAST_CACHE != 0,
        ));
    });
}

/// A line is about to be written back.
unsafe extern "C" fn write_back(_cpu: c_uint, data: *mut c_void) {
    if recorder::is_on() {
        with(|recorder| or_die(recorder.write_back(data as usize)));
    }
}

unsafe extern "C" fn fence(_cpu: c_uint, data: *mut c_void) {
    if recorder::is_on() {
        with(|recorder| or_die(recorder.fence(counter(data))));
    }
}

unsafe extern "C" fn mark(_cpu: c_uint, data: *mut c_void) {
    with(|recorder| {
        let words = or_die(recorder.arguments());
        if let Some(mark) = Mark::from_words(words) {
            or_die(recorder.mark(mark, counter(data)));
        }
    });
}
