//! One live guest: a store, its exports, and the protocol of `docs/guest-abi.md`.
//!
//! Both start paths and the making of images go through this; they differ in where the memory's
//! contents come from.

use ppwasm_proto::{LimitKind, TrapCause};
use wasmtime::{
    AsContextMut, Engine, Global, Instance as WasmInstance, InstancePre, Linker, Memory, Module,
    ResourceLimiter, Store, StoreContextMut, Trap, TypedFunc, UpdateDeadline, Val,
};

use crate::budget::Share;
use crate::error::HostError;
use crate::image::RequestBuffer;
use crate::sys::interrupt;
use crate::wasi::link::WasiView;
use crate::wasi::{self, Wasi};
use crate::watchdog::{Deadlines, Interrupt, Watch, Watchdog};

/// What the store holds beside the instance.
pub(crate) struct State {
    pub(crate) wasi: Wasi,
    pub(crate) deadlines: Deadlines,
    pub(crate) memory_bytes_max: u64,
    /// Set when a growth was refused for the limit; tells a MemoryError's cause.
    pub(crate) memory_refused: bool,
    /// Set when the system had no memory or addresses for a growth that is allowed: what the guest would make of that
    /// is not its outcome.
    pub(crate) memory_lacking: bool,
    /// What a call has taken of the machine's memory beside its image; none before the first call.
    pub(crate) share: Option<Share>,
    memory: Option<Memory>,
}

impl State {
    pub(crate) fn new(wasi: Wasi, deadlines: Deadlines) -> Self {
        Self {
            wasi,
            deadlines,
            memory_bytes_max: 1 << 32,
            memory_refused: false,
            memory_lacking: false,
            share: None,
            memory: None,
        }
    }
}

impl WasiView for State {
    fn memory(&self) -> Option<Memory> {
        self.memory
    }

    fn wasi(&mut self) -> &mut Wasi {
        &mut self.wasi
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired as u64 <= self.memory_bytes_max;
        self.memory_refused |= !allowed;
        let more = desired.saturating_sub(current) as u64;
        if allowed && self.share.as_mut().is_some_and(|share| !share.take(more)) {
            self.memory_lacking = true;
            return Ok(false);
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_lacking = true;
        Err(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The table is made once and never grows: an image does not hold it.
        Ok(current == 0)
    }
}

/// The functions that the guest imports, resolved once for a module.
pub(crate) fn link(engine: &Engine, module: &Module) -> Result<InstancePre<State>, HostError> {
    let failed = |source: wasmtime::Error| HostError::Instantiate {
        source: source.into(),
    };
    let mut linker = Linker::new(engine);
    wasi::link::add_to_linker(&mut linker).map_err(failed)?;
    linker.instantiate_pre(module).map_err(failed)
}

/// A request's answer: the reply's bytes, or why there is none.
pub(crate) type Answer = Result<Vec<u8>, Ended>;

/// How a guest ended without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Trap(TrapCause),
    Limit(LimitKind),
    Cancelled,
    /// The reply is there and longer than allowed. The guest is sound.
    ReplyTooLong,
}

/// Whether guests look at their limits themselves, when the engine's epoch advances: they cannot be stopped from outside.
pub(crate) fn polls(engine: &Engine) -> bool {
    !interrupt::SUPPORTED || engine.is_pulley()
}

/// A live guest.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    memory: Memory,
    stack_pointer: Global,
    start: TypedFunc<(), i32>,
    buffer: TypedFunc<i32, i32>,
    load: TypedFunc<i32, i64>,
    call: TypedFunc<i32, i64>,
    instance: WasmInstance,
    /// The guest's request buffer is one of its own making, not the static one.
    large_buffer: bool,
}

/// Which of the guest's two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Load,
    Call,
}

