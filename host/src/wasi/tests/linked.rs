//! The functions as a guest reaches them: through a linker.

use wasmtime::{Config, Engine, ExternType, Func, Linker, Memory, MemoryType, Module, Store, Val};

use super::*;
use crate::wasi::link::{self, MODULE, NoMemory, WasiView};
use crate::wasi::{Exit, FUNCTIONS, Limit, LimitExceeded, NOT_IMPLEMENTED};

struct Data {
    wasi: Wasi,
    memory: Option<Memory>,
}

impl WasiView for Data {
    fn memory(&self) -> Option<Memory> {
        self.memory
    }

    fn wasi(&mut self) -> &mut Wasi {
        &mut self.wasi
    }
}

fn linked(job: JobIo) -> (Linker<Data>, Store<Data>) {
    let engine = Engine::new(&Config::new()).expect("an engine");
    let mut linker = Linker::new(&engine);
    link::add_to_linker(&mut linker).expect("linked");
    let data = Data {
        wasi: Wasi::new(library(), job),
        memory: None,
    };
    let mut store = Store::new(&engine, data);
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).expect("a memory");
    store.data_mut().memory = Some(memory);
    (linker, store)
}

fn function(linker: &Linker<Data>, store: &mut Store<Data>, name: &str) -> Func {
    let found = linker.get(&mut *store, MODULE, name);
    found.expect(name).into_func().expect(name)
}

#[test]
fn every_function_is_linked_and_answers() {
    let (linker, mut store) = linked(JobIo::default());
    assert_eq!(linker.iter(&mut store).count(), FUNCTIONS.len());
    for name in FUNCTIONS {
        let function = function(&linker, &mut store, name);
        let arguments: Vec<_> = function
            .ty(&store)
            .params()
            .map(|param| {
                if param.is_i64() {
                    Val::I64(-1)
                } else {
                    Val::I32(-1)
                }
            })
            .collect();
        let mut results = vec![Val::I32(0); function.ty(&store).results().len()];
        let called = function.call(&mut store, &arguments, &mut results);
        if name == "proc_exit" {
            let error = called.expect_err("the end");
            assert_eq!(error.downcast_ref(), Some(&Exit { code: u32::MAX }));
            continue;
        }
        called.expect(name);
        let code = results[0].i32().expect("a code");
        assert_eq!(
            code == i32::from(Errno::NOSYS.code()),
            NOT_IMPLEMENTED.contains(&name),
            "{name} answers {code}"
        );
    }
}

#[test]
fn the_functions_have_the_types_of_the_interface() {
    // As wasi-libc declares them: i for i32, l for i64.
    let types = [
        ("clock_time_get", "ili"),
        ("fd_advise", "illi"),
        ("fd_allocate", "ill"),
        ("fd_fdstat_set_rights", "ill"),
        ("fd_filestat_set_size", "il"),
        ("fd_filestat_set_times", "illi"),
        ("fd_pread", "iiili"),
        ("fd_pwrite", "iiili"),
        ("fd_readdir", "iiili"),
        ("fd_seek", "ilii"),
        ("path_filestat_set_times", "iiiilli"),
        ("path_link", "iiiiiii"),
        ("path_open", "iiiiillii"),
        ("path_readlink", "iiiiii"),
        ("path_rename", "iiiiii"),
        ("path_symlink", "iiiii"),
        ("poll_oneoff", "iiii"),
        ("sock_recv", "iiiiii"),
        ("sock_send", "iiiii"),
        ("sched_yield", ""),
    ];
    let (linker, mut store) = linked(JobIo::default());
    for (name, expected) in types {
        let ty = function(&linker, &mut store, name).ty(&store);
        let found: String = ty
            .params()
            .map(|param| if param.is_i64() { 'l' } else { 'i' })
            .collect();
        assert_eq!(found, expected, "{name}");
        assert_eq!(ty.results().len(), 1);
    }
    let exit = function(&linker, &mut store, "proc_exit").ty(&store);
    assert_eq!((exit.params().len(), exit.results().len()), (1, 0));
}

#[test]
fn results_are_written_to_the_memory_of_the_store() {
    let (linker, mut store) = linked(JobIo {
        args: vec!["abc".to_owned()],
        ..JobIo::default()
    });
    let sizes = function(&linker, &mut store, "args_sizes_get");
    let sizes = sizes.typed::<(i32, i32), i32>(&store).expect("its type");
    assert_eq!(sizes.call(&mut store, (8, 12)).expect("an answer"), 0);
    let memory = store.data().memory.expect("a memory");
    assert_eq!(&memory.data(&store)[8..16], &[1, 0, 0, 0, 4, 0, 0, 0]);
}

#[test]
fn ends_are_errors_to_be_found_by_type() {
    let (linker, mut store) = linked(JobIo {
        stdout_bytes_max: 3,
        ..JobIo::default()
    });
    let memory = store.data().memory.expect("a memory");
    memory
        .write(&mut store, 0, &[16, 0, 0, 0, 4, 0, 0, 0])
        .expect("written");
    let write = function(&linker, &mut store, "fd_write");
    let write = write
        .typed::<(i32, i32, i32, i32), i32>(&store)
        .expect("its type");
    let error = write.call(&mut store, (1, 0, 1, 8)).expect_err("the end");
    let exceeded = LimitExceeded {
        which: Limit::StdoutBytes,
    };
    assert_eq!(error.downcast_ref(), Some(&exceeded));
    assert_eq!(store.data().wasi.stdout(), [0, 0, 0]);
    store.data_mut().memory = None;
    let error = write.call(&mut store, (1, 0, 1, 8)).expect_err("the end");
    assert_eq!(error.downcast_ref(), Some(&NoMemory));
}

#[test]
fn functions_cannot_be_linked_twice() {
    let (mut linker, _) = linked(JobIo::default());
    assert!(link::add_to_linker(&mut linker).is_err());
}

/// `(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
/// (memory (export "memory") 1) (func (export "f") i32.const 7 call 0))`
const EXITS: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x08\x02\x60\x01\x7f\0\x60\0\0\
    \x02\x24\x01\x16wasi_snapshot_preview1\x09proc_exit\0\0\
    \x03\x02\x01\x01\
    \x05\x03\x01\0\x01\
    \x07\x0e\x02\x06memory\x02\0\x01f\0\x01\
    \x0a\x08\x01\x06\0\x41\x07\x10\0\x0b";

#[test]
fn a_module_ends_with_its_exit_code() {
    let (linker, mut store) = linked(JobIo::default());
    let module = Module::new(linker.engine(), EXITS).expect("a module");
    assert!(matches!(
        module.imports().next().expect("an import").ty(),
        ExternType::Func(_)
    ));
    let instance = linker
        .instantiate(&mut store, &module)
        .expect("an instance");
    store.data_mut().memory = instance.get_memory(&mut store, "memory");
    let f = instance
        .get_typed_func::<(), ()>(&mut store, "f")
        .expect("a function");
    let error = f.call(&mut store, ()).expect_err("the end");
    assert_eq!(error.downcast_ref(), Some(&Exit { code: 7 }));
}
