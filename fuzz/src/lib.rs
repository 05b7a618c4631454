//! What a fuzz target is to libFuzzer: a program whose `main` is libFuzzer's, and which has one function.

/// Makes a program the fuzz target that gives every input to a closure. A panic in it is a finding.
#[macro_export]
macro_rules! target {
    ($try_one:expr) => {
        /// Called by libFuzzer with each input.
        ///
        /// # Safety
        ///
        /// `bytes` points to `length` bytes, which nobody writes meanwhile.
        #[expect(unsafe_code, reason = "libFuzzer calls it by this name, with a pointer")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn LLVMFuzzerTestOneInput(bytes: *const u8, length: usize) -> i32 {
            let input: &[u8] = if length == 0 {
                &[]
            } else {
                // SAFETY: this is what libFuzzer promises.
                unsafe { std::slice::from_raw_parts(bytes, length) }
            };
            let try_one: fn(&[u8]) = $try_one;
            try_one(input);
            0
        }
    };
}
