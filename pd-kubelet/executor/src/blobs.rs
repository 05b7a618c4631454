//! What a guest reads: inputs, the plan's state and, in a merge, the parts.
//!
//! In: reads as small as guests make them. Out: bytes, fetched from the kubelet in blocks that are kept for a
//! while, parts that follow each other in groups: a round trip costs more than a block. Must not know what
//! the bytes are.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, mpsc::Receiver},
};

use executor_protocol::{Blob, FrameError, ReadAnswer, Reply};

use crate::pipe::Outbox;

/// Unit of what is fetched for small reads and kept.
const BLOCK_BYTES: u64 = 256 << 10;
/// A read of this size or more is passed through in pieces of this size.
const PIECE_BYTES: u64 = 4 << 20;
/// Blocks asked for beyond the one that is wanted, by a guest that reads on: while it works with one, the kubelet sends the next.
const BLOCKS_AHEAD: u64 = 2;
/// Blocks that are kept: 256 whole ones, so a merge may go through the rows of 256 tiles side by side.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// What an entry costs besides its bytes; bounds the number of empty ones.
const ENTRY_BYTES: usize = 256;
/// Parts fetched ahead at most, and their bytes as guessed from the last one.
const PARTS_AHEAD_MAX: u64 = 256;
const PARTS_AHEAD_BYTES: u64 = 8 << 20;

/// Why a blob could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("a read of {wanted} bytes does not fit into the task's memory limit of {limit}")]
    TooLong { wanted: u64, limit: u64 },
    #[error("the node answered {got} of {wanted} bytes of {blob:?} from offset {offset}")]
    Short { blob: Blob, offset: u64, wanted: u64, got: usize },
    #[error("the node does not answer: its pipe has ended")]
    Ended,
    #[error("the node cannot be asked")]
    Pipe(#[from] FrameError),
}

/// The way to the kubelet and back.
pub(crate) struct Link {
    pub(crate) outbox: Arc<Outbox>,
    /// None: nobody is there to ask, so there is no blob.
    pub(crate) answers: Option<Receiver<Option<ReadAnswer>>>,
}

/// Blobs of one job, as far as they are kept.
pub(crate) struct Blobs {
    link: Link,
    known: HashMap<Blob, Known>,
    /// Every kept block, oldest first.
    order: VecDeque<(Blob, u64)>,
    kept_bytes: usize,
    /// Blocks that were asked for and have not been taken from the link, in the order in which they come.
    coming: VecDeque<Coming>,
    /// Parts there are; none outside a merge.
    parts: u64,
    ahead: Ahead,
}

/// One blob. The first block is fetched together with the size and leaves last.
struct Known {
    size: Option<u64>,
    blocks: HashMap<u64, Vec<u8>>,
}

/// A block on its way.
struct Coming {
    blob: Blob,
    number: u64,
    bytes: u64,
}

/// How far parts have been fetched in advance.
#[derive(Default)]
struct Ahead {
    next: u64,
    window: u64,
    part_bytes: u64,
}

impl Blobs {
    pub(crate) fn new(link: Link) -> Self {
        let (known, order, coming) = (HashMap::new(), VecDeque::new(), VecDeque::new());
        Self { link, known, order, kept_bytes: 0, coming, parts: 0, ahead: Ahead::default() }
    }

    /// Another job: nothing of the last one is kept.
    pub(crate) fn forget(&mut self) {
        // What comes belongs to the last job. A link that has ended says so to the next who asks.
        while !self.coming.is_empty() {
            let _ = self.take();
        }
        self.known.clear();
        self.order.clear();
        self.kept_bytes = 0;
        self.parts = 0;
        self.ahead = Ahead::default();
    }

    /// From here on there are that many parts; 0 outside a merge.
    pub(crate) fn set_parts(&mut self, parts: u64) {
        self.parts = parts;
    }

    /// Size in bytes; none: there is no such blob.
    pub(crate) fn size(&mut self, blob: &Blob) -> Result<Option<u64>, ReadError> {
        if let Blob::Part(index) = blob
            && *index >= self.parts
        {
            return Ok(None);
        }
        if !self.known.contains_key(blob) {
            self.fetch_first(blob)?;
        }
        Ok(self.known.get(blob).and_then(|known| known.size))
    }

