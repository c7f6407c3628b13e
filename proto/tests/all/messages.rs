//! Golden bytes of the messages to and from the guest, and what is wrong with messages that are refused.

use ppwasm_proto::{
    BUNDLE_CAPTURED_MAX, BUNDLE_FILES_MAX, BundleError, Call, DecodeErrorKind, EncodeError,
    Exception, FunctionBundle, Reply, Value,
};

fn bundle() -> FunctionBundle {
    let bundle = FunctionBundle::function("job", "job.py", "def f(): pass\n", "f").unwrap();
    let bundle = bundle.with_package("lib", "lib/__init__.py", "").unwrap();
    let bundle = bundle
        .with_module("lib.sub", "lib/sub.py", "X = 1\n")
        .unwrap();
    bundle.with_captured("limit", 5).unwrap()
}

#[test]
fn function_bundle() {
    let bytes = [
        &b"\xa4\x00\x01\x01\x83"[..],
        b"\x84cjobfjob.py\x4edef f(): pass\n\xf4",
        b"\x84clibolib/__init__.py\x40\xf5",
        b"\x84glib.subjlib/sub.py\x46X = 1\n\xf4",
        b"\x02\x82cjobaf",
        b"\x03\xa1elimit\x05",
    ]
    .concat();
    assert_eq!(bundle().to_bytes(), bytes);
    assert_eq!(FunctionBundle::from_bytes(&bytes), Ok(bundle()));
    let digest = "15876f58a04697255ae92f35ba01649d9e48f3d6f9cd8be854976a05a2db4ed7";
    assert_eq!(bundle().digest().to_string(), digest);
}

#[test]
fn script_bundle() {
    let bytes = b"\xa3\x00\x01\x01\x81\x84cjobfjob.py\x48print(1)\xf4\x02\x82cjob\xf6";
    let bundle = FunctionBundle::script("job", "job.py", "print(1)").unwrap();
    assert_eq!(bundle.to_bytes(), bytes);
    assert_eq!(FunctionBundle::from_bytes(bytes), Ok(bundle));
}

#[test]
fn call() {
    let call = Call::with_args([1, -1])
        .with_kwarg("base", "ten")
        .with_kwarg("a", Value::None);
    assert_eq!(
        call.to_bytes().unwrap(),
        b"\x82\x82\x01\x20\xa2dbasecten\x61a\xf6"
    );
    assert_eq!(Call::new().to_bytes().unwrap(), b"\x82\x80\xa0");
    let twice = Call::new().with_kwarg("a", 1).with_kwarg("a", 2);
    assert_eq!(twice.to_bytes(), Err(EncodeError::DuplicateKey));
}

