//! Frames on a byte stream: a `u32` length, then postcard.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// Largest frame: one output at its limit (64 MiB) beside others of the same batch.
pub const FRAME_BYTES_MAX: usize = 160 << 20;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The pipe broke.
    #[error("the pipe to the other process failed")]
    Io(#[from] io::Error),
    /// The other side announced a frame beyond the limit.
    #[error("a frame of {0} bytes is beyond the limit of {FRAME_BYTES_MAX}")]
    TooLarge(usize),
    /// The bytes are not the message that was expected.
    #[error("a frame does not decode")]
    Decode(#[from] postcard::Error),
}

/// A message as a frame, length included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; 4])?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// A message from a frame's bytes, length excluded.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(postcard::from_bytes(body)?)
}

/// Writes one message; does not flush.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), FrameError> {
    Ok(to.write_all(&encode(message)?)?)
}

/// Reads one message; `None` when the stream ended between two frames.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    decode(&body).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blob, Reply, Request};

    #[test]
    fn messages_survive_the_stream() {
        let mut stream = Vec::new();
        let first = Request::Run { first: 3, last: 9, careful: false };
        let second = Request::Cancel;
        write(&mut stream, &first).expect("writes");
        write(&mut stream, &second).expect("writes");
        let mut from = stream.as_slice();
        assert_eq!(read(&mut from).expect("reads"), Some(first));
        assert_eq!(read(&mut from).expect("reads"), Some(second));
        assert_eq!(read::<Request>(&mut from).expect("ends"), None);
    }

    #[test]
    fn a_torn_or_oversized_frame_is_an_error() {
        let frame = encode(&Reply::Read { blob: Blob::Part(1), offset: 0, length: 5 }).expect("encodes");
        assert!(matches!(read::<Reply>(&mut &frame[..frame.len() - 1]), Err(FrameError::Io(_))));
        assert!(matches!(read::<Reply>(&mut &[0xff; 8][..]), Err(FrameError::TooLarge(_))));
    }
}
