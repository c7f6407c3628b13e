//! Every figure that the report has, and how those that are taken together are taken.

use serde::Serialize;

use crate::record::Record;
use crate::{
    Settings, architectures, fabric, footprint, fresh, instructions, programs, slowdown, throughput,
};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Smaller figures.
    Lower,
    /// Larger figures.
    Higher,
}

/// What a figure is called and what it is to be.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Its name in the report.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// The project's goal, if there is one.
    pub reach: Option<f64>,
}

/// Figures that are taken together, because they are interleaved.
pub struct Group {
    /// Their names.
    pub names: &'static [&'static str],
    /// Takes them.
    pub measure: fn(&Settings) -> anyhow::Result<Vec<Record>>,
    /// Takes minutes: not in a quick run unless it is named.
    pub long: bool,
}

const fn lower(name: &'static str, unit: &'static str, reach: Option<f64>) -> Figure {
    Figure {
        name,
        unit,
        better: Better::Lower,
        reach,
    }
}

const fn higher(name: &'static str, unit: &'static str, reach: Option<f64>) -> Figure {
    Figure {
        name,
        unit,
        better: Better::Higher,
        reach,
    }
}

/// Every figure, in the order of the report.
pub const FIGURES: [Figure; 71] = [
    lower("fresh_call_p50_us", "us", Some(50.0)),
    lower("fresh_call_p99_us", "us", Some(200.0)),
    lower("fresh_call_page_faults", "faults", Some(3.0)),
    lower("fresh_call_pooled_p50_us", "us", None),
    lower("fresh_call_pooled_page_faults", "faults", None),
    higher("fresh_calls_per_s_1_slot", "1/s", None),
    higher("fresh_calls_per_s_2_slots", "1/s", None),
    higher("fresh_calls_per_s_2_slots_over_1_slot", "ratio", Some(1.8)),
    lower("fresh_call_cpu_us_1_slot", "us", None),
    lower("fresh_call_cpu_us_2_slots", "us", None),
    higher("process_pool_tasks_per_s", "1/s", None),
    lower("same_instance_call_us", "us", Some(4.0)),
    higher("first_call_over_later_call", "ratio", Some(100.0)),
    lower("first_call_us", "us", None),
    lower("slot_idle_rss_kib", "KiB", Some(2048.0)),
    lower("submit_local_first_result_ms", "ms", Some(150.0)),
    lower("python_start_ms", "ms", None),
    lower("system_python_start_ms", "ms", None),
    lower("guest_slowdown_geomean", "ratio", Some(2.0)),
    lower("guest_slowdown_instructions_geomean", "ratio", Some(2.0)),
    lower("fresh_call_instructions", "instr", None),
    lower("first_start_s", "s", None),
    lower("host_start_ms", "ms", None),
    lower("guest_module_mib", "MiB", None),
    lower("guest_library_mib", "MiB", None),
    lower("artifact_mib", "MiB", None),
    lower("base_image_mib", "MiB", None),
    lower("function_image_kib", "KiB", None),
    higher("fabric_tasks_per_s", "1/s", Some(10_000.0)),
    lower("fabric_round_trip_p50_us", "us", Some(1_000.0)),
    lower("fabric_round_trip_cpu_us", "us", None),
    lower("coordinator_cpu_us_per_task", "us", Some(40.0)),
    lower("worker_cpu_us_per_task", "us", None),
    lower("client_cpu_us_per_task", "us", None),
    higher("pool_tasks_per_s", "1/s", None),
    lower("pool_round_trip_us", "us", None),
    higher("executor_tasks_per_s", "1/s", None),
    lower("executor_round_trip_us", "us", None),
    higher("ppft_tasks_per_s", "1/s", None),
    lower("ppft_round_trip_us", "us", None),
    higher("ppft_remote_tasks_per_s", "1/s", None),
    lower("ppft_remote_round_trip_us", "us", None),
    higher("ppft_nodelay_tasks_per_s", "1/s", None),
    lower("ppft_nodelay_round_trip_us", "us", None),
    higher("dask_tasks_per_s", "1/s", None),
    lower("dask_round_trip_us", "us", None),
    higher("ray_tasks_per_s", "1/s", None),
    lower("ray_round_trip_us", "us", None),
    lower("coordinator_queued_bytes_per_task", "B", Some(500.0)),
    lower("restart_100k_queued_s", "s", Some(3.0)),
    lower("worker_join_to_first_result_ms", "ms", Some(500.0)),
    lower("kill_worker_to_restart_s", "s", Some(5.0)),
    lower("balance_ratio", "ratio", Some(1.1)),
    higher("workers_1000_sim", "1/s", Some(200_000.0)),
    lower("compile_all_targets_s", "s", Some(45.0)),
    lower("compile_x86_64_v3_s", "s", None),
    lower("compile_aarch64_lse_s", "s", None),
    lower("compile_riscv64gc_s", "s", None),
    lower("compile_pulley64_s", "s", None),
    lower("artifact_x86_64_v3_mib", "MiB", None),
    lower("artifact_aarch64_lse_mib", "MiB", None),
    lower("artifact_riscv64gc_mib", "MiB", None),
    lower("artifact_pulley64_mib", "MiB", None),
    lower("call_x86_64_v3_instructions", "instr", None),
    lower("call_aarch64_lse_instructions", "instr", None),
    lower("call_riscv64gc_instructions", "instr", None),
    lower("call_pulley64_instructions", "instr", None),
    lower("first_result_x86_64_v3_instructions", "instr", None),
    lower("first_result_aarch64_lse_instructions", "instr", None),
    lower("first_result_riscv64gc_instructions", "instr", None),
    lower("first_result_pulley64_instructions", "instr", None),
];