    /// Up to `length` bytes from `offset`, shorter only at the blob's end; nothing of a blob that is not there.
    pub(crate) fn read(&mut self, blob: &Blob, offset: u64, length: u32, limit: u64) -> Result<Vec<u8>, ReadError> {
        let size = self.size(blob)?.unwrap_or(0);
        let end = offset.saturating_add(u64::from(length)).min(size);
        let wanted = end.saturating_sub(offset);
        if wanted > limit {
            return Err(ReadError::TooLong { wanted, limit });
        }
        if wanted >= PIECE_BYTES {
            return self.pass_through(blob, offset, end);
        }
        let mut bytes = Vec::with_capacity(wanted as usize);
        let mut at = offset;
        while at < end {
            let number = at / BLOCK_BYTES;
            let start = number * BLOCK_BYTES;
            let block = self.block(blob, number, size)?;
            let piece = &block[(at - start) as usize..(end - start).min(block.len() as u64) as usize];
            bytes.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        Ok(bytes)
    }

    /// All of a blob that is read once: nothing of it is kept. None: there is none, or it has more bytes than `limit`.
    pub(crate) fn read_once(&mut self, blob: &Blob, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.ask(&[(blob.clone(), 0, BLOCK_BYTES)])?;
        self.settle()?;
        let Some(answer) = self.answer()?.filter(|answer| answer.size <= limit) else { return Ok(None) };
        let (size, start) = (answer.size, answer.size.min(BLOCK_BYTES));
        let mut bytes = whole(blob, 0, start, Some(answer))?;
        if start < size {
            bytes.extend(self.pass_through(blob, start, size)?);
        }
        Ok(Some(bytes))
    }

    /// A block in full; only the blob's last one is shorter.
    fn block(&mut self, blob: &Blob, number: u64, size: u64) -> Result<&[u8], ReadError> {
        if !self.has(blob, number) {
            self.ask_on(blob, number, size)?;
            while !self.has(blob, number) {
                self.take()?;
            }
        }
        let block = self.known.get(blob).and_then(|known| known.blocks.get(&number));
        Ok(block.expect("invariant: the newest block is kept"))
    }

    fn has(&self, blob: &Blob, number: u64) -> bool {
        self.known.get(blob).is_some_and(|known| known.blocks.contains_key(&number))
    }

    /// Asks for a block and, where it follows one that was read, for those behind it.
    fn ask_on(&mut self, blob: &Blob, number: u64, size: u64) -> Result<(), ReadError> {
        let reads_on = number.checked_sub(1).is_some_and(|before| self.has(blob, before));
        let end = if reads_on { number + 1 + BLOCKS_AHEAD } else { number + 1 };
        let is_coming = |number| self.coming.iter().any(|coming| coming.number == number && coming.blob == *blob);
        let missing =
            (number..end.min(size.div_ceil(BLOCK_BYTES))).filter(|at| !self.has(blob, *at) && !is_coming(*at));
        let bytes = |at| BLOCK_BYTES.min(size - at * BLOCK_BYTES);
        let missing: Vec<_> =
            missing.map(|number| Coming { blob: blob.clone(), number, bytes: bytes(number) }).collect();
        let reads = missing.iter().map(|block| (block.blob.clone(), block.number * BLOCK_BYTES, block.bytes));
        self.ask(&reads.collect::<Vec<_>>())?;
        self.coming.extend(missing);
        Ok(())
    }

    /// Takes the next block that is on its way.
    fn take(&mut self) -> Result<(), ReadError> {
        let Some(Coming { blob, number, bytes }) = self.coming.pop_front() else { return Ok(()) };
        let answer = self.answer()?;
        let size = answer.as_ref().map(|answer| answer.size);
        let bytes = whole(&blob, number * BLOCK_BYTES, bytes, answer)?;
        self.keep(blob, number, size, bytes);
        Ok(())
    }

    /// Takes all blocks that are on their way: what is asked for now is answered after them.
    fn settle(&mut self) -> Result<(), ReadError> {
        while !self.coming.is_empty() {
            self.take()?;
        }
        Ok(())
    }

    /// Fetches the size and the first block; of a part, also those of the parts that seem to be next.
    fn fetch_first(&mut self, blob: &Blob) -> Result<(), ReadError> {
        let wanted: Vec<Blob> = match blob {
            Blob::Part(index) => self.ahead.of(*index, self.parts).map(Blob::Part).collect(),
            other => vec![other.clone()],
        };
        let asked: Vec<_> = wanted.iter().map(|blob| (blob.clone(), 0, BLOCK_BYTES)).collect();
        self.ask(&asked)?;
        self.settle()?;
        let mut first = None;
        for blob in wanted {
            let answer = self.answer()?;
            let size = answer.as_ref().map(|answer| answer.size);
            let bytes = whole(&blob, 0, BLOCK_BYTES.min(size.unwrap_or(0)), answer)?;
            if let Blob::Part(_) = blob {
                self.ahead.part_bytes = size.unwrap_or(0);
            }
            if first.is_none() { first = Some((blob, size, bytes)) } else { self.keep(blob, 0, size, bytes) }
        }
        // The one that is wanted now is kept last, so that the others cannot push it out.
        if let Some((blob, size, bytes)) = first {
            self.keep(blob, 0, size, bytes);
        }
        Ok(())
    }

    fn pass_through(&mut self, blob: &Blob, offset: u64, end: u64) -> Result<Vec<u8>, ReadError> {
        let starts = (offset..end).step_by(PIECE_BYTES as usize);
        let pieces: Vec<_> = starts.map(|at| (blob.clone(), at, PIECE_BYTES.min(end - at))).collect();
        self.ask(&pieces)?;
        self.settle()?;
        let mut bytes = Vec::with_capacity((end - offset) as usize);
        for (blob, at, wanted) in pieces {
            let answer = self.answer()?;
            bytes.extend(whole(&blob, at, wanted, answer)?);
        }
        Ok(bytes)
    }

    fn ask(&self, reads: &[(Blob, u64, u64)]) -> Result<(), ReadError> {
        let read = |(blob, offset, length): &(Blob, u64, u64)| Reply::Read {
            blob: blob.clone(),
            offset: *offset,
            length: *length as u32,
        };
        Ok(self.link.outbox.send(&reads.iter().map(read).collect::<Vec<_>>())?)
    }

    fn answer(&self) -> Result<Option<ReadAnswer>, ReadError> {
        match &self.link.answers {
            Some(answers) => answers.recv().map_err(|_| ReadError::Ended),
            None => Ok(None),
        }
    }

    fn keep(&mut self, blob: Blob, number: u64, size: Option<u64>, bytes: Vec<u8>) {
        let added = bytes.len();
        let known = self.known.entry(blob.clone()).or_insert_with(|| Known { size, blocks: HashMap::new() });
        if let Some(replaced) = known.blocks.insert(number, bytes) {
            self.kept_bytes = self.kept_bytes + added - replaced.len();
        } else {
            self.kept_bytes += ENTRY_BYTES + added;
            self.order.push_back((blob, number));
        }
        while self.kept_bytes > KEPT_BYTES_MAX && self.order.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((blob, number)) = self.order.pop_front() else { return };
        let Some(known) = self.known.get_mut(&blob) else { return };
        let bytes = known.blocks.remove(&number).map_or(0, |bytes| bytes.len());
        self.kept_bytes -= ENTRY_BYTES + bytes;
        if known.blocks.is_empty() {
            self.known.remove(&blob);
        }
    }
}

impl Ahead {
    /// The parts to fetch when `index` is missing: twice as many as before if it is where the last ones ended.
    fn of(&mut self, index: u64, parts: u64) -> std::ops::Range<u64> {
        let most = (PARTS_AHEAD_BYTES / self.part_bytes.max(1)).clamp(1, PARTS_AHEAD_MAX);
        self.window = if index == self.next { (self.window * 2).clamp(1, most) } else { 1 };
        self.next = index.saturating_add(self.window).min(parts);
        index..self.next
    }
}

fn whole(blob: &Blob, offset: u64, wanted: u64, answer: Option<ReadAnswer>) -> Result<Vec<u8>, ReadError> {
    let bytes = answer.map_or_else(Vec::new, |answer| answer.bytes);
    if bytes.len() as u64 == wanted {
        return Ok(bytes);
    }
    Err(ReadError::Short { blob: blob.clone(), offset, wanted, got: bytes.len() })
}

#[cfg(test)]
mod tests;
