//! Memory images: what a guest's linear memory and sandbox state were at one quiet moment.
//!
//! A *base image* is the memory after the interpreter has started; a *function image* holds the
//! pages that loading one function bundle changed on top of it. Images are data: they hold no host
//! pointer and no native code, are the same on every architecture, and are named by digest. A
//! forged image can harm nothing but the sandbox that starts from it.
//!
//! # File format
//!
//! | bytes | is |
//! |---|---|
//! | 8 | `PPWIMG` and the format version as two bytes, little endian |
//! | 4 | length of the header, little endian, at most [`HEADER_BYTES_MAX`] |
//! | n | the header, CBOR with numbered fields |
//! | 32 | BLAKE3 of everything before: the image's digest |
//! | rest | the pages, 4,096 bytes each, in the order of the header's page numbers; the header holds their BLAKE3 |

use minicbor::{Decode, Encode};
use ppwasm_proto::Digest;

use crate::sys::PAGE_BYTES;

/// Version of the file format; an image of another version is not read.
pub const FORMAT_VERSION: u16 = 1;
/// Longest header that is read.
pub const HEADER_BYTES_MAX: u32 = 16 << 20;
/// A wasm32 memory ends here.
const MEMORY_BYTES_MAX: u64 = 1 << 32;
const MAGIC: &[u8; 6] = b"PPWIMG";

/// Why bytes are not an image, or not the one that was wanted.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// The first bytes are not an image's.
    #[error("not a memory image")]
    NotAnImage,
    /// Written by another version of ppwasm.
    #[error("the image has format {found}, this version reads format {FORMAT_VERSION}")]
    Version {
        /// The version in the file.
        found: u16,
    },
    /// The bytes end before the image does.
    #[error("the image is cut short: {found} bytes of at least {wanted}")]
    Truncated {
        /// Bytes that are there.
        found: u64,
        /// Bytes that the part being read needs.
        wanted: u64,
    },
    /// A digest inside the image does not match its bytes.
    #[error("the image is damaged: its digest does not match its bytes")]
    Damaged,
    /// The digests match but what they cover makes no sense.
    #[error("the image's header is invalid")]
    InvalidHeader,
    /// A function image on top of another base.
    #[error("the image belongs to base image {found}, not to {wanted}")]
    OtherBase {
        /// The base the image was made on.
        found: Digest,
        /// The base that is loaded.
        wanted: Digest,
    },
}

/// What an image is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) enum ImageKind {
    /// The started interpreter of a guest.
    #[n(0)]
    Base {
        /// The guest folder's digest.
        #[cbor(n(0), with = "digest_bytes")]
        guest: Digest,
    },
    /// A loaded function bundle.
    #[n(1)]
    Function {
        /// The base image's digest.
        #[cbor(n(0), with = "digest_bytes")]
        base: Digest,
        /// The bundle's digest.
        #[cbor(n(1), with = "digest_bytes")]
        bundle: Digest,
    },
}

/// Where requests to the guest are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RequestBuffer {
    #[n(0)]
    pub(crate) address: u32,
    #[n(1)]
    pub(crate) len: u32,
}

/// Everything about an image but its pages' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Header {
    #[n(0)]
    pub(crate) kind: ImageKind,
    /// Size of the linear memory.
    #[n(1)]
    pub(crate) memory_bytes: u64,
    /// The module's one mutable global.
    #[n(2)]
    pub(crate) stack_pointer: u32,
    #[n(3)]
    pub(crate) request_buffer: RequestBuffer,
    /// The sandbox's state (file descriptors, scratch files), in the WASI module's own encoding.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(crate) wasi: Vec<u8>,
    /// Numbers of the pages held, rising.
    #[n(5)]
    page_numbers: Vec<u32>,
    #[cbor(n(6), with = "digest_bytes")]
    pages_digest: Digest,
    /// Index of the module's function that only traps.
    #[n(7)]
    pub(crate) trap_function: u32,
}