impl Instance {
    pub(crate) fn new(pre: &InstancePre<State>, state: State) -> Result<Self, HostError> {
        let engine = pre.module().engine();
        let mut store = Store::new(engine, state);
        store.limiter(|state| state);
        if polls(engine) {
            store.epoch_deadline_callback(look_at_limits);
            store.set_epoch_deadline(1);
        }
        let instance = pre
            .instantiate(&mut store)
            .map_err(|source| HostError::Instantiate {
                source: source.into(),
            })?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or(HostError::MissingExport { name: "memory" })?;
        store.data_mut().memory = Some(memory);
        let stack_pointer =
            instance
                .get_global(&mut store, "__stack_pointer")
                .ok_or(HostError::MissingExport {
                    name: "__stack_pointer",
                })?;
        Ok(Self {
            memory,
            stack_pointer,
            start: export(&instance, &mut store, "ppwasm_start")?,
            buffer: export(&instance, &mut store, "ppwasm_buffer")?,
            load: export(&instance, &mut store, "ppwasm_load")?,
            call: export(&instance, &mut store, "ppwasm_call")?,
            instance,
            store,
            large_buffer: false,
        })
    }

    /// Runs the module's constructor and starts the interpreter.
    pub(crate) fn start(&mut self) -> Result<(), HostError> {
        let initialize: TypedFunc<(), ()> = export(&self.instance, &mut self.store, "_initialize")?;
        let started = initialize
            .call(&mut self.store, ())
            .and_then(|()| self.start.call(&mut self.store, ()));
        match started {
            Ok(0) => Ok(()),
            other => {
                let mut stderr =
                    String::from_utf8_lossy(self.store.data().wasi.stderr()).into_owned();
                if let Err(error) = other {
                    stderr = format!("{stderr}{error:#}");
                }
                Err(HostError::Start { stderr })
            }
        }
    }

    /// Where requests of up to 64 KiB go: the guest's static buffer.
    pub(crate) fn request_buffer(&mut self, len: u32) -> Result<RequestBuffer, HostError> {
        let address = self
            .buffer
            .call(&mut self.store, len as i32)
            .map_err(|source| HostError::Instantiate {
                source: source.into(),
            })?;
        Ok(RequestBuffer {
            address: address as u32,
            len,
        })
    }

    /// Puts `message` into the guest and makes the request, watched for the state's deadlines. A reply
    /// longer than `reply_bytes_max` is not copied.
    pub(crate) fn request(
        &mut self,
        (watchdog, watch): (&Watchdog, &Watch),
        request: Request,
        message: &[u8],
        static_buffer: RequestBuffer,
        reply_bytes_max: u64,
    ) -> Answer {
        let deadlines = self.store.data().deadlines.clone();
        let (answer, interrupt) = watchdog.run(watch, &deadlines, || {
            self.request_unwatched(request, message, static_buffer, reply_bytes_max)
        });
        match (answer, interrupt) {
            // Stopped from outside, a guest ends with a trap that says nothing.
            (Err(Ended::Trap(_)), Some(interrupt)) => Err(interrupt_ended(interrupt)),
            (answer, _) => answer,
        }
    }

    fn request_unwatched(
        &mut self,
        request: Request,
        message: &[u8],
        static_buffer: RequestBuffer,
        reply_bytes_max: u64,
    ) -> Answer {
        let Ok(len) = i32::try_from(message.len()) else {
            return Err(Ended::Limit(LimitKind::Memory));
        };
        if polls(self.store.engine()) {
            self.store.set_epoch_deadline(1);
        }
        let fits = message.len() <= static_buffer.len as usize;
        let address = if fits && !self.large_buffer {
            static_buffer.address
        } else {
            self.large_buffer = !fits;
            let address = self
                .buffer
                .call(&mut self.store, len)
                .map_err(|error| self.ended(&error))?;
            if address == 0 {
                return Err(Ended::Limit(LimitKind::Memory));
            }
            address as u32
        };
        let place = self
            .memory
            .data_mut(&mut self.store)
            .get_mut(address as usize..)
            .and_then(|rest| rest.get_mut(..message.len()));
        let Some(place) = place else {
            return Err(Ended::Trap(TrapCause::InvalidReply));
        };
        place.copy_from_slice(message);
        let function = match request {
            Request::Load => &self.load,
            Request::Call => &self.call,
        };
        let packed = function
            .call(&mut self.store, len)
            .map_err(|error| self.ended(&error))? as u64;
        if packed == 0 {
            return Err(if self.store.data().memory_refused {
                Ended::Limit(LimitKind::Memory)
            } else {
                Ended::Trap(TrapCause::NoReply)
            });
        }
        let (address, len) = ((packed >> 32) as usize, (packed & 0xffff_ffff) as usize);
        if len as u64 > reply_bytes_max {
            return Err(Ended::ReplyTooLong);
        }
        let reply = self
            .memory
            .data(&self.store)
            .get(address..)
            .and_then(|rest| rest.get(..len));
        reply
            .map(<[u8]>::to_vec)
            .ok_or(Ended::Trap(TrapCause::InvalidReply))
    }

