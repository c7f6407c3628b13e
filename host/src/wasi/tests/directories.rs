//! Making, removing and listing directories.

use super::*;

#[test]
fn directories_are_made_and_removed() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.mkdir("work/d"), Err(Errno::EXIST));
    assert_eq!(guest.mkdir("work/d/"), Err(Errno::EXIST));
    assert_eq!(guest.mkdir("work/none/e"), Err(Errno::NOENT));
    assert_eq!(guest.mkdir("work/d/e//"), Ok(()));
    assert_eq!(guest.rmdir("work/d"), Err(Errno::NOTEMPTY));
    assert_eq!(guest.rmdir("work/d/e/"), Ok(()));
    assert_eq!(guest.rmdir("work/d/e"), Err(Errno::NOENT));
    assert_eq!(guest.rmdir("work/d"), Ok(()));
    assert_eq!(guest.stat("work/d"), Err(Errno::NOENT));
}

#[test]
fn only_directories_are_removed_as_directories() {
    let mut guest = Guest::plain();
    guest.file("work/a", b"");
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    assert_eq!(guest.symlink("d", "work/s"), Ok(()));
    assert_eq!(guest.mkdir("work/a"), Err(Errno::EXIST));
    assert_eq!(guest.mkdir("work/s"), Err(Errno::EXIST));
    assert_eq!(guest.mkdir("work/a/b"), Err(Errno::NOTDIR));
    assert_eq!(guest.rmdir("work/a"), Err(Errno::NOTDIR));
    assert_eq!(guest.rmdir("work/a/"), Err(Errno::NOTDIR));
    assert_eq!(guest.rmdir("work/s"), Err(Errno::NOTDIR));
    assert_eq!(guest.rmdir("work/s/"), Err(Errno::NOTDIR));
    assert_eq!(guest.rmdir("work/d/."), Err(Errno::INVAL));
    assert_eq!(guest.rmdir("work/d/.."), Err(Errno::INVAL));
    assert_eq!(guest.unlink("work/d"), Err(Errno::ISDIR));
    assert_eq!(guest.unlink("work/d/"), Err(Errno::ISDIR));
    assert_eq!(guest.unlink("work/d/."), Err(Errno::ISDIR));
    assert_eq!(guest.unlink("work/a/"), Err(Errno::NOTDIR));
    assert_eq!(guest.unlink("work/s/"), Err(Errno::NOTDIR));
    assert_eq!(guest.unlink("work/none"), Err(Errno::NOENT));
    assert_eq!(guest.unlink("work/none/"), Err(Errno::NOENT));
    assert_eq!(guest.unlink("work/s"), Ok(()));
    assert!(guest.stat("work/d").is_ok());
    assert_eq!(guest.unlink("work/a"), Ok(()));
}

#[test]
fn listings_are_sorted_and_start_with_the_dots() {
    let mut guest = Guest::plain();
    for name in ["b", "a", "ä", "B", "c"] {
        guest.file(&format!("work/{name}"), b"");
    }
    assert_eq!(guest.mkdir("work/bb"), Ok(()));
    assert_eq!(guest.symlink("x", "work/0"), Ok(()));
    let fd = guest.open_to_read("work").expect("a directory");
    let (entries, _) = guest.readdir_once(fd, 0, 0x1000).expect("a listing");
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, [".", "..", "0", "B", "a", "b", "bb", "c", "ä"]);
    let types: Vec<_> = entries.iter().map(|entry| entry.filetype).collect();
    assert_eq!(types, [3, 3, 7, 4, 4, 4, 3, 4, 4]);
    for entry in &entries {
        let stat = guest
            .lstat(&format!("work/{}", entry.name))
            .expect("attributes");
        assert_eq!(
            (entry.ino, entry.filetype),
            (stat.ino, stat.filetype),
            "{}",
            entry.name
        );
    }
    assert_eq!(entries[0].ino, guest.fstat(fd).expect("attributes").ino);
    assert_eq!(entries[1].ino, guest.stat(".").expect("attributes").ino);
}

#[test]
fn a_listing_goes_on_after_any_entry() {
    let mut guest = Guest::with_inputs();
    for name in ["x", "b", "zz", "notes"] {
        guest.file(&format!("work/{name}"), b"");
    }
    for path in [".", "lib", "lib/python3.13", "work", "work/data", "tmp"] {
        let fd = guest.open_to_read(path).expect("a directory");
        let (all, _) = guest.readdir_once(fd, 0, 0x1000).expect("a listing");
        for (index, entry) in all.iter().enumerate() {
            let (rest, _) = guest
                .readdir_once(fd, entry.next, 0x1000)
                .expect("a listing");
            assert_eq!(rest, all[index + 1..], "{path} after {}", entry.name);
        }
        let (rest, used) = guest.readdir_once(fd, u64::MAX, 0x1000).expect("a listing");
        assert_eq!((rest.len(), used), (0, 0));
        for cookie in [100, 1 << 61, (1 << 62) - 1] {
            let (rest, _) = guest.readdir_once(fd, cookie, 0x1000).expect("a listing");
            assert!(
                rest.iter().all(|entry| all.contains(entry)),
                "{path} {cookie}"
            );
        }
    }
}

