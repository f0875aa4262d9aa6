//! Frames: blocks as they are stored, with what guards and shrinks them.
//!
//! ```text
//! [crc32c u32 of what follows] | block, or one zstd frame of it
//! ```
//!
//! Whether there is a checksum, and whether there is compression, is said elsewhere. The checksum is Castagnoli's,
//! little-endian; the zstd frame says how large its content is. Frames come from files that anyone may have written,
//! so the caller says how large a block may be, and nothing larger is allocated.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;

use crc32c::crc32c;
use zstd_safe::{CCtx, DCtx};

use crate::block::Corrupt;

/// Levels of compression.
pub const LEVELS: RangeInclusive<i32> = 1..=22;

const CHECKSUM_SIZE: usize = size_of::<u32>();

/// How a zstd frame begins (RFC 8878).
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The memory of contexts that worked on more than this is not kept for the next block.
const KEPT_UP_TO: usize = 64 * 1024;

thread_local! {
    static COMPRESSION: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSION: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Why a block could not be compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionError(&'static str);

impl fmt::Display for CompressionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "zstd: {}", self.0)
    }
}

impl std::error::Error for CompressionError {}

/// The frame of a block, compressed at `level` if there is one.
pub fn frame(block: &[u8], level: Option<i32>, checksum: bool) -> Result<Cow<'_, [u8]>, CompressionError> {
    let head = if checksum { CHECKSUM_SIZE } else { 0 };
    let mut stored = match level {
        None if !checksum => return Ok(Cow::Borrowed(block)),
        None => {
            let mut stored = Vec::with_capacity(head + block.len());
            stored.resize(head, 0);
            stored.extend_from_slice(block);
            stored
        }
        Some(level) => {
            let mut stored = vec![0; head + zstd_safe::compress_bound(block.len())];
            let room = stored.get_mut(head..).unwrap_or_default();
            let size = compress(block, room, level).map_err(CompressionError)?;
            stored.truncate(head + size);
            stored
        }
    };
    if let Some((place, body)) = stored.split_first_chunk_mut().filter(|_| checksum) {
        *place = crc32c(body).to_le_bytes();
    }
    Ok(Cow::Owned(stored))
}

fn compress(block: &[u8], room: &mut [u8], level: i32) -> Result<usize, &'static str> {
    let kept = COMPRESSION.with(|kept| kept.borrow_mut().take());
    let mut context = kept.or_else(CCtx::try_create).ok_or("out of memory")?;
    let size = context.compress(room, block, level).map_err(zstd_safe::get_error_name)?;
    if block.len() <= KEPT_UP_TO {
        COMPRESSION.with(|kept| *kept.borrow_mut() = Some(context));
    }
    Ok(size)
}

/// A block in its frame, whose checksum was right.
#[derive(Clone, Copy, Debug)]
pub struct Framed<'a> {
    body: &'a [u8],
    size: usize,
    compressed: bool,
}

impl<'a> Framed<'a> {
    /// Finds a block of at most `most_bytes`.
    pub fn new(
        stored: &'a [u8],
        most_bytes: usize,
        compressed: bool,
        checksummed: bool,
    ) -> Result<Self, Corrupt> {
        let body = if checksummed { checked(stored)? } else { stored };
        let size = if compressed { content_size(body)? } else { body.len() as u64 };
        match usize::try_from(size) {
            Ok(size) if size <= most_bytes => Ok(Self { body, size, compressed }),
            _ => Err(Corrupt(format!("a block of {size} bytes; expected at most {most_bytes}"))),
        }
    }

    /// Bytes of the block.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The block, if it is stored as it is.
    #[must_use]
    pub fn plain(&self) -> Option<&'a [u8]> {
        (!self.compressed).then_some(self.body)
    }

    /// Writes the block to `block`, which has its [size](Self::size).
    pub fn write_to(&self, block: &mut [u8]) -> Result<(), Corrupt> {
        if block.len() != self.size {
            return Err(Corrupt(format!("{} bytes for a block of {}", block.len(), self.size)));
        }
        if !self.compressed {
            block.copy_from_slice(self.body);
            return Ok(());
        }
        match decompress(self.body, block) {
            Ok(size) if size == self.size => Ok(()),
            Ok(size) => {
                Err(Corrupt(format!("the zstd frame has {size} bytes; it says that it has {}", self.size)))
            }
            Err(problem) => Err(Corrupt(format!("zstd: {problem}"))),
        }
    }
}

/// The crc32c (Castagnoli) of bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c(bytes)
}

fn checked(stored: &[u8]) -> Result<&[u8], Corrupt> {
    let Some((expected, body)) = stored.split_first_chunk::<CHECKSUM_SIZE>() else {
        return Err(Corrupt(format!("{} bytes cannot hold a checksum", stored.len())));
    };
    let (expected, found) = (u32::from_le_bytes(*expected), crc32c(body));
    if expected == found {
        Ok(body)
    } else {
        Err(Corrupt(format!("the checksum is {expected:#010x}; that of the bytes is {found:#010x}")))
    }
}