    /// What the system lacked while the guest ran, if anything.
    pub(crate) fn check_machine(&self) -> Result<(), HostError> {
        if !self.store.data().memory_lacking {
            return Ok(());
        }
        Err(HostError::System {
            action: "give a sandbox as much memory as its task may have",
            source: std::io::ErrorKind::OutOfMemory.into(),
        })
    }

    /// The memory is an image again, in which the static buffer is the one in use.
    pub(crate) fn forget_large_buffer(&mut self) {
        self.large_buffer = false;
    }

    /// What ended the guest, from the error that came out of it.
    fn ended(&self, error: &wasmtime::Error) -> Ended {
        if let Some(interrupt) = error.downcast_ref::<Interrupt>() {
            return interrupt_ended(*interrupt);
        }
        if error.downcast_ref::<wasi::Interrupted>().is_some() {
            // A sleep ends early only for one of the limits, which is past by now.
            let reason = self.store.data().deadlines.check().err();
            return interrupt_ended(reason.unwrap_or(Interrupt::WallTime));
        }
        if let Some(limit) = error.downcast_ref::<wasi::LimitExceeded>() {
            return Ended::Limit(match limit.which {
                wasi::Limit::StdoutBytes => LimitKind::Stdout,
                wasi::Limit::StderrBytes => LimitKind::Stderr,
            });
        }
        if let Some(exit) = error.downcast_ref::<wasi::Exit>() {
            return Ended::Trap(TrapCause::Exit { code: exit.code });
        }
        Ended::Trap(match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) => TrapCause::Abort,
            Some(Trap::StackOverflow) => TrapCause::StackOverflow,
            Some(Trap::MemoryOutOfBounds | Trap::HeapMisaligned) => TrapCause::MemoryOutOfBounds,
            Some(Trap::IndirectCallToNull | Trap::BadSignature | Trap::TableOutOfBounds) => {
                TrapCause::BadIndirectCall
            }
            Some(Trap::IntegerDivisionByZero | Trap::IntegerOverflow) => TrapCause::DivisionFailed,
            Some(Trap::BadConversionToInteger) => TrapCause::ConversionFailed,
            _ => TrapCause::Other,
        })
    }

    pub(crate) fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    pub(crate) fn memory_mut(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut self.store)
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.data_size(&self.store) as u64
    }

    pub(crate) fn memory_base(&self) -> *mut u8 {
        self.memory.data_ptr(&self.store)
    }

    /// Grows the memory to exactly `bytes`, as an image needs it.
    pub(crate) fn grow_memory_to(&mut self, bytes: u64) -> Result<(), HostError> {
        let missing = bytes.saturating_sub(self.memory_bytes()) / 65_536;
        if missing > 0 {
            self.memory
                .grow(&mut self.store, missing)
                .map_err(|source| HostError::Instantiate {
                    source: source.into(),
                })?;
        }
        Ok(())
    }

    pub(crate) fn stack_pointer(&mut self) -> u32 {
        match self.stack_pointer.get(self.store.as_context_mut()) {
            Val::I32(value) => value as u32,
            _ => 0,
        }
    }

    pub(crate) fn state(&self) -> &State {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }
}

fn export<P, R>(
    instance: &WasmInstance,
    store: &mut Store<State>,
    name: &'static str,
) -> Result<TypedFunc<P, R>, HostError>
where
    P: wasmtime::WasmParams,
    R: wasmtime::WasmResults,
{
    instance
        .get_typed_func(store, name)
        .map_err(|_| HostError::MissingExport { name })
}

fn look_at_limits(context: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    context.data().deadlines.check()?;
    Ok(UpdateDeadline::Continue(1))
}

fn interrupt_ended(interrupt: Interrupt) -> Ended {
    match interrupt {
        Interrupt::WallTime => Ended::Limit(LimitKind::WallTime),
        Interrupt::CpuTime => Ended::Limit(LimitKind::CpuTime),
        Interrupt::Cancelled => Ended::Cancelled,
    }
}
