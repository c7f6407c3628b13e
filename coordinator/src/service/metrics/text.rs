//! Prometheus's text format. Pure.

use std::fmt::{Display, Write as _};

/// Values below each bound, all values, their sum.
type Cumulative = (Vec<(u64, u64)>, u64, u64);

/// A page of figures.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.line(name, "", value);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(name, "", value);
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, help, "gauge");
        self.labelled(name, label, values);
    }

    pub(super) fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, help, "counter");
        self.labelled(name, label, values);
    }

    /// `unit` is what one of the values is worth.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        (below, count, sum): &Cumulative,
        unit: f64,
    ) {
        self.head(name, help, "histogram");
        for (bound, count) in below {
            let label = format!("{{le=\"{}\"}}", *bound as f64 * unit);
            self.line(&format!("{name}_bucket"), &label, count);
        }
        self.line(&format!("{name}_bucket"), "{le=\"+Inf\"}", count);
        self.line(&format!("{name}_sum"), "", *sum as f64 * unit);
        self.line(&format!("{name}_count"), "", count);
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn labelled(&mut self, name: &str, label: &str, values: &[(&str, u64)]) {
        for (of, value) in values {
            self.line(name, &format!("{{{label}=\"{of}\"}}"), value);
        }
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_in_the_format() {
        let mut page = Page::default();
        page.gauge("a", "An a.", 1);
        page.counters("b_total", "Bs.", "of", &[("x", 2), ("y", 0)]);
        page.histogram(
            "c_seconds",
            "Cs.",
            &(vec![(500, 1), (1000, 2)], 3, 2500),
            1e-3,
        );
        assert_eq!(
            page.into_text(),
            "# HELP a An a.\n# TYPE a gauge\na 1\n\
             # HELP b_total Bs.\n# TYPE b_total counter\nb_total{of=\"x\"} 2\nb_total{of=\"y\"} 0\n\
             # HELP c_seconds Cs.\n# TYPE c_seconds histogram\n\
             c_seconds_bucket{le=\"0.5\"} 1\nc_seconds_bucket{le=\"1\"} 2\nc_seconds_bucket{le=\"+Inf\"} 3\n\
             c_seconds_sum 2.5\nc_seconds_count 3\n"
        );
    }
}