/// A memory image, checked.
#[derive(Debug, Clone)]
pub struct Image {
    digest: Digest,
    header: Header,
    pages: Vec<u8>,
}

impl Header {
    /// Numbers of the pages held, rising.
    pub(crate) fn page_numbers(&self) -> &[u32] {
        &self.page_numbers
    }
}

impl Image {
    /// Puts an image together from `(page number, bytes)` in rising order.
    pub(crate) fn new<'a>(
        kind: ImageKind,
        memory_bytes: u64,
        stack_pointer: u32,
        request_buffer: RequestBuffer,
        trap_function: u32,
        wasi: Vec<u8>,
        pages: impl Iterator<Item = (u32, &'a [u8])>,
    ) -> Self {
        let mut page_numbers = Vec::new();
        let mut bytes = Vec::new();
        for (number, page) in pages {
            page_numbers.push(number);
            bytes.extend_from_slice(page);
        }
        let header = Header {
            kind,
            memory_bytes,
            stack_pointer,
            request_buffer,
            trap_function,
            wasi,
            page_numbers,
            pages_digest: Digest::of(&bytes),
        };
        let digest = Digest::of(&front(&header));
        Self {
            digest,
            header,
            pages: bytes,
        }
    }

    /// The image's name: the digest over its header, which covers the pages.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Size of the linear memory in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.header.memory_bytes
    }

    /// Bytes of all pages held.
    #[must_use]
    pub fn page_bytes(&self) -> &[u8] {
        &self.pages
    }

    /// Whether it is the base image of this guest.
    #[must_use]
    pub fn is_base_of(&self, guest: Digest) -> bool {
        self.header.kind == ImageKind::Base { guest }
    }

    /// Whether it is the image of this bundle on this base image.
    #[must_use]
    pub fn is_of_function(&self, base: Digest, bundle: Digest) -> bool {
        self.header.kind == ImageKind::Function { base, bundle }
    }

    /// The digest of an image of which all but the pages is there.
    ///
    /// # Errors
    ///
    /// The bytes are not the front of an image.
    pub fn digest_of_front(bytes: &[u8]) -> Result<Digest, ImageError> {
        let (_, digest, _) = read_front(bytes)?;
        Ok(digest)
    }

    /// The image but for its pages.
    #[cfg(feature = "compile")]
    pub(crate) fn front(&self) -> Vec<u8> {
        let mut out = front(&self.header);
        out.extend_from_slice(self.digest.as_bytes());
        out
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The pages held: number and bytes.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.header
            .page_numbers
            .iter()
            .copied()
            .zip(self.pages.chunks_exact(PAGE_BYTES))
    }

    /// Those of the pages that lie in `[first, first + count)`.
    pub(crate) fn pages_in(&self, first: u32, count: u32) -> impl Iterator<Item = (u32, &[u8])> {
        let start = self
            .header
            .page_numbers
            .partition_point(|&page| page < first);
        self.pages()
            .skip(start)
            .take_while(move |(page, _)| *page - first < count)
    }

    /// Refuses a function image that was made on another base.
    pub(crate) fn check_base(&self, wanted: Digest) -> Result<Digest, ImageError> {
        match self.header.kind {
            ImageKind::Function { base, bundle } if base == wanted => Ok(bundle),
            ImageKind::Function { base, .. } => Err(ImageError::OtherBase {
                found: base,
                wanted,
            }),
            ImageKind::Base { .. } => Err(ImageError::InvalidHeader),
        }
    }

    /// The image as a file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = front(&self.header);
        out.extend_from_slice(self.digest.as_bytes());
        out.extend_from_slice(&self.pages);
        out
    }

    /// Reads and checks an image: afterwards its pages lie inside its memory, in order, and every
    /// byte is covered by the digest.
    ///
    /// # Errors
    ///
    /// The bytes are not an image, of another version, cut short, or changed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        let (header, digest, rest) = read_front(bytes)?;
        let wanted = header.page_numbers.len() * PAGE_BYTES;
        let pages = rest.get(..wanted).ok_or(ImageError::Truncated {
            found: bytes.len() as u64,
            wanted: (bytes.len() - rest.len() + wanted) as u64,
        })?;
        if rest.len() != wanted || Digest::of(pages) != header.pages_digest {
            return Err(ImageError::Damaged);
        }
        Ok(Self {
            digest,
            header,
            pages: pages.to_vec(),
        })
    }

    #[cfg(test)]
    pub(crate) fn empty_for_tests(memory_bytes: u64) -> Self {
        Self::new(
            ImageKind::Base {
                guest: Digest::of(b""),
            },
            memory_bytes,
            1024,
            RequestBuffer {
                address: 2048,
                len: 64,
            },
            0,
            Vec::new(),
            std::iter::empty(),
        )
    }
}