#[test]
fn entries_that_come_and_go_do_not_disturb_the_others() {
    let mut guest = Guest::plain();
    for number in 0..50 {
        guest.file(&format!("work/{number:02}"), b"");
    }
    let fd = guest.open_to_read("work").expect("a directory");
    let (mut cookie, mut seen) = (0, Vec::new());
    loop {
        let (entries, used) = guest.readdir_once(fd, cookie, 100).expect("a listing");
        for entry in &entries {
            cookie = entry.next;
            if !entry.name.starts_with('.') {
                seen.push(entry.name.clone());
                // Gone as soon as it is seen, with a new one before and after.
                assert_eq!(guest.unlink(&format!("work/{}", entry.name)), Ok(()));
                guest.file(&format!("work/{}-", entry.name), b"");
                guest.file(&format!("work/!{}", entry.name), b"");
            }
            if entry.name.ends_with('-') {
                assert_eq!(guest.unlink(&format!("work/{}-", entry.name)), Ok(()));
            }
        }
        if used < 100 {
            break;
        }
    }
    let old: Vec<_> = seen
        .iter()
        .filter(|name| name.len() == 2)
        .cloned()
        .collect();
    let expected: Vec<_> = (0..50).map(|number| format!("{number:02}")).collect();
    assert_eq!(old, expected);
}

#[test]
fn names_in_any_order_get_their_place() {
    // Rising, falling, and always between the last two: the last one uses up all labels in a gap.
    let names: [&dyn Fn(usize) -> String; 3] = [
        &|number| format!("{number:04}"),
        &|number| format!("{:04}", 1_000 - number),
        &|number| {
            if number % 2 == 0 {
                format!("{}a", "m".repeat(number / 2))
            } else {
                format!("{}z", "m".repeat(number / 2))
            }
        },
    ];
    for name in names {
        let mut guest = Guest::plain();
        let mut expected = Vec::new();
        for number in 0..300 {
            guest.file(&format!("work/{}", name(number)), b"");
            expected.push(name(number));
        }
        expected.sort();
        assert_eq!(guest.names("work"), expected);
        for number in (0..300).step_by(3) {
            assert_eq!(guest.unlink(&format!("work/{}", name(number))), Ok(()));
            expected.retain(|kept| *kept != name(number));
        }
        assert_eq!(guest.names("work"), expected);
    }
}

#[test]
fn a_small_buffer_cuts_the_last_entry() {
    let mut guest = Guest::plain();
    guest.file("work/abcdef", b"");
    let fd = guest.open_to_read("work").expect("a directory");
    let whole = 25 + 26 + 30;
    for room in 0..=whole + 1 {
        let (entries, used) = guest.readdir_once(fd, 0, room).expect("a listing");
        assert_eq!(used, usize::try_from(room.min(whole)).expect("a length"));
        let expected = match room {
            ..25 => 0,
            25..51 => 1,
            51..81 => 2,
            _ => 3,
        };
        assert_eq!(entries.len(), expected, "{room}");
    }
}

#[test]
fn listing_needs_a_directory_and_memory() {
    let mut guest = Guest::plain();
    let fd = guest.create("work/a");
    assert_eq!(guest.readdir_once(fd, 0, 99), Err(Errno::NOTDIR));
    assert_eq!(guest.readdir_once(0, 0, 99), Err(Errno::NOTDIR));
    let end = i32::try_from(MEMORY_BYTES).expect("an address");
    let (wasi, memory) = (&mut guest.wasi, &mut guest.memory);
    for (buffer, used) in [((end, 1), OUT), ((DATA, -1), OUT), ((DATA, 99), end - 3)] {
        let answer = wasi.fd_readdir(memory, ROOT, buffer, 0, used);
        assert_eq!(errno(answer), Err(Errno::FAULT));
    }
}

#[test]
fn a_removed_directory_that_is_open_is_empty() {
    let mut guest = Guest::plain();
    assert_eq!(guest.mkdir("work/d"), Ok(()));
    let fd = guest.open_to_read("work/d").expect("a directory");
    assert_eq!(guest.rmdir("work/d"), Ok(()));
    let (entries, _) = guest.readdir_once(fd, 0, 99).expect("a listing");
    assert_eq!(entries.len(), 2);
    assert_eq!(guest.stat_with(fd, ".", 0).map(|stat| stat.nlink), Ok(0));
}

#[test]
fn inputs_and_scratch_files_are_listed_together() {
    let mut guest = Guest::with_inputs();
    guest.file("work/a", b"");
    guest.file("work/zz", b"");
    assert_eq!(guest.names("work"), ["data", "notes.txt", "a", "zz"]);
    assert_eq!(guest.names("work/data"), ["a.csv", "empty"]);
    assert_eq!(guest.names("work/data/empty"), [""; 0]);
}

#[test]
fn an_input_hides_a_scratch_file_of_its_name() {
    let mut guest = Guest::plain();
    guest.file("work/notes.txt", b"from the image");
    guest.file("work/other", b"");
    let snapshot = guest.wasi.snapshot().expect("a snapshot");
    let wasi = Wasi::from_snapshot(
        library(),
        &snapshot,
        JobIo {
            inputs: Some(inputs()),
            ..JobIo::default()
        },
    );
    let mut guest = Guest {
        wasi,
        memory: vec![0; MEMORY_BYTES],
    };
    assert_eq!(guest.names("work"), ["data", "notes.txt", "other"]);
    assert_eq!(guest.contents("work/notes.txt"), Ok(b"notes".to_vec()));
    assert_eq!(guest.unlink("work/notes.txt"), Err(Errno::ROFS));
    assert_eq!(
        guest.rename("work/other", "work/notes.txt"),
        Err(Errno::ROFS)
    );
}
