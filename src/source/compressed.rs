//! Compressed inputs: recognised by their first bytes, decompressed as they are read.
//!
//! Constant memory: gzip needs 32 KiB, zstd what its window takes, which is bounded by [`MAX_WINDOW`]. What a file
//! that is cut short still holds is given before its end is reported.

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufReader, Read};

/// The most that a zstd frame may ask the reader to remember: what `zstd --ultra -22` takes, and 16 times what its
/// default level does.
const MAX_WINDOW: u64 = 128 << 20;

/// Compressed bytes asked of the input at once.
const CHUNK: usize = 128 << 10;

/// Bytes by which [`Compression::of`] can tell.
pub(super) const MAGIC: usize = 6;

/// How an input is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// RFC 1952, several members included.
    Gzip,
    /// RFC 8878, several frames and skippable ones included.
    Zstd,
    /// Known, and not read: its name.
    Other(&'static str),
}

impl Compression {
    /// By the first [`MAGIC`] bytes; absent where they tell of none.
    pub(super) fn of(head: &[u8]) -> Option<Compression> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Compression::Gzip),
            // A skippable frame may come first: tools that compress in parallel write one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Compression::Other("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Other("xz")),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Compression::Other("lz4")),
            _ => None,
        }
    }

    /// What decompresses `reader`; absent for the formats that are not read.
    pub(super) fn decoder<R: Read + Send + 'static>(self, reader: R) -> Option<Box<dyn Read + Send>> {
        let reader = BufReader::with_capacity(CHUNK, reader);
        match self {
            Compression::Gzip => Some(Box::new(MultiGzDecoder::new(reader))),
            Compression::Zstd => Some(Box::new(Zstd::new(reader))),
            Compression::Other(_) => None,
        }
    }
}

/// Decompresses a sequence of zstd frames, block by block.
struct Zstd<R> {
    reader: R,
    decoder: FrameDecoder,
    /// Within a frame.
    inside: bool,
    /// The block that is decoded next, with its header.
    block: Vec<u8>,
    /// The input ended within a frame, or is damaged: to be told once all that was decoded is given.
    failure: Option<io::Error>,
}

impl<R: Read> Zstd<R> {
    fn new(reader: R) -> Zstd<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Zstd { reader, decoder, inside: false, block: Vec::new(), failure: None }
    }

    /// Begins the next frame. False where the input ends, as it should, between two.
    fn frame(&mut self) -> io::Result<bool> {
        let mut first = [0];
        if self.reader.read(&mut first)? == 0 {
            return Ok(false);
        }
        match self.decoder.reset((&first[..]).chain(&mut self.reader)) {
            Ok(()) => self.inside = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let skipped = io::copy(&mut (&mut self.reader).take(length.into()), &mut io::sink())?;
                if skipped < length.into() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(FrameDecoderError::WindowSizeTooBig { requested, .. }) => {
                let reason = format!("asks for a window of {requested} bytes, more than {MAX_WINDOW}");
                return Err(io::Error::other(reason));
            }
            Err(error) => return Err(io_error(error)),
        }
        Ok(true)
    }

    /// Decodes one block. Where that fails, the frame is closed by an empty last block: only then the decoder gives
    /// what it keeps to look back at.
    fn decode(&mut self) -> io::Result<()> {
        let decoded = self.read_block().and_then(|()| {
            // The checksum behind a last block is read by the decoder.
            let source = self.block.chain(&mut self.reader);
            self.decoder.decode_blocks(source, BlockDecodingStrategy::UptoBlocks(1)).map_err(io_error)
        });
        if decoded.is_err() {
            let _closed = self.decoder.decode_blocks(CLOSING, BlockDecodingStrategy::UptoBlocks(1));
        }
        self.inside = decoded.is_ok() && !self.decoder.is_finished();
        decoded.map(drop)
    }

    /// Reads one block with its header (RFC 8878, section 3.1.1.2).
    fn read_block(&mut self) -> io::Result<()> {
        self.block.resize(3, 0);
        self.reader.read_exact(&mut self.block)?;
        let header = u32::from_le_bytes([self.block[0], self.block[1], self.block[2], 0]);
        // A block of one repeated byte (type 1) holds just that one.
        let content = if header >> 1 & 3 == 1 { 1 } else { header as usize >> 3 };
        self.block.resize(3 + content, 0);
        self.reader.read_exact(&mut self.block[3..])
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(into);
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            let step = if self.inside { self.decode().map(|()| true) } else { self.frame() };
            match step {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(failure) => self.failure = Some(failure),
            }
        }
    }
}