/// Reads the header and the digest of an image whose pages may be somewhere else.
pub(crate) fn read_front(bytes: &[u8]) -> Result<(Header, Digest, &[u8]), ImageError> {
    let short = |wanted: usize| ImageError::Truncated {
        found: bytes.len() as u64,
        wanted: wanted as u64,
    };
    if bytes.get(..6).is_none_or(|magic| magic != MAGIC) {
        return Err(ImageError::NotAnImage);
    }
    let version = bytes.get(6..8).ok_or(short(8))?;
    let version = u16::from_le_bytes(version.try_into().map_err(|_| ImageError::NotAnImage)?);
    if version != FORMAT_VERSION {
        return Err(ImageError::Version { found: version });
    }
    let len = bytes.get(8..12).ok_or(short(12))?;
    let len = u32::from_le_bytes(len.try_into().map_err(|_| ImageError::NotAnImage)?);
    if len > HEADER_BYTES_MAX {
        return Err(ImageError::InvalidHeader);
    }
    let end = 12 + len as usize;
    let covered = bytes.get(..end).ok_or(short(end))?;
    let digest = bytes.get(end..end + 32).ok_or(short(end + 32))?;
    let digest = Digest::from_bytes(digest.try_into().map_err(|_| ImageError::Damaged)?);
    if Digest::of(covered) != digest {
        return Err(ImageError::Damaged);
    }
    let header = bytes.get(12..end).ok_or(short(end))?;
    let header: Header = minicbor::decode(header).map_err(|_| ImageError::InvalidHeader)?;
    check(&header)?;
    // One encoding only, so that one image has one name.
    if front(&header) != covered {
        return Err(ImageError::InvalidHeader);
    }
    Ok((header, digest, bytes.get(end + 32..).unwrap_or_default()))
}

fn check(header: &Header) -> Result<(), ImageError> {
    let buffer = header.request_buffer;
    let pages = header.memory_bytes / PAGE_BYTES as u64;
    let whole =
        header.memory_bytes.is_multiple_of(65_536) && header.memory_bytes <= MEMORY_BYTES_MAX;
    let rising = header.page_numbers.is_sorted_by(|a, b| a < b);
    let inside = header
        .page_numbers
        .last()
        .is_none_or(|&last| u64::from(last) < pages);
    let buffer_inside = u64::from(buffer.address) + u64::from(buffer.len) <= header.memory_bytes;
    if whole && rising && inside && buffer_inside {
        Ok(())
    } else {
        Err(ImageError::InvalidHeader)
    }
}

