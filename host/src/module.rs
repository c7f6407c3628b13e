//! Reading and rewriting the guest module at the level of sections: its data segments are replaced
//! by a base image, so that every instance starts from the image.
//!
//! Only the sections that this needs are understood; the code is copied as it is. What the module
//! may not contain for an image to be complete is proved when it is built (`guest-python/`) and
//! the parts that can be seen here cheaply are checked again.

use crate::image::Image;
use crate::sys::PAGE_BYTES;

/// What is wrong with a module that was to carry an image.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleError {
    /// The header or a section's length does not fit.
    #[error("the guest module is not WebAssembly or is cut short at byte {offset}")]
    Malformed {
        /// Where reading stopped.
        offset: usize,
    },
    /// An image can stand in for active segments only.
    #[error("the guest module has a passive data segment or a start function")]
    NotSnapshottable,
    /// An image is for one memory.
    #[error("the guest module does not define exactly one memory")]
    Memories,
}

const SECTION_MEMORY: u8 = 5;
const SECTION_EXPORT: u8 = 7;
const SECTION_START: u8 = 8;
const SECTION_DATA: u8 = 11;
const SECTION_DATA_COUNT: u8 = 12;
const SECTION_CUSTOM: u8 = 0;
const HEADER: &[u8; 8] = b"\0asm\x01\0\0\0";
const WASM_PAGE_BYTES: u64 = 65_536;
/// A gap of zeros of at least this many bytes ends a data segment. Larger than a page, so that the
/// number of segments stays far below the 100,000 that engines accept.
const SEGMENT_GAP_PAGES: usize = 4;

/// The module with its memory's initial contents replaced by `image`.
///
/// # Errors
///
/// The module is malformed, or is not one that an image can stand for.
pub(crate) fn with_image(module: &[u8], image: &Image) -> Result<Vec<u8>, ModuleError> {
    let mut out = Vec::with_capacity(module.len() + image.page_bytes().len());
    out.extend_from_slice(HEADER);
    let mut data_written = false;
    for section in sections(module)? {
        let (id, body, whole) = section?;
        match id {
            SECTION_START => return Err(ModuleError::NotSnapshottable),
            SECTION_DATA_COUNT | SECTION_CUSTOM => {}
            SECTION_MEMORY => {
                let minimum = image.memory_bytes() / WASM_PAGE_BYTES;
                push_section(&mut out, SECTION_MEMORY, &memory_section(body, minimum)?);
            }
            SECTION_DATA => {
                check_active(body)?;
                push_section(&mut out, SECTION_DATA, &data_section(image));
                data_written = true;
            }
            _ => out.extend_from_slice(whole),
        }
    }
    if !data_written {
        push_section(&mut out, SECTION_DATA, &data_section(image));
    }
    Ok(out)
}

/// The index of the function that the module exports under `name`.
pub(crate) fn exported_function(module: &[u8], name: &str) -> Option<u32> {
    let exports = sections(module).ok()?.find_map(|section| match section {
        Ok((SECTION_EXPORT, body, _)) => Some(body),
        _ => None,
    })?;
    let mut at = 0;
    for _ in 0..read_u32(exports, &mut at)? {
        let len = read_u32(exports, &mut at)? as usize;
        let found = exports.get(at..at.checked_add(len)?)?;
        at += len;
        let kind = *exports.get(at)?;
        at += 1;
        let index = read_u32(exports, &mut at)?;
        if kind == 0 && found == name.as_bytes() {
            return Some(index);
        }
    }
    None
}

type Section<'a> = (u8, &'a [u8], &'a [u8]);

fn sections(
    module: &[u8],
) -> Result<impl Iterator<Item = Result<Section<'_>, ModuleError>>, ModuleError> {
    if module.get(..8) != Some(HEADER) {
        return Err(ModuleError::Malformed { offset: 0 });
    }
    let mut at = 8;
    Ok(std::iter::from_fn(move || {
        let start = at;
        let id = *module.get(at)?;
        at += 1;
        let malformed = Some(Err(ModuleError::Malformed { offset: start }));
        let Some(len) = read_u32(module, &mut at) else {
            at = module.len();
            return malformed;
        };
        let end = at + len as usize;
        let (Some(body), Some(whole)) = (module.get(at..end), module.get(start..end)) else {
            at = module.len();
            return malformed;
        };
        at = end;
        Some(Ok((id, body, whole)))
    }))
}

fn memory_section(body: &[u8], minimum: u64) -> Result<Vec<u8>, ModuleError> {
    let mut at = 0;
    if read_u32(body, &mut at) != Some(1) {
        return Err(ModuleError::Memories);
    }
    let flags = read_u32(body, &mut at).ok_or(ModuleError::Memories)?;
    let _old_minimum = read_u32(body, &mut at).ok_or(ModuleError::Memories)?;
    let maximum = if flags & 1 == 1 {
        read_u32(body, &mut at)
    } else {
        None
    };
    if flags > 1 || at != body.len() {
        return Err(ModuleError::Memories);
    }
    let mut out = vec![1];
    push_u32(&mut out, flags);
    push_u32(
        &mut out,
        u32::try_from(minimum).map_err(|_| ModuleError::Memories)?,
    );
    if let Some(maximum) = maximum {
        push_u32(&mut out, maximum);
    }
    Ok(out)
}