/// An empty raw block that is the last one, and a checksum for frames that have one.
const CLOSING: &[u8] = &[1, 0, 0, 0, 0, 0, 0];

/// The end of the input stays recognisable as such.
fn io_error(error: FrameDecoderError) -> io::Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::UnexpectedEof) {
            return io::ErrorKind::UnexpectedEof.into();
        }
        source = cause.source();
    }
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// What a program of the system makes of `bytes`.
    fn compress(program: &str, options: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let output = std::process::Command::new(program).args(options).arg("-c").stdin(file).output();
        let output = output.unwrap_or_else(|error| panic!("{program} has to be installed: {error}"));
        assert!(output.status.success());
        output.stdout
    }

    /// Everything that can be read, and how it ends.
    fn read(bytes: &[u8]) -> (Vec<u8>, Option<io::ErrorKind>) {
        let mut decoder = Compression::of(bytes).unwrap().decoder(io::Cursor::new(bytes.to_vec())).unwrap();
        let (mut seen, mut piece) = (Vec::new(), [0; 1000]);
        loop {
            match decoder.read(&mut piece) {
                Ok(0) => return (seen, None),
                Ok(count) => seen.extend_from_slice(&piece[..count]),
                Err(error) => return (seen, Some(error.kind())),
            }
        }
    }

    /// Compressible, and without a pattern that a decoder could get right by chance.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"GET /index.html HTTP/1.1"[(state >> 16) as usize % 24]
        };
        (0..length).map(|_| next()).collect()
    }

    const PROGRAMS: [(&str, &[&str]); 4] =
        [("gzip", &["-1"]), ("zstd", &["-q"]), ("zstd", &["-q", "--no-check"]), ("zstd", &["-q", "-19"])];

    #[test]
    fn several_streams_in_a_row_are_one_input() {
        let (one, other) = (sample(300_000), b"end".to_vec());
        for (program, options) in PROGRAMS {
            let both = [compress(program, options, &one), compress(program, options, &other)].concat();
            assert!(read(&both) == ([&one[..], &other].concat(), None), "{program} {options:?}");
        }
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let zstd = compress("zstd", &["-q"], &one);
        assert!(read(&[&skippable[..], &zstd, &skippable].concat()) == (one, None));
    }

    #[test]
    fn an_input_cut_short_gives_what_it_holds() {
        let whole = sample(3_000_000);
        for (program, options) in PROGRAMS {
            let compressed = compress(program, options, &whole);
            for left in [1, 3, 4, 5, 1000, compressed.len() / 3, compressed.len() / 2] {
                let (seen, failure) = read(&compressed[..compressed.len() - left]);
                let case = format!("{program} {options:?} without {left}");
                assert_eq!(failure, Some(io::ErrorKind::UnexpectedEof), "{case}");
                assert!(whole.starts_with(&seen), "{case}");
                // What lacks is at most what was cut off and one block, of 128 KiB in zstd.
                let share = whole.len() as u64 * left as u64 / compressed.len() as u64;
                let lacking = (whole.len() - seen.len()) as u64;
                assert!(lacking <= share * 11 / 10 + (128 << 10), "{case}: {lacking} bytes lack");
            }
        }
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let whole = sample(200_000);
        for (program, options) in PROGRAMS {
            let compressed = compress(program, options, &whole);
            let step = compressed.len() / 400;
            for at in (10..compressed.len()).step_by(step) {
                let mut damaged = compressed.clone();
                damaged[at] ^= 0x55;
                let (seen, failure) = read(&damaged);
                assert!(seen.len() <= 4 * whole.len() && (failure.is_some() || program == "zstd"), "{at}");
            }
        }
    }

    #[test]
    fn a_window_beyond_the_bound_is_refused() {
        // Frame header: no content size, no checksum, a window of 2^30 bytes.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 20 << 3, 1, 0, 0];
        let mut decoder = Zstd::new(&frame[..]);
        let error = decoder.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.to_string(), "asks for a window of 1073741824 bytes, more than 134217728");
    }
}
