// SPDX-License-Identifier: GPL-2.0

//! `struct mutex`: the kernel crate's own, but where holds are counted ([`super::hold`]).

#[cfg(not(FERROX_HOLDS))]
pub use kernel::sync::{new_mutex, Mutex};

#[cfg(FERROX_HOLDS)]
pub use self::counted::Mutex;
#[cfg(FERROX_HOLDS)]
pub use crate::counted_mutex as new_mutex;

#[cfg(FERROX_HOLDS)]
mod counted {
    use crate::sync::hold::{Label, Mode, Since};
    use kernel::bindings;
    use kernel::str::CStrExt as _;
    use kernel::sync::lock::{Backend, Lock};

    /// Makes a [`Mutex`] of that name.
    #[macro_export]
    macro_rules! counted_mutex {
        ($inner:expr, $name:literal) => {
            $crate::sync::Mutex::new($inner, kernel::c_str!($name), kernel::static_lock_class!())
        };
    }

    /// A mutex whose holds are counted.
    pub type Mutex<T> = Lock<T, Counted>;

    /// The kernel's mutex, and whose counts are its.
    pub struct Counted;

    /// What is in the lock.
    #[repr(C)]
    pub struct State {
        raw: bindings::mutex,
        label: Label,
    }

    // SAFETY: it is the kernel's mutex that excludes.
    unsafe impl Backend for Counted {
        type State = State;
        type GuardState = Since;

        unsafe fn init(
            ptr: *mut State,
            name: *const kernel::ffi::c_char,
            key: *mut bindings::lock_class_key,
        ) {
            // SAFETY: the caller's `name` lives forever.
            let label = Label::new(unsafe { kernel::str::CStr::from_char_ptr(name) });
            // SAFETY: the caller's `ptr` is valid for writing.
            unsafe { (&raw mut (*ptr).label).write(label) };
            // SAFETY: as above; the mutex stands at the beginning.
            unsafe { bindings::__mutex_init(ptr.cast(), name, key) };
        }

        unsafe fn lock(ptr: *mut State) -> Since {
            // SAFETY: the caller's mutex was initialised.
            unsafe { bindings::mutex_lock(ptr.cast()) };
            // SAFETY: so was its label, which never changes.
            unsafe { (*ptr).label }.taken()
        }

        unsafe fn unlock(ptr: *mut State, since: &Since) {
            // SAFETY: the label was initialised and never changes.
            unsafe { (*ptr).label }.over(*since, Mode::Alone);
            // SAFETY: the caller holds the mutex.
            unsafe { bindings::mutex_unlock(ptr.cast()) };
        }

        unsafe fn try_lock(ptr: *mut State) -> Option<Since> {
            // SAFETY: the caller's mutex was initialised.
            let taken = unsafe { bindings::mutex_trylock(ptr.cast()) };
            // SAFETY: so was its label.
            (taken != 0).then(|| unsafe { (*ptr).label }.taken())
        }

        unsafe fn assert_is_held(ptr: *mut State) {
            // SAFETY: the caller's mutex was initialised.
            unsafe { bindings::mutex_assert_is_held(ptr.cast()) };
        }
    }
}