fn front(header: &Header) -> Vec<u8> {
    let body = match minicbor::to_vec(header) {
        Ok(body) => body,
        // Writing to a vector cannot fail and the header has no encoder of its own that could.
        Err(never) => unreachable!("a header encodes into memory: {never}"),
    };
    let mut out = Vec::with_capacity(body.len() + 44);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// A digest as a CBOR byte string.
mod digest_bytes {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};
    use ppwasm_proto::Digest;

    pub(super) fn encode<C, W: Write>(
        digest: &Digest,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(digest.as_bytes())?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Digest, DecodeError> {
        let bytes = d.bytes()?;
        match bytes.try_into() {
            Ok(bytes) => Ok(Digest::from_bytes(bytes)),
            Err(_) => Err(DecodeError::message("a digest has 32 bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Image {
        let page = [7u8; PAGE_BYTES];
        let other = [9u8; PAGE_BYTES];
        Image::new(
            ImageKind::Function {
                base: Digest::of(b"base"),
                bundle: Digest::of(b"bundle"),
            },
            4 * 65_536,
            1_000,
            RequestBuffer {
                address: 4_096,
                len: 4_096,
            },
            0,
            vec![1, 2, 3],
            [(3u32, &page[..]), (9, &other[..])].into_iter(),
        )
    }

    #[test]
    fn an_image_survives_its_file() {
        let image = sample();
        let read = Image::from_bytes(&image.to_bytes()).unwrap();
        assert_eq!(read.digest(), image.digest());
        assert_eq!(read.header, image.header);
        assert_eq!(
            read.pages().collect::<Vec<_>>(),
            image.pages().collect::<Vec<_>>()
        );
        assert_eq!(
            read.pages_in(4, 10)
                .map(|(page, _)| page)
                .collect::<Vec<_>>(),
            [9]
        );
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_refused() {
        let bytes = sample().to_bytes();
        for end in (0..bytes.len())
            .step_by(61)
            .chain(bytes.len() - 1..bytes.len())
        {
            assert!(Image::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in (0..bytes.len()).step_by(17) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Image::from_bytes(&changed).is_err(), "changed at {at}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Image::from_bytes(&longer).err(), Some(ImageError::Damaged));
    }

    /// A forger can put digests right; the image would have another name when it is written again.
    #[test]
    fn a_header_has_one_encoding() {
        let bytes = sample().to_bytes();
        let end = 12 + bytes[8] as usize;
        assert_eq!(
            (bytes[9], bytes[12]),
            (0, 0x88),
            "a short header, an array of 8"
        );
        let forged = |header: &[u8]| {
            let mut forged = bytes[..8].to_vec();
            forged.extend_from_slice(&u32::try_from(header.len()).unwrap().to_le_bytes());
            forged.extend_from_slice(header);
            let digest = Digest::of(&forged);
            forged.extend_from_slice(digest.as_bytes());
            forged.extend_from_slice(&bytes[end + 32..]);
            Image::from_bytes(&forged).err()
        };
        let header = &bytes[12..end];
        assert_eq!(forged(header), None);
        let longer_head = [&[0x98, 8], &header[1..]].concat();
        assert_eq!(forged(&longer_head), Some(ImageError::InvalidHeader));
        let more_behind = [header, &[0]].concat();
        assert_eq!(forged(&more_behind), Some(ImageError::InvalidHeader));
    }

    #[test]
    fn another_version_and_another_base_say_so() {
        let image = sample();
        let mut bytes = image.to_bytes();
        bytes[6] = 2;
        assert_eq!(
            Image::from_bytes(&bytes).err(),
            Some(ImageError::Version { found: 2 })
        );
        assert_eq!(
            image.check_base(Digest::of(b"base")),
            Ok(Digest::of(b"bundle"))
        );
        assert_eq!(
            image.check_base(Digest::of(b"other")),
            Err(ImageError::OtherBase {
                found: Digest::of(b"base"),
                wanted: Digest::of(b"other")
            })
        );
    }

    #[test]
    fn a_header_that_lies_about_its_pages_is_refused() {
        let mut image = sample();
        image.header.page_numbers = vec![9, 3];
        image.digest = Digest::of(&front(&image.header));
        assert_eq!(
            Image::from_bytes(&image.to_bytes()).err(),
            Some(ImageError::InvalidHeader)
        );
        image.header.page_numbers = vec![3, 64];
        image.digest = Digest::of(&front(&image.header));
        assert_eq!(
            Image::from_bytes(&image.to_bytes()).err(),
            Some(ImageError::InvalidHeader)
        );
    }
}
