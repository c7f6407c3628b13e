//! How many sandboxes the address space has room for.
//!
//! Most machines have room for thousands that reserve 4 GiB each. Those with 39 bits of addresses (RISC-V's Sv39, some
//! kernels on ARM), and processes with a limit on their address space, have not: there a host has fewer slots, or
//! sandboxes that check their accesses and reserve little.

use crate::cpu::{Bounds, Target};
use crate::engine::{Addresses, HOST_STACK_BYTES, WASM_STACK_BYTES};
use crate::sys;

/// Addresses for all that is no sandbox: the program, artifact and library, images of functions, allocators.
const OTHER_BYTES: u64 = 1 << 30;
/// Sandboxes beside those of the slots: the base image is taken from one, and a slot that is set up anew may have two.
const SPARE_SANDBOXES: u64 = 4;
/// What a sandbox that checks its accesses may come to: its memory moves when it grows, and for that time there are two.
/// This is right for the default limit on a call's memory, 512 MiB; calls with a higher one may find no room.
const CHECKED_BYTES: u64 = 1 << 30;

/// The addresses that this process can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressSpace {
    bits: Option<u32>,
    limit_bytes: Option<u64>,
}

impl AddressSpace {
    /// Looks at this process: where its stack ends, which is close to the end of the addresses, and its limit
    /// (`ulimit -v`).
    #[must_use]
    pub fn probe() -> Self {
        Self {
            bits: sys::address_bits(),
            limit_bytes: sys::address_limit(),
        }
    }

    /// Bits of an address, where the system tells.
    #[must_use]
    pub const fn bits(self) -> Option<u32> {
        self.bits
    }

    /// The limit on the bytes that may be reserved, where there is one.
    #[must_use]
    pub const fn limit_bytes(self) -> Option<u64> {
        self.limit_bytes
    }

    /// How many slots there is room for; `None` when nothing is known that would limit them.
    #[must_use]
    pub fn slots(self, bounds: Bounds) -> Option<usize> {
        let by_bits = self.bits.and_then(|bits| 1u64.checked_shl(bits));
        let all = match (by_bits, self.limit_bytes) {
            (Some(bits), Some(limit)) => bits.min(limit),
            (one, other) => one.or(other)?,
        };
        let addresses = Addresses::of(bounds);
        let stack = (WASM_STACK_BYTES + HOST_STACK_BYTES) as u64;
        let (each, spare) = match bounds {
            Bounds::Guarded => (
                addresses.reservation_bytes + 2 * addresses.guard_bytes + stack,
                SPARE_SANDBOXES,
            ),
            // Those beside the slots are never grown: all of them fit into what one slot is given.
            Bounds::Checked => (CHECKED_BYTES, 0),
        };
        let room = all.saturating_sub(OTHER_BYTES) / each;
        Some(usize::try_from(room.saturating_sub(spare)).unwrap_or(usize::MAX))
    }
}

impl Target {
    /// The same with the bounds that leave room for `slots` slots, or for more of them than the other.
    #[must_use]
    pub fn fitting(self, slots: usize) -> Self {
        self.fitting_in(AddressSpace::probe(), slots)
    }

    fn fitting_in(self, space: AddressSpace, slots: usize) -> Self {
        let is_enough = space
            .slots(Bounds::Guarded)
            .is_none_or(|room| room >= slots.max(1));
        self.with_bounds(if is_enough {
            Bounds::Guarded
        } else {
            Bounds::Checked
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuProfile;

    const GIB: u64 = 1 << 30;

    fn space(bits: u32, limit_bytes: Option<u64>) -> AddressSpace {
        AddressSpace {
            bits: Some(bits),
            limit_bytes,
        }
    }

    /// With Sv39 a process has the lower half of the 39 bits; ARM gives it all of them.
    #[test]
    fn small_address_spaces_have_room_for_fewer_slots() {
        assert_eq!(space(38, None).slots(Bounds::Guarded), Some(58));
        assert_eq!(space(39, None).slots(Bounds::Guarded), Some(121));
        assert_eq!(space(38, None).slots(Bounds::Checked), Some(255));
        assert!(space(47, None).slots(Bounds::Guarded).unwrap() > 30_000);
        assert_eq!(space(47, Some(3 * GIB)).slots(Bounds::Guarded), Some(0));
        assert_eq!(space(47, Some(3 * GIB)).slots(Bounds::Checked), Some(2));
        assert_eq!(space(47, Some(0)).slots(Bounds::Checked), Some(0));
        let unknown = AddressSpace {
            bits: None,
            limit_bytes: None,
        };
        assert_eq!(unknown.slots(Bounds::Guarded), None);
    }

    #[test]
    fn accesses_are_checked_only_where_the_slots_do_not_fit_otherwise() {
        let target = Target::here(CpuProfile::Riscv64Gc);
        let bounds = |space, slots| target.fitting_in(space, slots).bounds();
        assert_eq!(bounds(space(38, None), 4), Bounds::Guarded);
        assert_eq!(bounds(space(38, None), 58), Bounds::Guarded);
        assert_eq!(bounds(space(38, None), 59), Bounds::Checked);
        assert_eq!(bounds(space(47, Some(3 * GIB)), 1), Bounds::Checked);
        assert_eq!(bounds(space(47, Some(3 * GIB)), 0), Bounds::Checked);
    }

    #[test]
    fn this_process_has_room() {
        let space = AddressSpace::probe();
        if cfg!(target_os = "linux") {
            assert!(space.bits().is_some_and(|bits| (32..=57).contains(&bits)));
        }
        assert!(space.slots(Bounds::Guarded).is_none_or(|slots| slots > 0));
    }
}
