//! The value of an entry whose bytes are in chunks, in another table.

/// Where the bytes are: rows `stream * 2**32 + number`, of `chunk_size` bytes each but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunked {
    pub stream: u32,
    /// Of the whole value, in bytes: more than one chunk.
    pub length: u64,
    pub chunk_size: u32,
}

impl Chunked {
    /// What `payload` says, if a writer of ours can have written it.
    #[must_use]
    pub fn read(payload: &[u8; 16]) -> Option<Self> {
        let (stream, rest) = payload.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (chunk_size, _) = rest.split_first_chunk()?;
        let stream = u32::from_le_bytes(*stream);
        let length = u64::from_le_bytes(*length);
        let chunk_size = u32::from_le_bytes(*chunk_size);
        let size = u64::from(chunk_size);
        // Rows have numbers of 64 bits with a sign; 32 of them are the chunk's.
        let is_possible = stream >> 31 == 0 && size > 0 && length > size && length.div_ceil(size) <= 1 << 32;
        is_possible.then_some(Self { stream, length, chunk_size })
    }
}

#[cfg(test)]
mod tests {
    use super::Chunked;

    fn payload(stream: u32, length: u64, chunk_size: u32) -> [u8; 16] {
        let mut payload = [0; 16];
        payload[..4].copy_from_slice(&stream.to_le_bytes());
        payload[4..12].copy_from_slice(&length.to_le_bytes());
        payload[12..].copy_from_slice(&chunk_size.to_le_bytes());
        payload
    }

    #[test]
    fn what_can_have_been_written_is_read() {
        for (stream, length, chunk_size) in
            [(0, 2, 1), (7, 11, 10), ((1 << 31) - 1, 1 << 32, 1), (1, (1 << 40) + 1, 1 << 18)]
        {
            let read = Chunked::read(&payload(stream, length, chunk_size));
            assert_eq!(read, Some(Chunked { stream, length, chunk_size }));
        }
    }

    #[test]
    fn a_value_that_would_fit_one_chunk_or_has_too_many_is_none() {
        for (stream, length, chunk_size) in
            [(1 << 31, 2, 1), (0, 2, 0), (0, 0, 0), (0, 10, 10), (0, (1 << 32) + 1, 1), (0, u64::MAX, 2)]
        {
            assert_eq!(Chunked::read(&payload(stream, length, chunk_size)), None);
        }
    }
}