/// How they are taken.
pub const GROUPS: [Group; 18] = [
    Group {
        names: &[
            "fresh_call_p50_us",
            "fresh_call_p99_us",
            "fresh_call_page_faults",
            "fresh_call_pooled_p50_us",
            "fresh_call_pooled_page_faults",
        ],
        measure: fresh::calls,
        long: false,
    },
    Group {
        names: &[
            "fresh_calls_per_s_1_slot",
            "fresh_calls_per_s_2_slots",
            "fresh_calls_per_s_2_slots_over_1_slot",
            "fresh_call_cpu_us_1_slot",
            "fresh_call_cpu_us_2_slots",
            "process_pool_tasks_per_s",
        ],
        measure: throughput::calls_per_second,
        long: false,
    },
    Group {
        names: &["same_instance_call_us"],
        measure: fresh::same_instance,
        long: false,
    },
    Group {
        names: &["first_call_over_later_call", "first_call_us"],
        measure: fresh::first_call,
        long: false,
    },
    Group {
        names: &["slot_idle_rss_kib"],
        measure: footprint::idle_slot,
        long: false,
    },
    Group {
        names: &[
            "submit_local_first_result_ms",
            "python_start_ms",
            "system_python_start_ms",
        ],
        measure: programs::first_result,
        long: false,
    },
    Group {
        names: &["guest_slowdown_geomean"],
        measure: slowdown::by_time,
        long: false,
    },
    Group {
        names: &["guest_slowdown_instructions_geomean"],
        measure: slowdown::by_instructions,
        long: true,
    },
    Group {
        names: &["fresh_call_instructions"],
        measure: instructions::fresh_call,
        long: true,
    },
    Group {
        names: &[
            "first_start_s",
            "host_start_ms",
            "guest_module_mib",
            "guest_library_mib",
            "artifact_mib",
            "base_image_mib",
            "function_image_kib",
        ],
        measure: footprint::first_start,
        long: true,
    },
    Group {
        names: &[
            "fabric_tasks_per_s",
            "fabric_round_trip_p50_us",
            "fabric_round_trip_cpu_us",
            "coordinator_cpu_us_per_task",
            "worker_cpu_us_per_task",
            "client_cpu_us_per_task",
            "pool_tasks_per_s",
            "pool_round_trip_us",
            "executor_tasks_per_s",
            "executor_round_trip_us",
            "ppft_tasks_per_s",
            "ppft_round_trip_us",
            "ppft_remote_tasks_per_s",
            "ppft_remote_round_trip_us",
            "ppft_nodelay_tasks_per_s",
            "ppft_nodelay_round_trip_us",
            "dask_tasks_per_s",
            "dask_round_trip_us",
            "ray_tasks_per_s",
            "ray_round_trip_us",
        ],
        measure: fabric::steady::tasks,
        long: false,
    },
    Group {
        names: &["coordinator_queued_bytes_per_task"],
        measure: fabric::recovery::queue,
        long: false,
    },
    Group {
        names: &["restart_100k_queued_s"],
        measure: fabric::recovery::restart,
        long: false,
    },
    Group {
        names: &["worker_join_to_first_result_ms"],
        measure: fabric::recovery::join,
        long: false,
    },
    Group {
        names: &["kill_worker_to_restart_s"],
        measure: fabric::recovery::kill,
        long: false,
    },
    Group {
        names: &["balance_ratio"],
        measure: fabric::balance::ratio,
        long: false,
    },
    Group {
        names: &["workers_1000_sim"],
        measure: fabric::scheduler_alone::tasks,
        long: false,
    },
    Group {
        names: &[
            "compile_all_targets_s",
            "compile_x86_64_v3_s",
            "compile_aarch64_lse_s",
            "compile_riscv64gc_s",
            "compile_pulley64_s",
            "artifact_x86_64_v3_mib",
            "artifact_aarch64_lse_mib",
            "artifact_riscv64gc_mib",
            "artifact_pulley64_mib",
            "call_x86_64_v3_instructions",
            "call_aarch64_lse_instructions",
            "call_riscv64gc_instructions",
            "call_pulley64_instructions",
            "first_result_x86_64_v3_instructions",
            "first_result_aarch64_lse_instructions",
            "first_result_riscv64gc_instructions",
            "first_result_pulley64_instructions",
        ],
        measure: architectures::measure,
        long: true,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_figure_is_taken_by_one_group() {
        let figures: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        let taken: Vec<_> = GROUPS
            .iter()
            .flat_map(|group| group.names)
            .copied()
            .collect();
        assert_eq!(figures.iter().collect::<BTreeSet<_>>().len(), FIGURES.len());
        assert_eq!(figures, taken);
    }
}
