//! Modules beside the file.

use crate::support::Folder;

#[test]
fn modules_beside_the_file_are_shipped() {
    let folder = Folder::new(&[
        (
            "sub/job.py",
            "import helper\nfrom pkg.deep import value\nfrom statistics import mean\n\
            def f(x): return helper.twice(x), value, mean([1, 2]), helper.__file__",
        ),
        (
            "sub/helper.py",
            "import second\ndef twice(x): return second.two * x",
        ),
        ("sub/second.py", "two = 2"),
        ("sub/pkg/__init__.py", ""),
        ("sub/pkg/deep/__init__.py", "from .inner import value"),
        (
            "sub/pkg/deep/inner.py",
            "from .. import other\nvalue = other.x",
        ),
        ("sub/pkg/other.py", "x = 'inner'"),
    ]);
    folder
        .submit(&["sub/job.py:f", "4"])
        .prints("(8, 'inner', 1.5, 'sub/helper.py')\n");
}

#[test]
fn a_module_beside_the_file_hides_the_librarys() {
    let folder = Folder::new(&[
        (
            "job.py",
            "import statistics, random\ndef f(): return statistics.mine, hasattr(random, 'mine')",
        ),
        ("statistics.py", "mine = 1"),
    ]);
    folder.submit(&["job.py:f"]).prints("(1, False)\n");
}

#[test]
fn what_is_above_the_file_is_not_looked_at() {
    let folder = Folder::new(&[
        ("above.py", ""),
        ("sub/job.py", "import above\ndef f(): pass"),
    ]);
    folder
        .submit(&["sub/job.py:f"])
        .says(1, &["ModuleNotFoundError: No module named 'above'"]);
}

#[test]
fn modules_are_named_that_no_statement_names() {
    let folder = Folder::new(&[
        (
            "job.py",
            "import importlib\ndef f(name): return importlib.import_module(name).x",
        ),
        ("lib/extra.py", "x = 1"),
        ("lib/pkg/mod.py", "x = 2"),
    ]);
    let named = ["--module", "lib/extra.py", "--module", "lib/pkg"];
    folder
        .submit(&[&["job.py:f", "extra"][..], &named].concat())
        .prints("1\n");
    folder
        .submit(&[&["job.py:f", "pkg.mod"][..], &named].concat())
        .prints("2\n");
    folder
        .submit(&["job.py:f", "extra"])
        .says(1, &["ModuleNotFoundError: No module named 'extra'"]);
}

#[test]
fn a_helpers_fault_shows_the_helpers_lines() {
    let folder = Folder::new(&[
        ("job.py", "import helper\ndef f(): return helper.fail()"),
        ("helper.py", "def fail():\n    return 1 / 0  # here"),
    ]);
    let run = folder.submit(&["job.py:f"]);
    run.says(
        1,
        &[
            "File \"job.py\", line 2, in f",
            "File \"helper.py\", line 2, in fail",
            "1 / 0  # here",
        ],
    );
}

#[test]
fn a_file_need_not_have_a_modules_name() {
    let folder = Folder::new(&[
        ("my-job.v2.py", "def f(): return __name__"),
        ("noend", "def f(): return 1"),
    ]);
    folder.submit(&["my-job.v2.py:f"]).prints("'my-job_v2'\n");
    folder.submit(&["noend:f"]).prints("1\n");
    for name in ["time.py", "os.py", "statistics.py", "__main__.py", "sys.py"] {
        folder.write(
            name,
            "import time, sys, os\ndef f(): return os.getcwd(), sys.byteorder, time.time() > 0",
        );
        folder
            .submit(&[&format!("{name}:f")])
            .prints("('/work', 'little', True)\n");
    }
}
