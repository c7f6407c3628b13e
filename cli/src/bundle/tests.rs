use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, source) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    }
    folder
}

fn modules(folder: &TempDir, named: &[&str]) -> Result<Vec<String>> {
    let target = Target {
        file: folder.path().join("job.py"),
        function: Some("f".into()),
    };
    let named: Vec<_> = named.iter().map(|name| folder.path().join(name)).collect();
    let bundle = collect(&target, &named)?;
    assert_eq!(bundle.files()[0].module, "job", "the entry comes first");
    let mark = |file: &SourceFile| if file.is_package { "/" } else { "" };
    Ok(bundle
        .files()
        .iter()
        .map(|file| file.module.clone() + mark(file))
        .collect())
}

fn message(result: Result<impl std::fmt::Debug>) -> String {
    match result {
        Err(Failure::Usage(error)) => format!("{error:#}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn modules_beside_the_file_are_followed() {
    let folder = folder(&[
        (
            "job.py",
            "import helper, json, missing\nfrom pkg.sub import x",
        ),
        ("helper.py", "import second"),
        ("second.py", "import job, helper"),
        ("unused.py", ""),
        ("json.py", "# hides the library's"),
        ("pkg/__init__.py", "import third"),
        ("pkg/sub.py", "from . import deep"),
        ("pkg/deep/__init__.py", ""),
        ("pkg/deep/more.py", ""),
        ("pkg/data.txt", ""),
        ("pkg/data/readme.txt", ""),
        ("pkg/__pycache__/x.py", ""),
        ("pkg/.hidden/x.py", ""),
        ("third.py", ""),
    ]);
    let wanted = [
        "job",
        "helper",
        "json",
        "pkg/",
        "pkg.deep/",
        "pkg.deep.more",
        "pkg.sub",
        "second",
        "third",
    ];
    assert_eq!(modules(&folder, &[]).unwrap(), wanted);
}

#[test]
fn a_directory_without_init_is_a_package_unless_the_library_has_the_name() {
    let folder = folder(&[
        ("job.py", "import plain.mod, email.mod, empty"),
        ("plain/mod.py", ""),
        ("email/mod.py", ""),
        ("empty/readme.txt", ""),
    ]);
    assert_eq!(
        modules(&folder, &[]).unwrap(),
        ["job", "plain/", "plain.mod"]
    );
}

#[test]
fn a_package_comes_before_a_module_of_its_name() {
    let folder = folder(&[("job.py", "import a"), ("a.py", ""), ("a/__init__.py", "")]);
    assert_eq!(modules(&folder, &[]).unwrap(), ["job", "a/"]);
}

#[test]
fn modules_can_be_named() {
    let folder = folder(&[
        ("job.py", ""),
        ("other/extra.py", "import beside"),
        ("other/beside.py", ""),
        ("lib/pkg/mod.py", ""),
        ("lib/extra.py", ""),
        ("lib/empty/x.txt", ""),
        ("lib/x.so", ""),
    ]);
    let wanted = ["job", "beside", "extra", "pkg/", "pkg.mod"];
    assert_eq!(
        modules(&folder, &["other/extra.py", "lib/pkg"]).unwrap(),
        wanted
    );
    assert_eq!(
        modules(&folder, &["other/extra.py", "other/extra.py"])
            .unwrap()
            .len(),
        3
    );
    let cases = [
        (
            &["other/extra.py", "lib/extra.py"][..],
            "has the same module name as",
        ),
        (&["lib/missing.py"], "No such file or directory"),
        (&["lib/empty"], "there is no Python file in"),
        (&["lib/x.so"], "is neither a .py file nor a directory"),
    ];
    for (named, wanted) in cases {
        let message = message(modules(&folder, named));
        assert!(
            message.starts_with("--module: ") && message.contains(wanted),
            "{message}"
        );
    }
}

#[test]
fn too_many_files_are_refused() {
    let folder = folder(&[("job.py", "import pkg"), ("pkg/__init__.py", "")]);
    for number in 0..FILES_MAX - 2 {
        fs::write(folder.path().join(format!("pkg/m{number}.py")), "").unwrap();
    }
    assert_eq!(modules(&folder, &[]).unwrap().len(), FILES_MAX);
    fs::write(folder.path().join("pkg/more.py"), "").unwrap();
    assert!(message(modules(&folder, &[])).ends_with("there are more than 2000 files to ship"));
}

#[test]
fn too_much_source_is_refused() {
    let folder = folder(&[("job.py", "import a"), ("a.py", "")]);
    let file = fs::File::options()
        .write(true)
        .open(folder.path().join("a.py"))
        .unwrap();
    file.set_len(SOURCE_BYTES_MAX + 1).unwrap();
    assert!(
        message(modules(&folder, &[])).ends_with("there is more than 64 MiB of source to ship")
    );
}

#[cfg(unix)]
#[test]
fn a_package_that_contains_itself_is_refused() {
    let folder = folder(&[("job.py", "import pkg"), ("pkg/__init__.py", "")]);
    std::os::unix::fs::symlink(".", folder.path().join("pkg/again")).unwrap();
    assert!(message(modules(&folder, &[])).contains("nested more than 32 deep"));
}

#[test]
fn targets() {
    let parse = |text: &str| Target::parse(Path::new(text));
    let target = |file: &str, function: Option<&str>| Target {
        file: file.into(),
        function: function.map(Into::into),
    };
    assert_eq!(parse("job.py").unwrap(), target("job.py", None));
    assert_eq!(parse("a/job.py:f").unwrap(), target("a/job.py", Some("f")));
    assert_eq!(
        parse("job.py:Class.method").unwrap(),
        target("job.py", Some("Class.method"))
    );
    assert_eq!(parse("a:b/job.py").unwrap(), target("a:b/job.py", None));
    for bad in ["job.py:", "job.py:f()", "job.py:a..b", "job.py:1"] {
        assert!(
            message(parse(bad)).contains("is not a function's name"),
            "{bad}"
        );
    }
    assert!(message(parse(":f")).contains("no file before the colon"));

    let folder = folder(&[("odd:name", "")]);
    let odd = folder.path().join("odd:name");
    assert_eq!(
        Target::parse(&odd).unwrap(),
        Target {
            file: odd,
            function: None
        }
    );
}
