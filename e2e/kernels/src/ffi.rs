//! What Python calls through `ctypes`.
#![allow(unsafe_code, reason = "a C interface")]

use std::{
    cell::RefCell,
    ffi::{CStr, c_char},
};

use crate::Kernel;

/// A job and its last output, which stays where it is until the next call.
pub struct Handle {
    kernel: Kernel,
    output: RefCell<Vec<u8>>,
}

/// Opens the job that a JSON text describes; null when it describes none, after saying why on standard error.
///
/// # Safety
/// `description` points to a text that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pd_kernel_open(description: *const c_char) -> *mut Handle {
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(description) };
    match text.to_str().map_err(Into::into).and_then(Kernel::open) {
        Ok(kernel) => Box::into_raw(Box::new(Handle { kernel, output: RefCell::default() })),
        Err(error) => {
            eprintln!("bench-kernels: {error:#}");
            std::ptr::null_mut()
        }
    }
}

/// Computes an index: the address of its output, whose length goes to `length`; null when it failed, after saying why on
/// standard error. The bytes stand until the next call with this handle.
///
/// # Safety
/// `handle` came from `pd_kernel_open`, no other thread uses it now, and `length` points to a `u64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pd_kernel_run(handle: *const Handle, index: u64, length: *mut u64) -> *const u8 {
    // SAFETY: the caller's promise.
    let (handle, length) = unsafe { (&*handle, &mut *length) };
    match handle.kernel.run(index) {
        Ok(output) => {
            *length = output.len() as u64;
            let mut kept = handle.output.borrow_mut();
            *kept = output;
            kept.as_ptr()
        }
        Err(error) => {
            eprintln!("bench-kernels: index {index}: {error:#}");
            std::ptr::null()
        }
    }
}
