//! The library's archive.

use super::*;
use crate::wasi::LibraryError;

fn parse(archive: Vec<u8>) -> Result<Library, LibraryError> {
    Library::from_tar(archive.into())
}

#[test]
fn files_are_read_from_the_archive() {
    let mut guest = Guest::plain();
    assert_eq!(
        guest.contents("lib/python3.13/os.py"),
        Ok(b"import abc\n".to_vec())
    );
    assert_eq!(
        guest.contents("lib/python3.13/encodings/utf_8.py"),
        Ok(b"utf".to_vec())
    );
    assert_eq!(guest.names("lib/python3.13"), ["encodings", "os.py"]);
    assert_eq!(
        guest.names("lib/python3.13/encodings"),
        ["__init__.py", "utf_8.py"]
    );
    assert_eq!(guest.stat("lib/python3.13/none.py"), Err(Errno::NOENT));
    assert_eq!(guest.stat("lib/python3.13/os.py/x"), Err(Errno::NOTDIR));
    let fd = guest.open_to_read("lib/python3.13/os.py").expect("a file");
    assert_eq!(guest.seek(fd, 7, 0), Ok(7));
    assert_eq!(guest.read(fd, 100), Ok(b"abc\n".to_vec()));
    assert_eq!(guest.seek(fd, 0, 2), Ok(11));
}

#[test]
fn an_archive_may_leave_directories_out_and_use_long_names() {
    let long = format!("{}/{}/file.py", "d".repeat(90), "e".repeat(90));
    let archive = tar(&[
        ("./z/y/x.py", Some(b"x")),
        (&long, Some(b"long")),
        ("empty.py", Some(b"")),
    ]);
    let library = Arc::new(parse(archive).expect("a library"));
    assert_eq!(library.len(), 8);
    let wasi = Wasi::new(library, JobIo::default());
    let mut guest = Guest {
        wasi,
        memory: vec![0; MEMORY_BYTES],
    };
    assert_eq!(guest.contents("lib/python3.13/z/y/x.py"), Ok(b"x".to_vec()));
    assert_eq!(
        guest.contents(&format!("lib/python3.13/{long}")),
        Ok(b"long".to_vec())
    );
    assert_eq!(guest.contents("lib/python3.13/empty.py"), Ok(vec![]));
    assert_eq!(guest.names("lib/python3.13/z/y"), ["x.py"]);
}

#[test]
fn an_empty_archive_is_an_empty_library() {
    for library in [parse(vec![]), parse(vec![0; 1024]), Ok(Library::empty())] {
        let library = library.expect("a library");
        assert!(library.is_empty());
        let wasi = Wasi::new(Arc::new(library), JobIo::default());
        let mut guest = Guest {
            wasi,
            memory: vec![0; MEMORY_BYTES],
        };
        assert_eq!(guest.names("lib/python3.13"), [""; 0]);
    }
}

#[test]
fn directories_may_come_twice_but_files_not() {
    let twice = tar(&[("d", None), ("d/", None), ("d/f", Some(b"1")), ("d", None)]);
    assert_eq!(parse(twice).map(|library| library.len()), Ok(3));
    for entries in [
        [("f", Some(&b""[..])), ("f", Some(&b""[..]))],
        [("f", Some(b"")), ("f", None)],
        [("f", Some(b"")), ("f/g", Some(b""))],
        [("f", None), ("f", Some(b""))],
    ] {
        assert_eq!(
            parse(tar(&entries)).err(),
            Some(LibraryError::Duplicate { at: 512 })
        );
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let deep = "d/".repeat(65);
    for name in ["/etc/passwd", "../x", "d/../../x", "d/..", deep.as_str()] {
        let archive = tar(&[(name, Some(b""))]);
        assert_eq!(
            parse(archive).err(),
            Some(LibraryError::BadName { at: 0 }),
            "{name}"
        );
    }
    for name in ["", ".", "./"] {
        let archive = tar(&[(name, Some(b""))]);
        assert_eq!(
            parse(archive).err(),
            Some(LibraryError::Duplicate { at: 0 }),
            "{name}"
        );
        assert!(parse(tar(&[(name, None)])).is_ok());
    }
    let mut header = tar_header("x", b'0', 0);
    header[0] = 0xff;
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(
        parse(header.to_vec()).err(),
        Some(LibraryError::BadName { at: 0 })
    );
}

#[test]
fn only_files_and_directories_are_taken() {
    for kind in [b'1', b'2', b'3', b'6', b'x', b'g', b'L'] {
        let archive = tar_header("x", kind, 0).to_vec();
        assert_eq!(
            parse(archive).err(),
            Some(LibraryError::UnsupportedEntry { at: 0 })
        );
    }
    assert!(parse(tar_header("x", 0, 0).to_vec()).is_ok());
}

#[test]
fn every_cut_and_every_changed_header_byte_is_noticed() {
    let whole = tar(&[("d/f", Some(&[b'x'; 600])), ("g", Some(b"y"))]);
    for len in (1..2 * 512 + 600).filter(|len| len % 512 != 0 || *len > 512) {
        let cut = parse(whole[..len].to_vec());
        let second = len >= 512 + 600;
        assert!(second || cut.is_err(), "{len}: {cut:?}");
    }
    for at in 0..512 {
        let mut changed = whole.clone();
        changed[at] ^= 0x15;
        assert!(parse(changed).is_err(), "{at}");
    }
    let huge = {
        let mut header = tar_header("x", b'0', 0);
        header[124..136].copy_from_slice(b"77777777777\0");
        header
    };
    assert!(parse(huge.to_vec()).is_err());
}
