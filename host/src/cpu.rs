//! CPU profiles: the few sets of instructions that artifacts are compiled for.
//!
//! A profile is named explicitly and never inferred while compiling, so that the same profile gives
//! the same artifact on every machine; what is inferred is which profile a machine can run. The
//! engine's own check at load is not relied on: it accepts any RISC-V feature.

use std::fmt;

/// Whether the interpreter is in this program, and made for such a machine.
const INTERPRETS: bool = cfg!(all(
    any(feature = "compile", feature = "pulley"),
    target_pointer_width = "64",
    target_endian = "little"
));

/// An architecture and the instructions that code for it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CpuProfile {
    /// x86-64 with SSE4.2 and POPCNT (from 2009).
    X86_64V2,
    /// x86-64 with AVX2, BMI, FMA, LZCNT (from 2013).
    X86_64V3,
    /// 64-bit ARM, version 8.0.
    Aarch64,
    /// 64-bit ARM with atomic instructions (LSE, from version 8.1).
    Aarch64Lse,
    /// 64-bit RISC-V, general purpose.
    Riscv64Gc,
    /// Any 64-bit machine: bytecode for an interpreter, some ten times slower.
    Pulley64,
}

impl CpuProfile {
    /// All profiles, weaker before stronger of the same architecture.
    pub const ALL: [Self; 6] = [
        Self::Pulley64,
        Self::X86_64V2,
        Self::X86_64V3,
        Self::Aarch64,
        Self::Aarch64Lse,
        Self::Riscv64Gc,
    ];

    /// The strongest profile this machine can run, if any.
    #[must_use]
    pub fn detect() -> Option<Self> {
        Self::ALL
            .into_iter()
            .rev()
            .find(|profile| profile.runs_here())
    }

    /// Whether this machine's CPU has all that the profile uses.
    #[must_use]
    pub fn runs_here(self) -> bool {
        if self == Self::Pulley64 {
            return INTERPRETS;
        }
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let v2 = has!("sse3")
                && has!("ssse3")
                && has!("sse4.1")
                && has!("sse4.2")
                && has!("popcnt")
                && has!("cmpxchg16b");
            let v3 = v2
                && has!("avx")
                && has!("avx2")
                && has!("bmi1")
                && has!("bmi2")
                && has!("fma")
                && has!("lzcnt");
            return match self {
                Self::X86_64V2 => v2,
                Self::X86_64V3 => v3,
                _ => false,
            };
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        {
            return match self {
                Self::Aarch64 => true,
                Self::Aarch64Lse => std::arch::is_aarch64_feature_detected!("lse"),
                _ => false,
            };
        }
        #[cfg(target_arch = "riscv64")]
        {
            return self == Self::Riscv64Gc;
        }
        #[allow(
            unreachable_code,
            reason = "reached on architectures without a profile"
        )]
        false
    }

    /// The profile's name, as `doctor` prints it and artifacts are keyed by it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64V2 => "x86-64-v2",
            Self::X86_64V3 => "x86-64-v3",
            Self::Aarch64 => "aarch64",
            Self::Aarch64Lse => "aarch64-lse",
            Self::Riscv64Gc => "riscv64gc",
            Self::Pulley64 => "pulley64",
        }
    }

    /// The profile that is called so.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    fn architecture(self) -> &'static str {
        match self {
            Self::X86_64V2 | Self::X86_64V3 => "x86_64",
            Self::Aarch64 | Self::Aarch64Lse => "aarch64",
            Self::Riscv64Gc => "riscv64gc",
            Self::Pulley64 => "pulley64",
        }
    }

    /// Compiler flags that are switched on for the profile.
    pub(crate) fn flags(self) -> &'static [&'static str] {
        const V2: &[&str] = &[
            "has_sse3",
            "has_ssse3",
            "has_cmpxchg16b",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
        ];
        const V3: &[&str] = &[
            "has_sse3",
            "has_ssse3",
            "has_cmpxchg16b",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
            "has_avx",
            "has_avx2",
            "has_bmi1",
            "has_bmi2",
            "has_fma",
            "has_lzcnt",
        ];
        match self {
            Self::X86_64V2 => V2,
            Self::X86_64V3 => V3,
            Self::Aarch64 | Self::Riscv64Gc | Self::Pulley64 => &[],
            Self::Aarch64Lse => &["has_lse"],
        }
    }
}

impl fmt::Display for CpuProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An operating system, as far as native code follows its conventions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum System {
    /// Linux, and what is treated as it.
    Linux,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl System {
    /// This machine's.
    pub const HERE: Self = if cfg!(target_os = "macos") {
        Self::MacOs
    } else if cfg!(windows) {
        Self::Windows
    } else {
        Self::Linux
    };
    const ALL: [Self; 3] = [Self::Linux, Self::MacOs, Self::Windows];

    fn suffix(self) -> &'static str {
        match self {
            Self::Linux => "unknown-linux-gnu",
            Self::MacOs => "apple-darwin",
            Self::Windows => "pc-windows-msvc",
        }
    }
}

