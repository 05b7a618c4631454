//! Writing the result in pieces of a size that suits the host.
//!
//! In: bytes in any sizes. Out: calls of `write-result`. It must not know what the bytes mean.

use crate::Host;

/// Bytes collected before the host is called.
const BUFFER_BYTES: usize = 256 << 10;

/// Buffered writer of a job's result; what is left in the buffer is written when it is dropped.
pub struct ResultWriter<'h> {
    host: &'h dyn Host,
    buffer: Vec<u8>,
}

impl<'h> ResultWriter<'h> {
    pub(crate) fn new(host: &'h dyn Host) -> Self {
        Self { host, buffer: Vec::with_capacity(BUFFER_BYTES) }
    }

    /// Appends `bytes` to the result.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.write_out();
        }
        if bytes.len() >= BUFFER_BYTES {
            self.host.write_result(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn write_out(&mut self) {
        if !self.buffer.is_empty() {
            self.host.write_result(&self.buffer);
            self.buffer.clear();
        }
    }
}

impl Drop for ResultWriter<'_> {
    fn drop(&mut self) {
        self.write_out();
    }
}

impl std::io::Write for ResultWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Self::write(self, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.write_out();
        Ok(())
    }
}