#[test]
fn replies() {
    let Ok(Reply::Returned(value)) = Reply::from_bytes(b"\x82\x00\x82\x01\x02") else {
        panic!("a value was returned");
    };
    assert_eq!(value.decode(), Ok(Value::list([1, 2])));
    let raised = |rest: &[u8]| {
        let start = b"\x82\x01\xa5dtypejValueErrorgmessagecbad";
        Reply::from_bytes(&[start, rest].concat())
    };
    let exception = |traceback: &str, notes: &[&str], exit_code| {
        Reply::Raised(Exception {
            type_name: "ValueError".to_owned(),
            message: "bad".to_owned(),
            traceback: traceback.to_owned(),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
            exit_code,
        })
    };
    assert_eq!(
        raised(b"itracebackaTenotes\x82aaabiexit_code\xf6"),
        Ok(exception("T", &["a", "b"], None))
    );
    assert_eq!(
        raised(b"itraceback\xd9\xea\x61\x43\xed\xb2\x80enotes\x80iexit_code\x03"),
        Ok(exception("\\udc80", &[], Some(3)))
    );
    for (code, seen) in [
        (&b"\x22"[..], -3),
        (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", -1),
    ] {
        let rest = [b"itraceback`enotes\x80iexit_code", code].concat();
        assert_eq!(raised(&rest), Ok(exception("", &[], Some(seen))));
    }
    let big = b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00";
    let rest = [&b"itraceback`enotes\x80iexit_code"[..], big].concat();
    assert_eq!(raised(&rest), Ok(exception("", &[], Some(-1))));
}

#[test]
fn bytes_that_are_no_reply() {
    use DecodeErrorKind as Kind;
    for (bytes, offset, kind) in [
        (&b""[..], 0, Kind::Truncated),
        (b"\x82\x00", 0, Kind::Truncated),
        (b"\x81\x00", 0, Kind::ArrayLength(2)),
        (b"\x82\x02\x00", 1, Kind::Expected("0 or 1")),
        (b"\x82\x01\x00", 2, Kind::Expected("a map")),
        (
            b"\x82\x01\xa0",
            2,
            Kind::Expected("all keys of an exception"),
        ),
        (
            b"\x82\x01\xa1cwhy\x00",
            3,
            Kind::Expected("a key of an exception"),
        ),
        (b"\x82\x01\xa2dtypeaAdtypeaB", 10, Kind::Duplicate),
        (b"\x82\x01\xa1dtype\x00", 8, Kind::Expected("text")),
        (
            b"\x82\x01\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
            2,
            Kind::Truncated,
        ),
    ] {
        let error = Reply::from_bytes(bytes).unwrap_err();
        assert_eq!((error.offset, error.kind), (offset, kind), "{bytes:x?}");
    }
}

#[test]
fn bundles_that_are_refused() {
    let new = |module: &str, name: &str| FunctionBundle::function(module, "p", "", name);
    for name in ["", ".", "a..b", "a/b", "a\\b", "a\0"] {
        assert_eq!(
            new(name, "f"),
            Err(BundleError::ModuleName {
                name: name.to_owned()
            })
        );
        assert_eq!(
            new("m", name),
            Err(BundleError::FunctionName {
                name: name.to_owned()
            })
        );
    }
    let name = || "job".to_owned();
    let twice = bundle().with_module("job", "other.py", "");
    assert_eq!(twice, Err(BundleError::DuplicateModule { name: name() }));
    let captured = bundle().with_captured("limit", 6);
    assert_eq!(
        captured,
        Err(BundleError::CapturedName {
            name: "limit".to_owned()
        })
    );

    let changed = |from: &[u8], to: &[u8]| {
        let bytes = bundle().to_bytes();
        let at = bytes
            .windows(from.len())
            .rposition(|window| window == from)
            .unwrap();
        let bytes = [&bytes[..at], to, &bytes[at + from.len()..]].concat();
        FunctionBundle::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(
        changed(b"\xa4\x00\x01", b"\xa4\x00\x02"),
        BundleError::Format { found: 2 }
    );
    assert_eq!(
        changed(b"\x82cjob", b"\x82cjab"),
        BundleError::NoEntry {
            name: "jab".to_owned()
        }
    );
    assert_eq!(
        changed(b"clib", b"cjob"),
        BundleError::DuplicateModule { name: name() }
    );
    assert_eq!(
        changed(b"af\x03", b"`\x03"),
        BundleError::FunctionName {
            name: String::new()
        }
    );
    let error = changed(b"\x05", b"\x18\x05");
    assert!(
        matches!(error, BundleError::Malformed(error) if error.kind == DecodeErrorKind::NotShortest)
    );
    let error = changed(b"\xa1elimit\x05", b"\xa0");
    assert!(matches!(error, BundleError::Malformed(_)));
    let bytes = [&bundle().to_bytes()[..], b"\x00"].concat();
    let error = FunctionBundle::from_bytes(&bytes).unwrap_err();
    assert!(
        matches!(error, BundleError::Malformed(error) if error.kind == DecodeErrorKind::LeftOver)
    );
}

#[test]
fn bundles_end_at_their_limits_and_one_past() {
    let mut bundle = FunctionBundle::script("m0", "p", "").unwrap();
    for index in 1..BUNDLE_FILES_MAX {
        bundle = bundle.with_module(format!("m{index}"), "p", "").unwrap();
    }
    for index in 0..BUNDLE_CAPTURED_MAX {
        bundle = bundle.with_captured(format!("c{index}"), index).unwrap();
    }
    let bytes = bundle.to_bytes();
    assert_eq!(FunctionBundle::from_bytes(&bytes).as_ref(), Ok(&bundle));
    assert_eq!(
        bundle.clone().with_captured("c", 0),
        Err(BundleError::TooManyCaptured)
    );
    assert_eq!(
        bundle.with_module("m", "p", ""),
        Err(BundleError::TooManyFiles)
    );

    // The same bytes with one file more: the head of the array of files says so.
    assert_eq!(bytes[..7], *b"\xa4\x00\x01\x01\x99\x27\x10");
    let more = [
        b"\xa4\x00\x01\x01\x99\x27\x11\x84bmxap\x40\xf4",
        &bytes[7..],
    ]
    .concat();
    assert_eq!(
        FunctionBundle::from_bytes(&more),
        Err(BundleError::TooManyFiles)
    );
}