/// What keeps a sandbox inside its own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bounds {
    /// Every sandbox reserves all the addresses that it can name, 4 GiB, so that no access needs a check.
    Guarded,
    /// Every access is checked, and a sandbox reserves little more than it uses: slower, for small address spaces.
    Checked,
}

impl Bounds {
    const ALL: [Self; 2] = [Self::Guarded, Self::Checked];

    fn suffix(self) -> &'static str {
        match self {
            Self::Guarded => "",
            Self::Checked => "-checked",
        }
    }
}

/// What native code is for: the instructions that it may use, the system whose conventions it follows, and whether it
/// checks its accesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    profile: CpuProfile,
    system: System,
    bounds: Bounds,
}

impl Target {
    /// Code for `profile` under `system`, for sandboxes that reserve all their addresses.
    #[must_use]
    pub const fn new(profile: CpuProfile, system: System) -> Self {
        // Bytecode follows no system's conventions.
        let system = match profile {
            CpuProfile::Pulley64 => System::Linux,
            _ => system,
        };
        let bounds = Bounds::Guarded;
        Self {
            profile,
            system,
            bounds,
        }
    }

    /// The same, kept inside its memory in this way.
    #[must_use]
    pub const fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Code for `profile` under this machine's system.
    #[must_use]
    pub const fn here(profile: CpuProfile) -> Self {
        Self::new(profile, System::HERE)
    }

    /// Code for the strongest profile that this machine can run, if any.
    #[must_use]
    pub fn detect() -> Option<Self> {
        CpuProfile::detect().map(Self::here)
    }

    /// The target with this triple and [name](Self::name), if there is one.
    #[must_use]
    pub fn by_name(triple: &str, name: &str) -> Option<Self> {
        let mut all = System::ALL.into_iter().flat_map(Self::all);
        all.find(|target| target.triple() == triple && target.name() == name)
    }

    /// The target of this [name](Self::name) under this machine's system, if there is one.
    #[must_use]
    pub fn here_by_name(name: &str) -> Option<Self> {
        Self::all(System::HERE).find(|target| target.name() == name)
    }

    /// All targets under a system.
    pub fn all(system: System) -> impl Iterator<Item = Self> {
        let all = CpuProfile::ALL.into_iter();
        all.flat_map(move |profile| {
            Bounds::ALL.map(|bounds| Self::new(profile, system).with_bounds(bounds))
        })
    }

    /// What it is called within its triple: its CPU profile, and how it is kept inside its memory.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}{}", self.profile, self.bounds.suffix())
    }

    /// The triple for the compiler, the same on every machine.
    #[must_use]
    pub fn triple(self) -> String {
        match self.profile {
            CpuProfile::Pulley64 => self.profile.architecture().to_owned(),
            native => format!("{}-{}", native.architecture(), self.system.suffix()),
        }
    }

    /// The instructions that code for it may use.
    #[must_use]
    pub const fn profile(self) -> CpuProfile {
        self.profile
    }

    /// What keeps a sandbox inside its own memory.
    #[must_use]
    pub const fn bounds(self) -> Bounds {
        self.bounds
    }

    /// Whether code for it runs on this machine.
    #[must_use]
    pub fn runs_here(self) -> bool {
        let is_at_home = self.system == System::HERE || self.profile == CpuProfile::Pulley64;
        is_at_home && self.profile.runs_here()
    }

    /// Whether guests are stopped by a signal; else the engine's epochs are compiled in.
    pub(crate) fn stops_by_signal(self) -> bool {
        // The signal would find the interpreter, not the guest.
        let is_native = self.profile != CpuProfile::Pulley64;
        self.system == System::Linux && is_native && !cfg!(feature = "portable")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.triple(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_the_detected_profile_runs_here() {
        let names: std::collections::BTreeSet<_> = CpuProfile::ALL
            .iter()
            .map(|profile| profile.name())
            .collect();
        assert_eq!(names.len(), CpuProfile::ALL.len());
        if let Some(profile) = CpuProfile::detect() {
            assert!(profile.runs_here());
            // What is compiled for this machine is stopped in the way that this machine can.
            let here = Target::here(profile);
            assert!(here.runs_here());
            let interprets = profile == CpuProfile::Pulley64;
            let by_signal = crate::sys::interrupt::SUPPORTED && !interprets;
            assert_eq!(here.stops_by_signal(), by_signal);
        }
    }

    #[test]
    fn targets_are_found_by_their_names_and_nothing_else_is() {
        for target in System::ALL.into_iter().flat_map(Target::all) {
            let found = Target::by_name(&target.triple(), &target.name());
            assert_eq!(found, Some(target));
        }
        let checked = Target::here(CpuProfile::Riscv64Gc).with_bounds(Bounds::Checked);
        assert_eq!(Target::here_by_name("riscv64gc-checked"), Some(checked));
        assert_eq!(Target::here_by_name("riscv64gc-"), None);
        let linux = |arch: &str| format!("{arch}-unknown-linux-gnu");
        assert_eq!(Target::by_name(&linux("x86_64"), "riscv64gc"), None);
        assert_eq!(Target::by_name(&linux("sparc64"), "sparc64"), None);
        assert_eq!(Target::by_name("", ""), None);
    }
}