/// What a zstd frame says, which must be all there is.
fn content_size(body: &[u8]) -> Result<u64, Corrupt> {
    if !body.starts_with(&MAGIC) {
        return Err(Corrupt("not a zstd frame".to_owned()));
    }
    let frame = zstd_safe::find_frame_compressed_size(body)
        .map_err(|code| Corrupt(format!("zstd: {}", zstd_safe::get_error_name(code))))?;
    if frame != body.len() {
        return Err(Corrupt(format!("{} bytes follow the zstd frame", body.len().saturating_sub(frame))));
    }
    match zstd_safe::get_frame_content_size(body) {
        Ok(Some(size)) => Ok(size),
        Ok(None) => Err(Corrupt("the zstd frame does not say how large its content is".to_owned())),
        Err(_) => Err(Corrupt("the header of the zstd frame is damaged".to_owned())),
    }
}

fn decompress(body: &[u8], block: &mut [u8]) -> Result<usize, &'static str> {
    let kept = DECOMPRESSION.with(|kept| kept.borrow_mut().take());
    let mut context = kept.or_else(DCtx::try_create).ok_or("out of memory")?;
    let size = context.decompress(block, body).map_err(zstd_safe::get_error_name)?;
    DECOMPRESSION.with(|kept| *kept.borrow_mut() = Some(context));
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unframe(stored: &[u8], most: usize, compressed: bool, checksummed: bool) -> Result<Vec<u8>, String> {
        let framed = Framed::new(stored, most, compressed, checksummed).map_err(|error| error.to_string())?;
        assert!(framed.size() <= most);
        let mut block = vec![0xAA; framed.size()];
        framed.write_to(&mut block).map_err(|error| error.to_string())?;
        Ok(block)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            part in proptest::collection::vec(any::<u8>(), 0..300), times in 1_usize..400,
            level in proptest::option::of(1..6), checksum in any::<bool>(),
        ) {
            let block = part.repeat(times);
            let stored = frame(&block, level, checksum).unwrap();
            prop_assert_eq!(&unframe(&stored, block.len(), level.is_some(), checksum), &Ok(block.clone()));
            if let Some(less) = block.len().checked_sub(1) {
                let error = unframe(&stored, less, level.is_some(), checksum).unwrap_err();
                prop_assert_eq!(error, format!("corrupt block: a block of {} bytes; expected at most {less}", less + 1));
            }
        }

        #[test]
        fn a_checksum_finds_every_changed_byte(
            block in proptest::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8,
            level in proptest::option::of(Just(3)),
        ) {
            let mut stored = frame(&block, level, true).unwrap().into_owned();
            let at = at.index(stored.len());
            stored[at] ^= 1_u8 << bit;
            prop_assert!(unframe(&stored, 1000, level.is_some(), true).unwrap_err().contains("the checksum is 0x"));
        }

        #[test]
        fn damaged_frames_are_harmless(
            block in proptest::collection::vec(0_u8..3, 0..300), at in any::<prop::sample::Index>(), byte in any::<u8>(),
            rest in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let stored = frame(&block, Some(3), false).unwrap();
            for length in 0..stored.len() {
                prop_assert!(unframe(&stored[..length], 1000, true, false).is_err());
            }
            let mut bad = stored.to_vec();
            bad[at.index(stored.len())] = byte;
            let _ = unframe(&bad, 1000, true, false);
            if !rest.is_empty() {
                prop_assert!(unframe(&[&stored, rest.as_slice()].concat(), 1000, true, false).is_err());
            }
        }
    }

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        let stored = frame(&[0; 32], None, true).unwrap();
        assert_eq!(stored.split_at(4), (0x8A91_36AA_u32.to_le_bytes().as_slice(), [0; 32].as_slice()));
        let error = unframe(&[&[1, 0, 0, 0_u8][..], &[0; 32]].concat(), 99, false, true).unwrap_err();
        assert_eq!(error, "corrupt block: the checksum is 0x00000001; that of the bytes is 0x8a9136aa");
        assert_eq!(
            unframe(&[1, 2], 99, false, true),
            Err("corrupt block: 2 bytes cannot hold a checksum".to_owned())
        );
    }

    #[test]
    fn bombs_do_not_go_off() {
        let bomb = frame(&vec![0; 1 << 26], Some(19), false).unwrap().into_owned();
        assert!(bomb.len() < 1 << 14);
        let error = unframe(&bomb, 1 << 20, true, false).unwrap_err();
        assert_eq!(error, "corrupt block: a block of 67108864 bytes; expected at most 1048576");
    }

    #[test]
    fn every_level_works() {
        let block: Vec<u8> = (0..20_000_u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        for level in LEVELS {
            let stored = frame(&block, Some(level), true).unwrap();
            assert!(stored.len() < block.len());
            assert_eq!(unframe(&stored, block.len(), true, true), Ok(block.clone()));
        }
    }

    #[test]
    fn what_is_no_frame_says_so() {
        assert_eq!(unframe(b"", 9, true, false), Err("corrupt block: not a zstd frame".to_owned()));
        assert_eq!(unframe(b"abcdefgh", 9, true, false), Err("corrupt block: not a zstd frame".to_owned()));
        // A skippable frame.
        assert!(unframe(&[0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0], 9, true, false).is_err());
    }
}
