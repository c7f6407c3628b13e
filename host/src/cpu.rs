//! CPU profiles: the few sets of instructions that artifacts are compiled for.
//!
//! A profile is named explicitly and never inferred while compiling, so that the same profile gives
//! the same artifact on every machine; what is inferred is which profile a machine can run. The
//! engine's own check at load is not relied on: it accepts any RISC-V feature.

use std::fmt;

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
}

impl CpuProfile {
    /// All profiles, weaker before stronger of the same architecture.
    pub const ALL: [Self; 5] = [
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
        }
    }

    /// The target triple for the compiler. The operating system matters for the artifact's calling
    /// conventions and is this machine's own.
    pub(crate) fn triple(self) -> String {
        let arch = match self {
            Self::X86_64V2 | Self::X86_64V3 => "x86_64",
            Self::Aarch64 | Self::Aarch64Lse => "aarch64",
            Self::Riscv64Gc => "riscv64gc",
        };
        let rest = if cfg!(target_os = "macos") {
            "apple-darwin"
        } else if cfg!(windows) {
            "pc-windows-msvc"
        } else {
            "unknown-linux-gnu"
        };
        format!("{arch}-{rest}")
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
            Self::Aarch64 | Self::Riscv64Gc => &[],
            Self::Aarch64Lse => &["has_lse"],
        }
    }
}

impl fmt::Display for CpuProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
        }
    }
}