/// Every segment has to be active: then nothing of the section is needed once memory is initialised.
fn check_active(body: &[u8]) -> Result<(), ModuleError> {
    let mut at = 0;
    let malformed = ModuleError::NotSnapshottable;
    let count = read_u32(body, &mut at).ok_or(malformed)?;
    for _ in 0..count {
        // 0: memory 0, an offset expression. Here always `i32.const n; end`.
        if read_u32(body, &mut at) != Some(0) || body.get(at) != Some(&0x41) {
            return Err(malformed);
        }
        at += 1;
        read_u32(body, &mut at).ok_or(malformed)?;
        if body.get(at) != Some(&0x0b) {
            return Err(malformed);
        }
        at += 1;
        let len = read_u32(body, &mut at).ok_or(malformed)? as usize;
        at += len;
        if at > body.len() {
            return Err(malformed);
        }
    }
    Ok(())
}

fn data_section(image: &Image) -> Vec<u8> {
    let segments = segments(image);
    let mut out = Vec::with_capacity(image.page_bytes().len() + segments.len() * 16);
    push_u32(&mut out, u32::try_from(segments.len()).unwrap_or(u32::MAX));
    for (first_page, pages) in segments {
        out.push(0);
        out.push(0x41);
        push_i32(
            &mut out,
            (u64::from(first_page) * PAGE_BYTES as u64) as u32 as i32,
        );
        out.push(0x0b);
        let len = pages as usize * PAGE_BYTES;
        push_u32(&mut out, u32::try_from(len).unwrap_or(u32::MAX));
        let start = out.len();
        out.resize(start + len, 0);
        for (page, bytes) in image.pages_in(first_page, pages) {
            let at = start + (page - first_page) as usize * PAGE_BYTES;
            if let Some(target) = out.get_mut(at..at + PAGE_BYTES) {
                target.copy_from_slice(bytes);
            }
        }
    }
    out
}

/// The image's pages joined to segments: (first page, page count).
fn segments(image: &Image) -> Vec<(u32, u32)> {
    let mut segments: Vec<(u32, u32)> = Vec::new();
    for (page, _) in image.pages() {
        match segments.last_mut() {
            Some((first, count)) if (page - *first - *count) as usize <= SEGMENT_GAP_PAGES => {
                *count = page - *first + 1;
            }
            _ => segments.push((page, 1)),
        }
    }
    segments
}

fn push_section(out: &mut Vec<u8>, id: u8, body: &[u8]) {
    out.push(id);
    push_u32(out, u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(body);
}

fn read_u32(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // A signed constant may carry its sign in bits beyond the 32nd.
            return Some(value as u32);
        }
    }
    None
}

fn push_u32(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn push_i32(out: &mut Vec<u8>, mut value: i32) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        let done = (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0);
        if done {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leb128_round_trips_at_the_edges() {
        for value in [0u32, 1, 63, 64, 127, 128, 16_383, 16_384, u32::MAX] {
            let mut out = Vec::new();
            push_u32(&mut out, value);
            let mut at = 0;
            assert_eq!(read_u32(&out, &mut at), Some(value));
            assert_eq!(at, out.len());
        }
        for (value, bytes) in [
            (0, vec![0x00]),
            (-1, vec![0x7f]),
            (63, vec![0x3f]),
            (64, vec![0xc0, 0]),
        ] {
            let mut out = Vec::new();
            push_i32(&mut out, value);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn a_module_cut_anywhere_is_an_error_or_shorter_never_a_panic() {
        let module = b"\0asm\x01\0\0\0\x05\x04\x01\x01\x01\x02\x0b\x06\x01\0\x41\0\x0b\0";
        let image = Image::empty_for_tests(WASM_PAGE_BYTES);
        assert!(with_image(module, &image).is_ok());
        for end in 0..module.len() {
            let _ = with_image(&module[..end], &image);
        }
        assert_eq!(
            with_image(b"", &image),
            Err(ModuleError::Malformed { offset: 0 })
        );
    }

    #[test]
    fn exports_are_found_by_name() {
        let module = b"\0asm\x01\0\0\0\x07\x0c\x02\x01a\x02\x00\x03abc\x00\x85\x01";
        assert_eq!(exported_function(module, "abc"), Some(133));
        assert_eq!(exported_function(module, "a"), None);
        for end in 0..module.len() {
            assert_eq!(exported_function(&module[..end], "abc"), None);
        }
    }

    #[test]
    fn passive_segments_and_start_functions_are_refused() {
        let image = Image::empty_for_tests(WASM_PAGE_BYTES);
        let passive = b"\0asm\x01\0\0\0\x0b\x03\x01\x01\0";
        assert_eq!(
            with_image(passive, &image),
            Err(ModuleError::NotSnapshottable)
        );
        let start = b"\0asm\x01\0\0\0\x08\x01\0";
        assert_eq!(
            with_image(start, &image),
            Err(ModuleError::NotSnapshottable)
        );
    }
}
